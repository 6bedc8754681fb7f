//! A small disk under the state folder, which can be full.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Room for the state of a run, many times over.
const SIZE: &str = "size=64m";
const FILLER: &str = "filler";

/// A file system of its own in memory.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one at `folder`, where that is permitted.
    pub fn mount(folder: &Path) -> Option<Disk> {
        std::fs::create_dir_all(folder).expect("a folder");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", SIZE, "chaos"]).arg(folder).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success()).then(|| Disk(folder.to_path_buf()))
    }

    /// Leaves no byte free.
    pub fn fill(&self) {
        let mut file = File::create(self.0.join(FILLER)).expect("a file");
        // Pages first, then what is left of the last one.
        for block in [vec![0; 1 << 20], vec![0; 1 << 12]] {
            let full = std::iter::repeat(()).find_map(|()| file.write_all(&block).err()).expect("it ends");
            assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
        }
    }

    /// Gives it back.
    pub fn free(&self) {
        std::fs::remove_file(self.0.join(FILLER)).expect("it was full");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
