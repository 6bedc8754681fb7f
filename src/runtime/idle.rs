//! Partitions that are idle: how far of event time each is given up to. The clock decides that, so that it is written down
//! before it takes effect.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// A partition is given up to an event time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idle {
    /// The source.
    pub source: String,
    /// The partition.
    pub partition: i32,
    /// From which offset on that holds.
    pub offset: i64,
    /// The event time, in ns since 1970 UTC: what comes of an earlier one is late.
    pub time: i64,
}

/// The idle partitions of a job, as far as a process reads them.
#[derive(Default)]
pub struct IdlePartitions {
    asked: Mutex<Vec<Idle>>,
    written: Mutex<BTreeMap<(String, i32), i64>>,
}

impl IdlePartitions {
    /// Asks that this be written down.
    pub fn ask(&self, idle: Idle) {
        lock(&self.asked).push(idle);
    }

    /// What was asked for since this was called last.
    pub fn asked(&self) -> Vec<Idle> {
        std::mem::take(&mut *lock(&self.asked))
    }

    /// This is written down.
    pub fn written(&self, idle: Vec<Idle>) {
        let mut written = lock(&self.written);
        for Idle { source, partition, time, .. } in idle {
            let known = written.entry((source, partition)).or_insert(time);
            *known = time.max(*known);
        }
    }

    /// Whether it is written down that a partition is given up to `time`.
    pub fn is_written(&self, source: &str, partition: i32, time: i64) -> bool {
        lock(&self.written).get(&(source.to_string(), partition)).is_some_and(|written| *written >= time)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
