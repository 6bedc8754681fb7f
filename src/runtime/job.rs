//! A job in this process: what its workers share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Error;
use crate::metrics::Meter;

/// Shared by the workers of this process that run the job, and by those who watch it.
pub struct Job {
    /// The name of the job.
    pub name: String,
    stop: AtomicBool,
    failure: Mutex<Option<Error>>,
    meters: Mutex<BTreeMap<String, BTreeMap<usize, Meter>>>,
}

impl Job {
    /// A job that runs.
    pub fn new(name: &str) -> Arc<Job> {
        Arc::new(Job {
            name: name.to_string(),
            stop: AtomicBool::new(false),
            failure: Mutex::default(),
            meters: Mutex::default(),
        })
    }

    /// Asks the job to drain and end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it shall end: sources read no more.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Ends the job with `error`; the first one counts.
    pub fn fail(&self, error: Error) {
        tracing::debug!(job = self.name, "{error}");
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
        self.stop();
    }

    /// Why the job failed, if it has.
    pub fn failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the job has failed: what is still on its way is thrown away.
    pub fn failed(&self) -> bool {
        // The lock is only worth taking once the job is on its way out.
        self.stopping() && self.failure().is_some()
    }

    /// The counters of `node` on `worker`.
    pub fn meter(&self, node: &str, worker: usize) -> Meter {
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        let workers = meters.entry(node.to_string()).or_default();
        workers.entry(worker).or_insert_with(|| Meter::of(&self.name, node, worker)).clone()
    }

    /// Sums, over the workers of this process, what `read` takes from the counters of `node`.
    pub fn total(&self, node: &str, read: impl Fn(&Meter) -> u64) -> u64 {
        let meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        meters.get(node).map_or(0, |workers| workers.values().map(read).sum())
    }
}
