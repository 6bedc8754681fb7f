//! Writes down what the world decides of a job: into its journal, beside the worker that leads it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use super::idle::Idle;
use super::{Checkpointing, runtime};
use crate::batch::Epoch;
use crate::error::{Error, Result};
use crate::state::{Decision, IDLE, Journal};

/// A store keeps an object for each time that something is written: not more often than this.
const PAUSE: Duration = Duration::from_secs(1);

/// The decisions of one job on their way to its journal.
pub struct Notes {
    checkpointing: Arc<Checkpointing>,
    journal: Arc<OnceCell<Journal>>,
    waiting: Vec<Idle>,
    writing: Option<(Vec<Idle>, Receiver<Result<()>>)>,
    begun: Option<Instant>,
}

impl Notes {
    /// Of the job that these checkpoints are of.
    pub fn new(checkpointing: Arc<Checkpointing>) -> Self {
        Notes { checkpointing, journal: Arc::default(), waiting: Vec::new(), writing: None, begun: None }
    }

    /// Takes what is to be written down.
    pub fn take(&mut self, idle: Vec<Idle>) {
        self.waiting.extend(idle);
    }

    /// Brings the writing on; what is durable now. What is written is of the epoch `horizon`: a checkpoint whose boundary is
    /// behind it holds what the partitions were given.
    pub fn written(&mut self, horizon: Epoch) -> Option<Vec<Idle>> {
        let written = self.finished();
        if self.writing.is_none() && !self.waiting.is_empty() && self.begun.is_none_or(|begun| begun.elapsed() >= PAUSE)
        {
            self.write(horizon);
        }
        written
    }

    fn finished(&mut self) -> Option<Vec<Idle>> {
        let (idle, result) = self.writing.take()?;
        let error = match result.try_recv() {
            Ok(Ok(())) => return Some(idle),
            Ok(Err(error)) => error,
            Err(TryRecvError::Disconnected) => Error::run("it was given up"),
            Err(TryRecvError::Empty) => {
                self.writing = Some((idle, result));
                return None;
            }
        };
        tracing::warn!("the journal cannot be written: {error}; idle partitions hold the watermark back until it can");
        self.waiting.splice(..0, idle);
        None
    }

    fn write(&mut self, horizon: Epoch) {
        let idle = std::mem::take(&mut self.waiting);
        let (done, written) = channel();
        let (journal, checkpointing, value) =
            (Arc::clone(&self.journal), Arc::clone(&self.checkpointing), idle.clone());
        let work = async move {
            let open = || checkpointing.checkpoints.journal(checkpointing.generation);
            let journal = journal.get_or_try_init(open).await?;
            let value = serde_json::to_value(value).map_err(Error::run)?;
            journal.append(&Decision { epoch: horizon, kind: IDLE.to_string(), value }).await
        };
        match runtime() {
            // The worker may have ended.
            Ok(runtime) => drop(runtime.spawn(async move { drop(done.send(work.await)) })),
            Err(error) => drop(done.send(Err(error))),
        }
        (self.writing, self.begun) = (Some((idle, written)), Some(Instant::now()));
    }
}
