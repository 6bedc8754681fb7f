//! Sources: where rows come from, one file or folder each.
//!
//! A source's plan is *prepared* once a process (all that may fail: files, connections), and then makes one
//! [`Reader`] a worker, which [`feed`] runs in timely. To add one: its file, its `mod` line, its line in [`KINDS`].

pub mod feed;
mod file;
mod generator;
mod kafka;
pub mod lanes;
pub mod letters;
pub mod lines;
mod outstanding;
pub mod seq;
pub mod shape;

pub use file::{Whole, WholeFile, forget_fetched};
pub use kafka::OnGap;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use timely::scheduling::SyncActivator;

use crate::batch::{Epoch, Mark, Origin};
use crate::error::Result;
use crate::formats::MessageSchema;
use crate::runtime::{Job, Prepare};
use crate::sinks::dead_letters::Refusals;
use crate::spec::{At, Check, Edge, Fields};
use crate::state::Entry;
use shape::ShapePlan;

/// Unique within a source, rising within a partition.
pub const SEQ: &str = "seq";
/// The hidden column of event time: ns since 1970 UTC.
pub const TIME: &str = "_time";
/// The hidden column by which sources with `order = "event_time"` order their rows, before `seq`: event time, or, of a row
/// that comes too late, the watermark that its partition had before it.
pub const ORDER: &str = "_order";
/// The columns that every source has besides those of its messages.
pub const BUILT_IN: &[&str] = &[SEQ, TIME, ORDER, "_partition", "_offset", "_ingest_time"];

/// Name, one line of help, and how it is read.
#[expect(clippy::type_complexity, reason = "a table, read by its column names above")]
pub const KINDS: &[(&str, &str, fn(&mut Fields<'_>) -> Box<dyn SourceSpec>)] = &[
    ("file", "JSON lines, CSV or Parquet, from disk or an object store", file::read),
    ("generator", "a seeded synthetic market", generator::read),
    ("kafka", "the messages of a topic", kafka::read),
];

/// A source, as written.
pub trait SourceSpec: Send + Sync {
    /// Checks and types it; mistakes go to the findings.
    fn plan(&self, name: &At<String>, check: &Check<'_>) -> Option<(Edge, Arc<dyn SourcePlan>)>;
}

/// A source, checked and typed.
pub trait SourcePlan: Send + Sync {
    /// Opens what rows come from, once a process; everything that may fail does so here.
    fn prepare(&self, prepare: &Prepare) -> Result<Arc<dyn PreparedSource>>;
    /// Looks whether what it reads is there; changes nothing.
    fn look(&self) -> Result<()> {
        Ok(())
    }
    /// How messages become rows.
    fn shape(&self) -> &Arc<ShapePlan>;
    /// What a message holds: how the rows of a test are read.
    fn messages(&self) -> &MessageSchema;
    /// What it reads, in words: a source that says the same finds the same where it has left off.
    fn what(&self) -> String;
    /// Whether it reads this file.
    fn reads(&self, _path: &Path) -> bool {
        false
    }
    /// Lines for `explain`.
    fn details(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A source, opened in this process.
pub trait PreparedSource: Send + Sync {
    /// The reader of one worker; this cannot fail.
    fn reader(&self, context: ReaderContext) -> Box<dyn Reader>;
    /// Where it begins, as far as it is read in this process: what it must know to begin there again.
    fn begins(&self) -> Result<Vec<Entry>> {
        Ok(Vec::new())
    }
    /// Whether it reads from the beginning although a checkpoint tells where it was: what it read then is not there.
    fn begins_anew(&self) -> bool {
        false
    }
    /// How much there is to read for all workers together, where that is known: the unit of [`Read::Rows::extent`].
    fn extent(&self) -> Option<u64> {
        None
    }
}

/// What the reader of one worker is given.
pub struct ReaderContext {
    /// The index of the worker in the cluster.
    pub worker: usize,
    /// How many workers there are.
    pub workers: usize,
    /// The position of the source in the plan.
    pub node: usize,
    /// The job.
    pub job: Arc<Job>,
    /// The epoch that rows are counted from, where a reader cuts epochs by rows.
    pub start: Epoch,
    /// The first epoch to be read: what is before it was read before a restart.
    pub from: Epoch,
    /// What becomes of records that cannot be used.
    pub refusals: Refusals,
    /// Wakes the source when there is something to read.
    pub wake: SyncActivator,
}

/// Who cuts epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The clock.
    Clock,
    /// The reader, by rows: it names the epoch of each batch.
    Rows,
}

/// What a reader has found.
pub enum Read {
    /// Rows of `epoch` (of the present one where the clock cuts).
    Rows {
        /// Their epoch, where the reader cuts.
        epoch: Option<Epoch>,
        /// The rows.
        data: RecordBatch,
        /// What they hold of the memory budget.
        bytes: usize,
        /// How far the reader has come by reading them, in the unit of [`PreparedSource::extent`].
        extent: u64,
    },
    /// A mark, sent in the present epoch.
    Mark(Mark),
    /// Nothing comes before this epoch any more.
    Advance(Epoch),
    /// Nothing now: wake me when the activator is called, or after this time.
    Idle(Option<Duration>),
    /// Nothing any more.
    End,
}

/// Reads what one worker has to read of a source. Never blocks.
pub trait Reader {
    /// Who cuts epochs.
    fn cut(&self) -> Cut;
    /// Everyone it will send watermarks for, and those that took effect before its first epoch (`i64::MIN` for none).
    fn origins(&self) -> Vec<(Origin, i64)>;
    /// The next thing there is.
    fn read(&mut self) -> Result<Read>;
    /// Where it stands, all that it has handed out of epochs before `boundary` being before: what it must know to go on from
    /// here. A reader that cuts epochs is told by them ([`ReaderContext::from`]) where to go on.
    fn position(&self, boundary: Epoch) -> Result<Vec<Entry>>;
    /// Everything of epochs before `frontier` is durable in all sinks.
    fn durable(&mut self, _frontier: Epoch) {}
}
