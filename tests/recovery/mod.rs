//! Jobs that are killed again and again give what an undisturbed run gives: every row once, with the values that a
//! recomputation finds which shares no code with tapeflow.

pub mod alerts;
mod alone;
mod away;
mod changes;
mod cluster;
pub mod corrections;
pub mod groups;
pub mod joins;
mod late;
pub mod market;
mod rescale;
mod restarts;
mod savepoints;
mod set;
pub mod tables;
pub mod windows;

use std::time::Duration;

use rand::{Rng, rngs::StdRng};

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

/// Runs it with one to three workers, kills it within `most` milliseconds of its first lines, and runs it again, eight times
/// and then to its end.
fn killed_again_and_again(folder: &Folder, random: &mut StdRng, most: u64) {
    let mut resumed = 0;
    for run in 0.. {
        let workers = random.random_range(1..=3).to_string();
        let running = started(folder, &["--workers", &workers], random.random_range(0..most));
        let kill = run < 8;
        if kill {
            running.signal("KILL");
        }
        let ended = running.wait();
        resumed += usize::from(ended.stderr.contains("goes on from checkpoint"));
        if ended.status.success() {
            break;
        }
        assert!(kill, "{}", ended.stderr);
    }
    assert!(resumed > 3, "it went on from a checkpoint {resumed} times");
}

/// How much there is in the folder `lines`, or of files of lines beside it.
fn size(folder: &Folder) -> u64 {
    let files = [folder.path("lines"), folder.path(".")].into_iter().filter_map(|path| path.read_dir().ok()).flatten();
    let lines = files.flatten().filter(|file| file.path().extension().is_some_and(|suffix| suffix == "jsonl"));
    lines.filter_map(|file| file.metadata().ok()).map(|about| about.len()).sum()
}
