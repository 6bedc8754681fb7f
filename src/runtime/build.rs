//! What build of tapeflow this is.

use crate::error::{Error, Result};

/// Version and a hash of the executable: processes with the same one understand each other's bytes.
pub fn build_id() -> Result<String> {
    // The file that runs, also where another was put in its place meanwhile.
    let running = std::path::Path::new("/proc/self/exe");
    let path = if running.exists() { running.to_path_buf() } else { std::env::current_exe().map_err(Error::run)? };
    let bytes = std::fs::read(&path).map_err(|error| Error::run(format!("{}: {error}", path.display())))?;
    Ok(format!("{}-{:016x}", env!("CARGO_PKG_VERSION"), xxhash_rust::xxh3::xxh3_64(&bytes)))
}
