//! How large a cluster is. Membership is fixed while a generation runs: another size begins with the next one.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The most processes of a cluster on one machine.
pub const MOST_PROCESSES: u16 = 64;
/// The most workers of a process.
pub const MOST_WORKERS: u16 = 1024;

/// How many processes a cluster has, and how many workers each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// The processes.
    pub processes: u16,
    /// The workers of each.
    pub workers: u16,
}

impl Size {
    /// Leaves it for the supervisor, who looks there when all processes have ended.
    pub fn leave(&self, path: &Path) -> Result<()> {
        let cannot = |error: std::io::Error| Error::run(format!("{}: {error}", path.display()));
        let beside = path.with_extension("new");
        fs::write(&beside, serde_json::to_vec(self).map_err(Error::run)?).map_err(cannot)?;
        fs::rename(&beside, path).map_err(cannot)
    }

    /// Takes what was left there, if something was.
    pub fn take(path: &Path) -> Result<Option<Size>> {
        let wrong = |error: &dyn fmt::Display| Error::run(format!("{}: {error}", path.display()));
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| wrong(&error))?,
        };
        fs::remove_file(path).map_err(|error| wrong(&error))?;
        serde_json::from_slice(&bytes).map(Some).map_err(|error| wrong(&error))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |count: u16, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        write!(f, "{} of ", of(self.processes, "process", "processes"))?;
        f.write_str(&of(self.workers, "worker", "workers"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_is_taken_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("size");
        assert_eq!(Size::take(&path).expect("nothing"), None);
        let size = Size { processes: 1, workers: 2 };
        size.leave(&path).expect("left");
        assert_eq!(Size::take(&path).expect("read"), Some(size));
        assert_eq!(Size::take(&path).expect("nothing"), None);
        assert_eq!(size.to_string(), "1 process of 2 workers");
    }
}
