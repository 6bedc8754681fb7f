//! Sinks: where rows go, one file or folder each.
//!
//! A sink's plan is *prepared* once a process (connections, folders, tables), opened once a worker, and run in
//! timely by [`drain`], which keeps an epoch open until its writes are acknowledged. To add one: its file, its
//! `mod` line, its line in [`KINDS`].

mod cassandra;
pub mod collect;
mod columns;
mod console;
pub mod dead_letters;
pub mod dead_letters_kafka;
mod delivery;
mod discard;
pub mod drain;
mod email;
mod file;
mod kafka;
mod parquet;
mod parts;
mod progress;
mod webhook;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use timely::scheduling::SyncActivator;

use crate::batch::{Epoch, Rows};
use crate::error::{Error, Result};
use crate::metrics::Meter;
use crate::runtime::{Job, Prepare};
use crate::sinks::dead_letters::Refusals;
use crate::sources::lanes::Lanes;
use crate::spec::{At, Check, Edge, Fields};
use crate::state::Entry;

/// Name, one line of help, and how it is read.
#[expect(clippy::type_complexity, reason = "a table, read by its column names above")]
pub const KINDS: &[(&str, &str, fn(&mut Fields<'_>) -> Box<dyn SinkSpec>)] = &[
    ("cassandra", "a table in Cassandra or Scylla", cassandra::read),
    ("console", "a live table in a terminal, JSON lines elsewhere", console::read),
    ("discard", "counts rows", discard::read),
    ("email", "mails that tell of rows", email::read),
    ("file", "JSON lines or CSV", file::read),
    ("kafka", "messages of a topic", kafka::read),
    ("parquet", "Parquet files in a folder", parquet::read),
    ("webhook", "a POST for each row", webhook::read),
];

/// A sink, as written.
pub trait SinkSpec: Send + Sync {
    /// Checks and types it for rows of `input`; mistakes go to the findings.
    fn plan(&self, name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<Arc<dyn SinkPlan>>;
}

/// Which worker writes a row, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The worker where it is, as it arrives.
    Anywhere,
    /// The first worker writes all; each epoch when it is complete, sorted as `operators::keyed` sorts.
    Gathered,
    /// The worker that owns these columns, as it arrives.
    ByColumns(Vec<usize>),
    /// The worker that owns these columns; each epoch when it is complete, sorted by (source, `seq`).
    ByColumnsSorted(Vec<usize>),
}

/// A sink, checked and typed.
pub trait SinkPlan: Send + Sync {
    /// Which worker writes a row.
    fn placement(&self) -> Placement;
    /// Connects, once a process; everything that may fail does so here.
    fn prepare(&self, prepare: &Prepare) -> Result<Arc<dyn PreparedSink>>;
    /// Looks whether it can be written to; changes nothing.
    fn look(&self) -> Result<()> {
        Ok(())
    }
    /// The file that it begins anew, where there is one.
    fn overwrites(&self) -> Option<&Path> {
        None
    }
    /// Lines for `explain`.
    fn details(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The place on disk that a sink writes to.
fn on_disk(path: &At<String>, check: &Check<'_>) -> Option<PathBuf> {
    if path.contains("://") {
        check.findings.mistake(&path.span, "a sink writes to a disk, not to an object store: name a folder or a file");
        return None;
    }
    Some(check.files.path(path))
}

/// Looks whether `folder` is there or can be made.
fn look_for_folder(folder: &Path) -> Result<()> {
    let there = folder.ancestors().find(|above| above.exists());
    match there.filter(|there| !there.is_dir()) {
        Some(file) => Err(Error::connect(format!("{}: {} is no folder", folder.display(), file.display()))),
        None => Ok(()),
    }
}

/// A sink, connected in this process.
pub trait PreparedSink: Send + Sync {
    /// The sink of one worker; this cannot fail.
    fn open(&self, context: SinkContext) -> Box<dyn Sink>;
    /// Where it begins, as far as it is written in this process: what it must know to begin there again.
    fn begins(&self) -> Vec<Entry> {
        Vec::new()
    }
    /// Checkpoint `number` is complete: what it holds of this sink may be seen by others.
    fn completed(&self, _number: u64) -> Result<()> {
        Ok(())
    }
}

/// What the sink of one worker is given.
pub struct SinkContext {
    /// The index of the worker in the cluster.
    pub worker: usize,
    /// How many workers there are.
    pub workers: usize,
    /// The job.
    pub job: Arc<Job>,
    /// Counters of the node on this worker.
    pub meter: Meter,
    /// Where rows go that cannot be written.
    pub refusals: Refusals,
    /// Where rows stand in the sources of the job.
    pub lanes: Arc<Lanes>,
    /// To be called when writes were acknowledged or there is room again.
    pub wake: SyncActivator,
}

/// A running sink, on one worker. Never blocks for long: clients that wait live beside the workers.
pub trait Sink {
    /// Whether it can take more now; when it could not, it wakes its worker once it can.
    fn ready(&mut self) -> bool {
        true
    }
    /// Takes rows, at least one. Rows of a key come in order.
    fn write(&mut self, epoch: Epoch, rows: &Rows) -> Result<()>;
    /// All rows of epochs before `frontier` were written: what is held back for company shall go now.
    fn flush(&mut self, frontier: Epoch) -> Result<()>;
    /// The least epoch of which something is not acknowledged yet; it wakes its worker when that changes.
    fn unacknowledged(&mut self) -> Result<Option<Epoch>> {
        Ok(None)
    }
    /// All rows before the boundary of checkpoint `number` were written, and nothing of later ones: tells what the
    /// checkpoint must know to go on from here.
    fn checkpoint(&mut self, _number: u64) -> Result<Vec<Entry>> {
        Ok(Vec::new())
    }
    /// All rows were written and acknowledged, and no more come.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}
