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
            let (mut begun, mut complete) = Default::default();
            while !stop.load(Ordering::Acquire) {
                let newest = newest(&folder);
                let now = Instant::now();
                let mut moments = moments.lock().expect("no panic");
                if newest.0 > begun {
                    begun = newest.0;
                    moments.push((Moment::Begun, now));
                }
                if newest.1 > complete {
                    complete = newest.1;
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

    /// When the first checkpoint after `at` became complete: then all sinks have what had come before it.
    pub fn completed_after(&self, at: Instant) -> Option<Instant> {
        let seen = self.seen.lock().expect("it watches still");
        seen.iter().find(|(moment, seen)| *moment == Moment::Complete && *seen > at).map(|(_, seen)| *seen)
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

/// The generation and number of a checkpoint.
type Number = (u64, u64);

/// The newest checkpoint of a job that has state, and the newest that has a manifest.
fn newest(job: &Path) -> (Number, Number) {
    let (mut begun, mut complete) = Default::default();
    for checkpoint in entries(job).iter().flat_map(|id| entries(id)) {
        let Ok(number) = name(&checkpoint).parse() else { continue };
        for file in entries(&checkpoint) {
            // manifest.GENERATION.json, NODE.WORKER.GENERATION.state
            let name = name(&file);
            let Some(generation) = name.rsplit('.').nth(1).and_then(|generation| generation.parse().ok()) else {
                continue;
            };
            let newest: &mut Number = if name.starts_with("manifest.") { &mut complete } else { &mut begun };
            *newest = (generation, number).max(*newest);
        }
    }
    (begun, complete)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
