//! `tapeflow init`: dataflow files to begin with.

/// The starter that reads from `from`.
pub fn starter(from: &str) -> &'static str {
    match from {
        "file" => include_str!("starters/file.toml"),
        "kafka" => include_str!("starters/kafka.toml"),
        _ => include_str!("starters/generator.toml"),
    }
}
