//! What can be set of a node while its job runs, and how it reaches its operators: before the first epoch that it holds
//! for, on every worker.

use std::sync::Arc;

use super::Operator;
use crate::batch::Epoch;
use crate::runtime::Job;

/// Something of a node that can be set while its job runs: given, kept and told as text.
pub trait Settable: Send + Sync {
    /// What it is called: `thresholds`.
    fn name(&self) -> &'static str;
    /// What the dataflow file says.
    fn initial(&self) -> &str;
    /// Checks a text; an error tells what is wrong with it, beginning with the place.
    fn check(&self, text: &str) -> Result<(), String>;
    /// `text` with other values, by their names, of one key: of its parts, or of all keys that have none of their own where
    /// there are none.
    fn changed(&self, text: &str, key: &[String], values: &[(String, String)]) -> Result<String, String>;
}

/// Hands what is set of a node to its operator on one worker.
pub struct Setter {
    node: String,
    worker: usize,
    job: Arc<Job>,
    /// How much had been set of the job when it was looked at last, all of which the operator has.
    turns: u64,
}

impl Setter {
    /// For the operator of `node` on `worker`.
    pub fn new(node: String, worker: usize, job: Arc<Job>) -> Self {
        Setter { node, worker, job, turns: 0 }
    }

    /// Whatever the operator sees next is of `epoch` or later.
    pub fn pass(&mut self, epoch: Epoch, operator: &mut dyn Operator) {
        let in_force = &self.job.in_force;
        let turns = in_force.turns();
        if turns == self.turns {
            return;
        }
        match in_force.get(&self.node) {
            Some(setting) if setting.epoch > epoch => return,
            Some(setting) => match operator.set(&setting.text) {
                Ok(()) => in_force.reached(&setting, self.worker),
                Err(error) => self.job.fail(error.of_node(&self.node)),
            },
            None => {}
        }
        self.turns = turns;
    }
}
