//! Writes down the state of one node on one worker at the boundaries of checkpoints.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Operator;
use crate::batch::Epoch;
use crate::error::{Error, Result};
use crate::runtime::{Boundary, Checkpointing, Job};
use crate::state::{Draft, Entry};

/// The kind of state that says where something stands: each checkpoint holds all of it.
pub const POSITIONS: &str = "positions";
/// The version of its format.
pub const POSITIONS_VERSION: u16 = 1;

/// How long an operator may be at its snapshot before rows are taken again.
const SLICE: Duration = Duration::from_millis(1);
/// After so many keys it is looked whether that time is over.
const KEYS: usize = 128;

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

    /// Whatever the node sees next is of `epoch` or later: the positions before it are what `take` tells for a boundary.
    pub fn pass(&mut self, epoch: Epoch, mut take: impl FnMut(Boundary) -> Result<Vec<Entry>>) {
        while let Some(boundary) = self.passes(epoch) {
            match take(boundary) {
                Ok(entries) => self.keep(boundary.number, POSITIONS, POSITIONS_VERSION, Draft::of(0, &entries)),
                Err(error) => self.fail(error),
            }
        }
    }

    /// The node has ended: the positions that `take` tells do not change any more.
    pub fn end(mut self, mut take: impl FnMut(Boundary) -> Result<Vec<Entry>>) {
        loop {
            self.pass(Epoch::MAX, &mut take);
            let last = match take(Boundary { number: self.passed, epoch: Epoch::MAX, full: false }) {
                Ok(last) => last,
                Err(error) => return self.fail(error),
            };
            let is_known = || self.job.boundaries.after(self.passed).is_some();
            if self.checkpointing.end(&self.node, self.worker, &last, is_known) {
                return;
            }
        }
    }

    /// The next boundary up to `epoch`, once.
    fn passes(&mut self, epoch: Epoch) -> Option<Boundary> {
        let boundary = self.job.boundaries.after(self.passed).filter(|boundary| boundary.epoch <= epoch)?;
        self.passed = boundary.number;
        Some(boundary)
    }

    fn keep(&self, number: u64, kind: &str, version: u16, state: Draft) {
        self.checkpointing.keep(number, (&self.node, self.worker), kind, version, state);
    }

    fn fail(&self, error: Error) {
        self.job.fail(error.of_node(&self.node));
    }
}

/// Takes the snapshots of an operator while rows go on.
pub struct Snapshots {
    keeper: Option<StateKeeper>,
    /// The checkpoint whose snapshot is being taken.
    open: Option<u64>,
}

impl Snapshots {
    /// Where there are checkpoints, `keeper` is told.
    pub fn new(keeper: Option<StateKeeper>) -> Self {
        Snapshots { keeper, open: None }
    }

    /// Whatever the operator sees next is of `epoch` or later.
    pub fn pass(&mut self, epoch: Epoch, operator: &mut dyn Operator) {
        while let Some(boundary) = self.keeper.as_mut().and_then(|keeper| keeper.passes(epoch)) {
            // A checkpoint begins when the one before it is complete, so there is nothing left to tell.
            self.go_on(operator, true);
            operator.begin_snapshot(boundary.full);
            self.open = Some(boundary.number);
        }
    }

    /// Goes on with the snapshot for a moment, or to its end; whether there is more.
    pub fn go_on(&mut self, operator: &mut dyn Operator, to_the_end: bool) -> bool {
        let (Some(number), Some(keeper)) = (self.open, &self.keeper) else { return false };
        let began = Instant::now();
        loop {
            match operator.snapshot(KEYS) {
                Ok(None) if to_the_end || began.elapsed() < SLICE => {}
                Ok(None) => return true,
                Ok(Some(state)) => {
                    let kind = operator.state();
                    keeper.keep(number, &kind.name, kind.version, state);
                    break;
                }
                Err(error) => {
                    keeper.fail(error);
                    break;
                }
            }
        }
        self.open = None;
        false
    }
}
