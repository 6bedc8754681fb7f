//! Jobs that are killed again and again give what an undisturbed run gives: every row once, with the values that a
//! recomputation finds which shares no code with tapeflow.

mod alone;
mod away;
mod changes;
mod cluster;
mod late;
pub mod market;
mod rescale;
mod savepoints;

use std::time::Duration;

use crate::support::cluster::wait_until;
use crate::support::{Folder, Running};

/// Starts `run flow.toml` with these further arguments and lets it go on for so long from its first lines on, however slow
/// the machine is; or to its end.
fn started(folder: &Folder, arguments: &[&str], milliseconds: u64) -> Running {
    let before = size(folder);
    let running = folder.start(&[&["run", "flow.toml", "--state", "state"], arguments].concat(), &[]);
    wait_until("lines are written", || size(folder) != before || running.has_ended());
    std::thread::sleep(Duration::from_millis(milliseconds));
    running
}

/// How much there is in the folder `lines`, or of files of lines beside it.
fn size(folder: &Folder) -> u64 {
    let files = [folder.path("lines"), folder.path(".")].into_iter().filter_map(|path| path.read_dir().ok()).flatten();
    let lines = files.flatten().filter(|file| file.path().extension().is_some_and(|suffix| suffix == "jsonl"));
    lines.filter_map(|file| file.metadata().ok()).map(|about| about.len()).sum()
}
