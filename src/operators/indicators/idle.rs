//! Keys of which no rows come any more: after a while they are forgotten, and begin anew when they come back.
//!
//! Whether a row comes too late for its key is told by the row alone, not by when somebody has looked: so it is the same on
//! any number of workers and after a crash.

use std::collections::BTreeSet;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampNanosecondType;

use crate::memory::Heap;

/// How it is told.
#[derive(Clone, Copy, Debug)]
pub struct IdlePlan {
    /// After so much event time without rows, in ns.
    pub expire: i64,
    /// Position of event time.
    pub time: usize,
    /// Position of the order of event time, where rows have one: how far it had come when a late one came.
    pub order: Option<usize>,
}

/// How far event time had come with the rows of each key.
pub struct Idle {
    plan: IdlePlan,
    /// By the number of the key; the least time of those that have had none.
    heard: Vec<i64>,
    /// When it is to be looked whether a key has expired: once for each that has been heard of.
    looks: BTreeSet<(i64, u32)>,
    /// The watermark.
    passed: i64,
}

impl Idle {
    /// Nothing was heard yet.
    pub fn new(plan: IdlePlan) -> Self {
        Idle { plan, heard: Vec::new(), looks: BTreeSet::new(), passed: i64::MIN }
    }

    /// After so much event time without rows a key is forgotten, in ns.
    pub fn expire(&self) -> i64 {
        self.plan.expire
    }

    /// Hears these rows of the keys with these numbers; returns those with which an expired key comes back.
    pub fn hear(&mut self, data: &RecordBatch, keys: &[u32]) -> Vec<usize> {
        let times = |at: usize| data.column(at).as_primitive::<TimestampNanosecondType>().values();
        let (times, order) = (times(self.plan.time), self.plan.order.map(times));
        let mut back = Vec::new();
        for (row, key) in keys.iter().enumerate() {
            let now = order.map_or(times[row], |order| order[row].max(times[row]));
            let before = self.heard_of(*key);
            if before > i64::MIN && before.saturating_add(self.plan.expire) <= now {
                back.push(row);
            }
            self.put(*key, before.max(now));
        }
        back
    }

    /// Event time has come to `time`.
    pub fn pass(&mut self, time: i64) {
        // Where all has ended nothing expires any more.
        self.passed = if time == i64::MAX { self.passed } else { time };
    }

    /// The keys that have expired since this was asked last.
    pub fn expired(&mut self) -> Vec<u32> {
        let mut expired = Vec::new();
        while let Some((_, key)) = self.looks.first().copied().filter(|(time, _)| *time <= self.passed) {
            self.looks.pop_first();
            let expires = self.heard_of(key).saturating_add(self.plan.expire);
            if expires <= self.passed {
                expired.push(key);
            } else {
                self.looks.insert((expires, key));
            }
        }
        expired
    }

    /// How far event time had come with the rows of a key.
    pub fn heard_of(&self, key: u32) -> i64 {
        self.heard.get(key as usize).copied().unwrap_or(i64::MIN)
    }

    /// Event time had come so far with the rows of a key.
    pub fn put(&mut self, key: u32, heard: i64) {
        if self.heard.len() <= key as usize {
            self.heard.resize(key as usize + 1, i64::MIN);
        }
        if self.heard[key as usize] == i64::MIN {
            self.looks.insert((heard.saturating_add(self.plan.expire), key));
        }
        self.heard[key as usize] = heard;
    }

    /// Nothing was heard of an expired key.
    pub fn forget(&mut self, key: u32) {
        self.heard[key as usize] = i64::MIN;
    }

    /// An estimate of the memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.heard.heap_bytes() + self.looks.heap_bytes()
    }
}
