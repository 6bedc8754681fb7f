//! Rows that a server is told of, one delivery after the other: what `webhook` and `email` have in common.
//!
//! Each worker delivers its rows in order. What fails is tried again for as long as that may help, and meanwhile the
//! epochs of all rows that wait stay open; what is refused for good becomes a dead letter. Rows come at least once:
//! those that nobody had acknowledged when a process ended are delivered again, with the keys they had before.

mod agent;
mod back_off;
mod sink;
mod waiting;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use tokio::sync::mpsc;

use super::progress::{OnItsWay, Progress};
use super::{PreparedSink, Sink, SinkContext};
use crate::batch::Epoch;
use crate::error::Result;
use crate::runtime::{Prepare, runtime};
use crate::sources::SEQ;
use crate::spec::{At, Edge, Fields};
use agent::{Agent, Attempts};
use sink::{DeliverySink, Keys};
pub use waiting::Gather;

/// Speaks to a server.
pub trait Courier: Send + Sync + 'static {
    /// What the server is to be told of each row, in the texts that this needs.
    fn pack(&self, data: &RecordBatch) -> Result<Vec<Vec<String>>>;

    /// Tries to deliver some rows, once; it ends in time.
    fn attempt(&self, parcels: &[Parcel]) -> impl Future<Output = Outcome> + Send;
}

/// A row on its way.
pub struct Parcel {
    /// Its epoch.
    pub epoch: Epoch,
    /// What the server is told.
    pub texts: Vec<String>,
    /// What whoever has seen it before knows it by.
    pub key: Option<String>,
    /// The row itself, as JSON, for a dead letter.
    pub row: String,
}

impl OnItsWay for Parcel {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn bytes(&self) -> usize {
        size_of::<Parcel>() + self.row.len() + self.texts.iter().map(String::len).sum::<usize>()
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server has it.
    Delivered,
    /// Not now.
    Later {
        /// Why.
        reason: String,
        /// After how long the server asked to be tried again.
        after: Option<Duration>,
    },
    /// Never.
    Refused(String),
}

/// How long is waited, as written.
pub struct PatienceSpec {
    timeout: Duration,
    give_up_after: Option<At<Duration>>,
}

impl PatienceSpec {
    /// Reads it.
    pub fn read(fields: &mut Fields<'_>) -> Self {
        PatienceSpec {
            timeout: fields.get("timeout", "how long an attempt may take; 10s by default").or(Duration::from_secs(10)),
            give_up_after: fields
                .get("give_up_after", "how long it is tried before a row becomes a dead letter; for ever by default")
                .optional(),
        }
    }

    /// How long it is.
    pub fn plan(&self) -> Patience {
        Patience { timeout: self.timeout, give_up_after: self.give_up_after.as_ref().map(|limit| limit.value) }
    }
}

/// How long is waited.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For an attempt.
    pub timeout: Duration,
    /// From the first attempt to the last.
    pub give_up_after: Option<Duration>,
}

impl Patience {
    /// For `explain`.
    pub fn details(&self) -> String {
        let given_up = self.give_up_after.map(|limit| format!(" for {}", humantime::format_duration(limit)));
        format!("at least once, in order; tried again{}", given_up.unwrap_or_default())
    }
}

/// A sink that delivers rows, prepared in this process.
pub struct Delivery<C> {
    courier: Arc<C>,
    sink: String,
    job: String,
    seq: Option<usize>,
    gather: Gather,
    patience: Patience,
}

impl<C: Courier> Delivery<C> {
    /// Delivers rows of `input` that come to the sink of that name.
    pub fn new(
        courier: C,
        (sink, input): (&str, &Edge),
        (gather, patience): (Gather, Patience),
        prepare: &Prepare,
    ) -> Self {
        // A job that is kept has an id; its rows are no others than before when it goes on.
        let job = prepare.recovery.as_ref().map_or(&prepare.job, |recovery| &recovery.job_id).clone();
        Delivery { courier: Arc::new(courier), sink: sink.to_string(), job, seq: input.position(SEQ), gather, patience }
    }
}

impl<C: Courier> PreparedSink for Delivery<C> {
    fn open(&self, context: SinkContext) -> Box<dyn Sink> {
        let progress = Arc::new(Progress::new(context.wake));
        let (sender, incoming) = mpsc::unbounded_channel();
        let agent = Agent {
            incoming,
            gather: self.gather,
            attempts: Attempts::new(
                Arc::clone(&self.courier),
                self.patience.give_up_after,
                context.meter.clone(),
                context.refusals.clone(),
            ),
            progress: Arc::clone(&progress),
        };
        match runtime() {
            Ok(runtime) => drop(runtime.spawn(agent.run())),
            Err(error) => progress.fail(error),
        }
        let keys = Keys { job: self.job.clone(), sink: self.sink.clone(), seq: self.seq, lanes: context.lanes };
        let courier = Arc::clone(&self.courier);
        Box::new(DeliverySink::new(courier, keys, sender, progress, context.refusals))
    }
}
