//! Writes down the state of one node on one worker at the boundaries of checkpoints.

use std::sync::Arc;

use super::Operator;
use crate::batch::Epoch;
use crate::error::Result;
use crate::runtime::{Boundary, Checkpointing, Job};
use crate::state::{Entry, Snapshot};

/// The kind of state that says where something stands: each checkpoint holds all of it.
pub const POSITIONS: &str = "positions";

/// Watches for boundaries on behalf of a node.
pub struct StateKeeper {
    node: String,
    worker: usize,
    job: Arc<Job>,
    checkpointing: Arc<Checkpointing>,
    /// The last checkpoint that its state went into.
    passed: u64,
}

impl StateKeeper {
    /// For `node` on `worker`. A checkpoint is not complete before it holds the state of all that keep theirs.
    pub fn new(node: String, worker: usize, job: Arc<Job>, checkpointing: Arc<Checkpointing>) -> Self {
        checkpointing.expect_one_more();
        let passed = job.boundaries.complete();
        StateKeeper { node, worker, job, checkpointing, passed }
    }

    /// The first epoch that the node may not see before its state is written down.
    pub fn limit(&self) -> Epoch {
        // The horizon first: who sees a new one sees the boundary before it.
        let horizon = self.job.boundaries.horizon();
        self.job.boundaries.after(self.passed).map_or(horizon, |boundary| boundary.epoch)
    }

    /// Whatever the node sees next is of `epoch` or later: what is before it is all in its state, which `take` tells for
    /// a boundary.
    pub fn pass(&mut self, epoch: Epoch, mut take: impl FnMut(Boundary) -> Result<Snapshot>) {
        while let Some(boundary) = self.job.boundaries.after(self.passed).filter(|boundary| boundary.epoch <= epoch) {
            self.passed = boundary.number;
            match take(boundary) {
                Ok(snapshot) => self.checkpointing.keep(boundary.number, &self.node, self.worker, snapshot),
                Err(error) => self.job.fail(error.of_node(&self.node)),
            }
        }
    }
}

impl StateKeeper {
    /// The node has ended: what `take` tells does not change any more.
    pub fn end(mut self, mut take: impl FnMut(Boundary) -> Result<Snapshot>) {
        loop {
            self.pass(Epoch::MAX, &mut take);
            let last = match take(Boundary { number: self.passed, epoch: Epoch::MAX }) {
                Ok(last) => last,
                Err(error) => return self.job.fail(error.of_node(&self.node)),
            };
            let is_known = || self.job.boundaries.after(self.passed).is_some();
            if self.checkpointing.end(&self.node, self.worker, &last, is_known) {
                return;
            }
        }
    }
}

/// What has changed in the state of `operator`.
pub fn changes(operator: &mut dyn Operator) -> Result<Snapshot> {
    let kind = operator.state();
    let mut snapshot = Snapshot { kind: kind.name, version: kind.version, ..Snapshot::default() };
    operator.snapshot(&mut |group, key, value| {
        snapshot.groups.entry(group).or_default().push(Entry { key: key.to_vec(), value });
    })?;
    Ok(snapshot)
}

/// Where something stands, as a snapshot.
pub fn positions(entries: Vec<Entry>) -> Snapshot {
    Snapshot { kind: POSITIONS.to_string(), version: 1, full: false, groups: [(0, entries)].into() }
}
