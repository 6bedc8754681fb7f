//! What the workers of a cluster are told, and how it reaches them: a process hands a command to its first worker,
//! which gives it to timely's sequencer, so that all workers take all commands in the same order.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;

use serde::{Deserialize, Serialize};

use super::idle::Idle;
use super::{Decision, Part};
use crate::batch::Epoch;
use crate::error::{Error, Result};
use crate::state::Setting;

/// Commands that wait for the first worker.
const WAITING: usize = 1024;

/// What the workers do, all in the same order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Build the dataflow of a job that is prepared in every process.
    Build {
        /// The job.
        id: String,
    },
    /// Let a job drain and end.
    Stop {
        /// The job.
        id: String,
        /// Why it failed, if it did: then it ends without draining.
        failure: Option<String>,
        /// Its last checkpoint is to be a savepoint.
        savepoint: bool,
    },
    /// Let a job take a savepoint and go on.
    Savepoint {
        /// The job.
        id: String,
    },
    /// Something of a node is set.
    Set {
        /// The job.
        id: String,
        /// What is set.
        setting: Setting,
    },
    /// A decision of the leader of a job.
    Decided {
        /// The job.
        id: String,
        /// What was decided.
        decision: Decision,
    },
    /// A process has written its part of a checkpoint.
    Written {
        /// The job.
        id: String,
        /// The part.
        part: Part,
    },
    /// Partitions are idle: how far they are given up is to be written down.
    Idle {
        /// The job.
        id: String,
        /// The partitions.
        idle: Vec<Idle>,
    },
    /// A source wants to open epochs behind the horizon.
    Wanted {
        /// The job.
        id: String,
        /// The epoch.
        epoch: Epoch,
    },
    /// Stop all jobs and end.
    End {
        /// The process that was asked to end.
        process: usize,
    },
}

/// The commands of one process on their way to its first worker.
#[derive(Default)]
pub struct Commands {
    queue: Mutex<VecDeque<Command>>,
    worker: OnceLock<Thread>,
}

impl Commands {
    /// Hands a command over.
    pub fn push(&self, command: Command) -> Result<()> {
        let mut queue = self.lock();
        if queue.len() >= WAITING {
            return Err(Error::run("the workers do not keep up with their commands"));
        }
        queue.push_back(command);
        drop(queue);
        if let Some(worker) = self.worker.get() {
            worker.unpark();
        }
        Ok(())
    }

    /// The calling thread is the first worker, and is woken for commands.
    pub fn taken_here(&self) {
        // A second time would be another worker's mistake; the first one goes on taking them.
        let _ = self.worker.set(std::thread::current());
    }

    /// Takes all that wait.
    pub fn take(&self) -> VecDeque<Command> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Command>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
