//! Which files there are, and how they are cut for the workers.

use std::fs;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::{BATCH_ROWS, EPOCH_BATCHES, Format, parquet, remote};
use crate::error::{Error, Result};

/// Bytes in a split of a text file.
pub const TEXT_SPLIT: u64 = 4 << 20;

/// What Hive and Spark call the folder of the rows without a value.
const NO_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// A file to be read.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it is on disk.
    pub path: PathBuf,
    /// How it is called in messages.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// `name=value` folders on its path.
    pub partitions: Vec<(String, Option<String>)>,
}

/// A part of a file that one worker reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// The position of the file.
    pub file: usize,
    /// The part.
    pub part: Part,
    /// The number of its first epoch.
    pub first_epoch: u64,
    /// How many epochs it has.
    pub epochs: u64,
    /// About how many batches it makes.
    pub batches: u64,
    /// Its share of the file, in bytes.
    pub bytes: u64,
}

/// What part of a file it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// A row group of a Parquet file.
    RowGroup {
        /// Its position.
        index: usize,
        /// The number of its first row in the file.
        first_row: u64,
    },
    /// The lines that begin in this range.
    Bytes {
        /// Its first byte.
        from: u64,
        /// The byte after its last.
        to: u64,
    },
}

/// Names and sizes of files, in short.
pub fn fingerprint(found: &[Found]) -> String {
    let mut hash = Xxh3::new();
    for file in found {
        hash.update(file.name.as_bytes());
        hash.update(&file.bytes.to_le_bytes());
    }
    format!("{} files, {:016x}", found.len(), hash.digest())
}

/// The files at `location` (a file, a folder, a glob, or a place in an object store), sorted by name.
pub fn find(location: &Path) -> Result<Vec<Found>> {
    if remote::is_remote(&location.to_string_lossy()) {
        return remote::fetch(&location.to_string_lossy());
    }
    let mut paths = Vec::new();
    if location.is_dir() {
        walk(location, &mut paths)?;
    } else if location.is_file() {
        paths.push(location.to_path_buf());
    } else {
        let pattern = location.to_string_lossy();
        let matches = glob::glob(&pattern).map_err(|error| Error::Usage(format!("{pattern}: {error}")))?;
        for path in matches.flatten() {
            if path.is_dir() { walk(&path, &mut paths)? } else { paths.push(path) }
        }
    }
    paths.sort();
    paths.into_iter().map(|path| found(location, path)).collect()
}

fn walk(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|error| Error::connect(format!("{}: {error}", folder.display())))?;
    for entry in entries.flatten() {
        // Hidden files and those of writers that have not finished are not data.
        if entry.file_name().to_string_lossy().starts_with(['.', '_']) {
            continue;
        }
        let path = entry.path();
        if path.is_dir() { walk(&path, into)? } else { into.push(path) }
    }
    Ok(())
}

fn found(location: &Path, path: PathBuf) -> Result<Found> {
    let bytes = fs::metadata(&path).map_err(|error| Error::connect(format!("{}: {error}", path.display())))?.len();
    let below = path.strip_prefix(location).unwrap_or(&path);
    let partitions = hive_partitions(&below.to_string_lossy());
    Ok(Found { name: path.display().to_string(), path, bytes, partitions })
}

/// The `name=value` folders of a path.
pub fn hive_partitions(path: &str) -> Vec<(String, Option<String>)> {
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    let pairs = folders.split('/').filter_map(|folder| folder.split_once('='));
    pairs.map(|(name, value)| (decoded(name), (value != NO_PARTITION).then(|| decoded(value)))).collect()
}

/// A text in which what cannot stand in a path is written as `%2F`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *byte == b'%') {
            Some(code) => {
                bytes.push(code);
                rest = &after[2..];
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_string())
}

/// Cuts the files into splits, in order.
pub fn cut(files: &[Found], format: Format) -> Result<Vec<Split>> {
    let mut splits = Vec::new();
    let mut first_epoch = 0;
    for (file, found) in files.iter().enumerate() {
        for (part, bytes, rows) in parts(found, format)? {
            let batches = rows.div_ceil(BATCH_ROWS as u64).max(1);
            let epochs = if format == Format::Parquet { batches.div_ceil(EPOCH_BATCHES) } else { 1 };
            splits.push(Split { file, part, first_epoch, epochs, batches, bytes });
            first_epoch += epochs;
        }
    }
    Ok(splits)
}

fn parts(found: &Found, format: Format) -> Result<Vec<(Part, u64, u64)>> {
    if format == Format::Parquet {
        let mut first_row = 0;
        let mut groups = Vec::new();
        for (index, (rows, bytes)) in parquet::row_groups(&found.path)?.into_iter().enumerate() {
            groups.push((Part::RowGroup { index, first_row }, bytes, rows));
            first_row += rows;
        }
        return Ok(groups);
    }
    let starts = (0..found.bytes.div_ceil(TEXT_SPLIT)).map(|i| i * TEXT_SPLIT);
    let part = |from: u64| {
        let to = (from + TEXT_SPLIT).min(found.bytes);
        // A guess of the rows, for the progress bar alone.
        (Part::Bytes { from, to }, to - from, (to - from) / 64)
    };
    Ok(starts.map(part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_form_name_equals_value_are_partitions() {
        let partitions = hive_partitions("date=2026-01-05/hour=14/part-0.parquet");
        assert_eq!(partitions, vec![("date".into(), Some("2026-01-05".into())), ("hour".into(), Some("14".into()))]);
        let partitions = hive_partitions("symbol=BRK%2FB%/side=__HIVE_DEFAULT_PARTITION__/part-0.parquet");
        assert_eq!(partitions, vec![("symbol".into(), Some("BRK/B%".into())), ("side".into(), None)]);
        assert!(hive_partitions("a=b.parquet").is_empty());
    }
}
