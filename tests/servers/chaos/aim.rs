//! Learns of checkpoints by what appears in the state folder, so that faults can be aimed at them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_millis(3);

/// A moment in the life of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Moment {
    /// Its first state is written.
    Begun,
    /// Its manifest is there: it counts.
    Complete,
}

/// Watches the state folder of one job.
pub struct Aim {
    seen: Arc<Mutex<Vec<(Moment, Instant)>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Aim {
    /// Watches the checkpoints of `job` in the state folder.
    pub fn start(state: &Path, job: &str) -> Aim {
        let (seen, end) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (moments, stop, folder) = (Arc::clone(&seen), Arc::clone(&end), state.join("jobs").join(job));
        let watch = move || {
            let (mut begun, mut complete) = (0, 0);
            while !stop.load(Ordering::Acquire) {
                let (newest, with_manifest) = newest(&folder);
                let now = Instant::now();
                let mut moments = moments.lock().expect("no panic");
                if newest > begun {
                    begun = newest;
                    moments.push((Moment::Begun, now));
                }
                if with_manifest > complete {
                    complete = with_manifest;
                    moments.push((Moment::Complete, now));
                }
                drop(moments);
                sleep(LOOK);
            }
        };
        Aim { seen, end, thread: Some(std::thread::spawn(watch)) }
    }

    /// Waits for the next such moment; false if there is none in time.
    pub fn wait(&self, moment: Moment, limit: Duration) -> bool {
        let began = Instant::now();
        let comes = || self.any(|(seen, at)| seen == moment && at > began);
        while !comes() {
            if began.elapsed() > limit {
                return false;
            }
            sleep(LOOK);
        }
        true
    }

    /// How many checkpoints became complete.
    pub fn complete(&self) -> usize {
        self.seen.lock().expect("it watches still").iter().filter(|(moment, _)| *moment == Moment::Complete).count()
    }

    /// How far from `at` the nearest moment of a checkpoint was.
    pub fn distance(&self, at: Instant) -> Option<Duration> {
        let distance = |(_, seen): &(Moment, Instant)| at.max(*seen) - at.min(*seen);
        self.seen.lock().expect("it watches still").iter().map(distance).min()
    }

    /// Whether a checkpoint had begun and was not complete at `at`.
    pub fn within(&self, at: Instant) -> bool {
        let seen = self.seen.lock().expect("it watches still");
        let last = seen.iter().rev().find(|(_, seen)| *seen <= at);
        last.is_some_and(|(moment, _)| *moment == Moment::Begun)
    }

    fn any(&self, holds: impl Fn((Moment, Instant)) -> bool) -> bool {
        self.seen.lock().expect("it watches still").iter().rev().take(4).any(|seen| holds(*seen))
    }
}

impl Drop for Aim {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The numbers of the newest checkpoint in the folder of a job, and of the newest that has a manifest.
fn newest(job: &Path) -> (u64, u64) {
    let (mut newest, mut complete) = (0, 0);
    for checkpoint in entries(job).iter().flat_map(|id| entries(id)) {
        let Some(number) = name(&checkpoint).parse::<u64>().ok() else { continue };
        newest = newest.max(number);
        if number > complete && entries(&checkpoint).iter().any(|file| name(file).starts_with("manifest.")) {
            complete = number;
        }
    }
    (newest, complete)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
