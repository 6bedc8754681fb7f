//! The checkpoints of one job in one process: takes the state of its nodes, writes it beside the workers, and tells when
//! all of a checkpoint is written.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::{Job, runtime};
use crate::error::{Error, Result};
use crate::operators::state::{POSITIONS, POSITIONS_VERSION};
use crate::sinks::dead_letters::DeadLetters;
use crate::state::{Checkpoints, Draft, Entry, FileRef, Manifest};

/// How long it is tried to write to the store before the job fails: as long as a store may be away.
const TRY: Duration = Duration::from_secs(300);
/// How long is waited before it is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// How long dead letters are waited for at a time.
const FLUSH: Duration = Duration::from_secs(10);

/// What one process has written of a checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    /// The checkpoint.
    pub number: u64,
    /// The process.
    pub process: usize,
    /// Its files.
    pub files: Vec<Written>,
}

/// The state of a node on a worker, written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Written {
    /// The node.
    pub node: String,
    /// What its bytes mean.
    pub kind: String,
    /// The version of their format.
    pub version: u16,
    /// Where they are.
    pub file: FileRef,
}

impl Written {
    /// Whether the files of earlier checkpoints are not needed beside it.
    pub fn replaces(&self) -> bool {
        self.kind == POSITIONS
    }
}

/// The checkpoints of one job in one process.
pub struct Checkpointing {
    /// Where they are kept.
    pub checkpoints: Checkpoints,
    /// The generation of the cluster.
    pub generation: u64,
    process: usize,
    job: Weak<Job>,
    letters: Arc<dyn DeadLetters>,
    /// How many states a checkpoint has in this process.
    expected: AtomicUsize,
    parts: Mutex<Parts>,
}

#[derive(Default)]
struct Parts {
    open: BTreeMap<u64, Open>,
    complete: Vec<Part>,
    /// Nodes, by their names and workers, that have ended, and where.
    ended: Vec<(String, usize, Vec<Entry>)>,
}

#[derive(Default)]
struct Open {
    states: usize,
    files: Vec<Written>,
}

impl Checkpointing {
    /// The checkpoints of `job` in process `process`, kept in `checkpoints`; what it has written of `letters` before one is
    /// kept when that one is.
    pub fn new(
        checkpoints: Checkpoints,
        generation: u64,
        process: usize,
        job: &Arc<Job>,
        letters: Arc<dyn DeadLetters>,
    ) -> Arc<Self> {
        Arc::new(Checkpointing {
            checkpoints,
            generation,
            process,
            job: Arc::downgrade(job),
            letters,
            expected: AtomicUsize::new(0),
            parts: Mutex::default(),
        })
    }

    /// One more node and worker has state. Every worker has a sink, whose turn comes when all workers have built the
    /// job: so no checkpoint is complete before everybody is counted.
    pub fn expect_one_more(&self) {
        self.expected.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes the state of a node on a worker for checkpoint `number`.
    pub fn keep(self: &Arc<Self>, number: u64, of: (&str, usize), kind: &str, version: u16, state: Draft) {
        for (node, worker, last) in self.begin(number) {
            self.put(number, (&node, worker), POSITIONS, POSITIONS_VERSION, Draft::of(0, &last));
        }
        self.put(number, of, kind, version, state);
    }

    /// The first state of a checkpoint brings along what has ended before.
    fn begin(&self, number: u64) -> Vec<(String, usize, Vec<Entry>)> {
        let mut parts = self.parts();
        match parts.open.contains_key(&number) {
            true => Vec::new(),
            false => {
                parts.open.insert(number, Open::default());
                parts.ended.clone()
            }
        }
    }

    fn put(self: &Arc<Self>, number: u64, (node, worker): (&str, usize), kind: &str, version: u16, state: Draft) {
        if state.is_empty() {
            return self.add(number, None);
        }
        let (this, node, kind) = (Arc::clone(self), node.to_string(), kind.to_string());
        let write = async move {
            let of_kind = kind.clone();
            // Packing may take a second.
            let packed = spawn_blocking(move || state.encode(&of_kind, version)).await;
            let written = match packed {
                Ok(bytes) => this.write(number, &node, worker, bytes).await,
                Err(_) => Err(Error::run("a thread that packed state has panicked")),
            };
            match written {
                Ok(file) => this.add(number, Some(Written { node, kind, version, file })),
                Err(error) => this.fail(error.of_node(&node)),
            }
        };
        match runtime() {
            Ok(runtime) => drop(runtime.spawn(write)),
            Err(error) => self.fail(error),
        }
    }

    /// The positions of `node` on `worker` do not change any more, and nobody asks for them again: they go into every
    /// checkpoint to come. Not if a boundary has become known that they did not go into: the caller looks once more.
    pub fn end(&self, node: &str, worker: usize, last: &[Entry], is_known: impl Fn() -> bool) -> bool {
        let mut parts = self.parts();
        if is_known() {
            return false;
        }
        parts.ended.push((node.to_string(), worker, last.to_vec()));
        true
    }

    /// Takes the parts that are complete.
    pub fn complete(&self) -> Vec<Part> {
        std::mem::take(&mut self.parts().complete)
    }

    async fn write(&self, number: u64, node: &str, worker: usize, bytes: Vec<u8>) -> Result<FileRef> {
        self.insist(number, || self.checkpoints.write_state(number, self.generation, node, worker, bytes.clone())).await
    }

    /// Makes a checkpoint of what was written.
    pub async fn commit(&self, manifest: &Manifest) -> Result<()> {
        self.insist(manifest.number, || self.checkpoints.commit(manifest)).await
    }

    /// Tries something for checkpoint `number` again for as long as a store may be away, or full.
    async fn insist<T, F: Future<Output = Result<T>>>(&self, number: u64, attempt: impl Fn() -> F) -> Result<T> {
        let began = tokio::time::Instant::now();
        loop {
            let error = match attempt().await {
                Err(error @ (Error::Connect(_) | Error::TimedOut(_))) => error,
                result => return result,
            };
            if began.elapsed() > TRY || self.job.upgrade().is_none_or(|job| job.failed()) {
                return Err(error);
            }
            tracing::warn!("checkpoint {number}: {error}; trying again");
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn add(self: &Arc<Self>, number: u64, file: Option<Written>) {
        let mut parts = self.parts();
        let open = parts.open.entry(number).or_default();
        open.states += 1;
        open.files.extend(file);
        if open.states == self.expected.load(Ordering::Acquire) {
            let files = parts.open.remove(&number).unwrap_or_default().files;
            drop(parts);
            self.finish(Part { number, process: self.process, files });
        }
    }

    /// All state is written: the part is complete once the dead letters are kept of what was read before it.
    fn finish(self: &Arc<Self>, part: Part) {
        let this = Arc::clone(self);
        let work = async move {
            let flush = || async {
                let letters = Arc::clone(&this.letters);
                let flushed = spawn_blocking(move || letters.flush(FLUSH)).await;
                flushed.unwrap_or_else(|_| Err(Error::run("a thread that kept dead letters has panicked")))
            };
            match this.insist(part.number, flush).await {
                Ok(()) => this.parts().complete.push(part),
                Err(error) => this.fail(error),
            }
        };
        match runtime() {
            Ok(runtime) => drop(runtime.spawn(work)),
            Err(error) => self.fail(error),
        }
    }

    fn fail(&self, error: Error) {
        if let Some(job) = self.job.upgrade() {
            job.fail(error);
        }
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
