//! Partitions that have been idle for long are given up to the event time that others of their source have come to.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::runtime::idle::Idle;
use crate::runtime::{Job, Prepare};

/// What becomes of the idle partitions of one source in one process.
#[derive(Clone)]
pub struct Idling {
    source: String,
    timeout: Option<Duration>,
    /// The greatest watermark of any of its partitions here.
    greatest: Arc<AtomicI64>,
    /// What was given before a restart.
    given: Arc<[Idle]>,
    /// Set where it is written down what is given.
    job: Option<Arc<Job>>,
}

impl Default for Idling {
    fn default() -> Self {
        let greatest = Arc::new(AtomicI64::new(i64::MIN));
        Idling { source: String::new(), timeout: None, greatest, given: Arc::default(), job: None }
    }
}

impl Idling {
    /// Of the source of this name, whose partitions are idle after `timeout`.
    pub fn new(source: &str, timeout: Option<Duration>, prepare: &Prepare) -> Self {
        let given = prepare.idle(source).cloned().collect();
        Idling { source: source.to_string(), timeout, given, ..Idling::default() }
    }

    /// For a reader of `job`.
    pub fn of(self, job: &Arc<Job>) -> Self {
        Idling { job: job.boundaries.any().then(|| Arc::clone(job)), ..self }
    }

    /// What `partition` was given before a restart: from which offset on, and up to when; the first one last.
    pub fn given(&self, partition: i32) -> Vec<(i64, i64)> {
        let own = self.given.iter().filter(|idle| idle.partition == partition);
        let mut own: Vec<(i64, i64)> = own.map(|idle| (idle.offset, idle.time)).collect();
        own.sort_unstable_by(|one, other| other.cmp(one));
        own
    }

    /// Whether a partition that is quiet since then is idle.
    pub fn is_over(&self, quiet: Instant) -> bool {
        self.timeout.is_some_and(|timeout| quiet.elapsed() >= timeout)
    }

    /// The greatest watermark, also of those that other readers have shown.
    pub fn greatest(&self, own: Option<i64>) -> i64 {
        let own = own.unwrap_or(i64::MIN);
        self.greatest.fetch_max(own, Ordering::Relaxed).max(own)
    }

    /// Has it written down that a partition is given up to `time` from `offset` on.
    pub fn ask(&self, partition: i32, offset: i64, time: i64) {
        if let Some(job) = &self.job {
            job.idle.ask(Idle { source: self.source.clone(), partition, offset, time });
        }
    }

    /// Whether that is written down, where it has to be.
    pub fn is_written(&self, partition: i32, time: i64) -> bool {
        self.job.as_ref().is_none_or(|job| job.idle.is_written(&self.source, partition, time))
    }
}

#[cfg(test)]
impl Idling {
    /// Partitions are idle after `timeout`.
    pub fn after(timeout: Duration) -> Self {
        Idling { timeout: Some(timeout), ..Idling::default() }
    }

    /// This was given before a restart.
    pub fn having_given(given: &[Idle]) -> Self {
        Idling { given: given.into(), ..Idling::default() }
    }
}
