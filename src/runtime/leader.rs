//! Leads a job that has checkpoints, on the first worker of the first process: moves its horizon, begins checkpoints, and
//! writes their manifest when all parts are there and all sinks have what came before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use timely::dataflow::operators::probe::Handle as Probe;

use super::chains::Chains;
use super::checkpointing::{Checkpointing, Part};
use super::{Job, Move, epochs, runtime};
use crate::batch::Epoch;
use crate::error::Result;
use crate::sabotage::breaks;
use crate::state::{FORMAT, Manifest};

/// How far the horizon is ahead of the clock at most.
pub const AHEAD: Duration = Duration::from_secs(1);
/// The least number of epochs that the horizon is ahead of readers that cut them.
const EPOCHS_AHEAD: u64 = 512;

/// What the leader has decided; every process takes it, in order.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub enum Decision {
    /// The horizon moves.
    Move(Move),
    /// A checkpoint is complete.
    Complete(u64),
}

impl Decision {
    /// Takes effect in this process.
    pub fn take(self, job: &Job) {
        match self {
            Decision::Move(step) => job.take(step),
            Decision::Complete(number) => job.boundaries.completed(number),
        }
    }
}

/// Leads one job.
pub struct Leader {
    job: Arc<Job>,
    checkpointing: Arc<Checkpointing>,
    settings: Settings,
    /// Behind all readers of all workers.
    sources: Probe<Epoch>,
    /// Behind all sinks of all workers.
    durable: Probe<Epoch>,
    turn: u64,
    horizon: Epoch,
    /// When the horizon was moved last for readers that cut epochs, and to where they had come.
    moved: (Instant, Epoch),
    begun: Instant,
    /// The files that the next manifest names.
    chains: Chains,
    number: u64,
    open: Option<Open>,
}

/// What the leader has to know of its job.
#[derive(Clone)]
pub struct Settings {
    /// The job's name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// The hash of its dataflow file.
    pub hash: String,
    /// How many workers there are.
    pub workers: usize,
    /// How many processes.
    pub processes: usize,
    /// How often a checkpoint is taken.
    pub every: Duration,
    /// How many are kept.
    pub keep: usize,
    /// The epoch that readers count from.
    pub origin: Epoch,
}

/// A checkpoint that is not complete yet.
struct Open {
    number: u64,
    boundary: Epoch,
    parts: BTreeMap<usize, Part>,
    /// Once its manifest is being written.
    written: Option<Receiver<Result<()>>>,
    begun: Instant,
    last: bool,
}

impl Leader {
    /// Leads `job` on from what `resumed` has kept.
    pub fn new(
        job: Arc<Job>,
        checkpointing: Arc<Checkpointing>,
        settings: Settings,
        resumed: Option<&Manifest>,
        (sources, durable): (Probe<Epoch>, Probe<Epoch>),
    ) -> Self {
        let horizon = job.boundaries.horizon();
        Leader {
            number: job.boundaries.complete(),
            chains: Chains::new(resumed),
            job,
            checkpointing,
            settings,
            sources,
            durable,
            turn: 0,
            horizon,
            moved: (Instant::now(), horizon),
            begun: Instant::now(),
            open: None,
        }
    }

    /// Whether the job needs no leader any more.
    pub fn is_done(&self) -> bool {
        self.job.failed() || (self.job.boundaries.settled() && self.is_free())
    }

    /// A process has written its part of a checkpoint.
    pub fn part(&mut self, part: Part) {
        if let Some(open) = self.open.as_mut().filter(|open| open.number == part.number) {
            open.parts.insert(part.process, part);
        }
    }

    /// What is to be decided now.
    pub fn decide(&mut self) -> Vec<Decision> {
        if self.job.failed() {
            return Vec::new();
        }
        self.chains.take_folded();
        let mut decisions = Vec::new();
        decisions.extend(self.complete().map(Decision::Complete));
        if let Some(step) = self.step() {
            self.horizon = step.until;
            decisions.push(Decision::Move(step));
        }
        decisions
    }

    fn step(&mut self) -> Option<Move> {
        if self.job.boundaries.last().is_some() || self.last_is_open() {
            return None;
        }
        if self.job.draining() || frontier(&self.sources) == Epoch::MAX {
            // Asked to end, or all sources have: a last checkpoint holds what there is.
            return self.is_free().then(|| self.make(self.horizon, true));
        }
        let until = if self.job.is_cut_by_clock() { self.by_the_clock() } else { self.by_demand() };
        until.map(|until| self.make(until, false))
    }

    /// Whether a checkpoint can begin: one at a time, and it names what was folded before it.
    fn is_free(&self) -> bool {
        self.open.is_none() && !self.chains.are_folding()
    }

    fn last_is_open(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.last)
    }

    fn by_the_clock(&self) -> Option<Epoch> {
        let (now, ahead) = (epochs::now().max(self.settings.origin), self.ahead());
        (self.horizon < now + ahead / 2).then_some(now + ahead)
    }

    /// About as far ahead as the readers come in that time.
    fn by_demand(&mut self) -> Option<Epoch> {
        let wanted = self.job.boundaries.wanted()?;
        let (since, from) = std::mem::replace(&mut self.moved, (Instant::now(), wanted));
        let passed = since.elapsed().as_secs_f64().max(1e-3);
        let a_second = (wanted.saturating_sub(from) as f64 / passed) as u64;
        let ahead = a_second / 1_000_000 * self.ahead() + a_second % 1_000_000 * self.ahead() / 1_000_000;
        Some(wanted.max(self.horizon) + ahead.clamp(EPOCHS_AHEAD, AHEAD.as_micros() as Epoch))
    }

    /// How far ahead the horizon is, in microseconds: a checkpoint waits for it.
    fn ahead(&self) -> Epoch {
        self.settings.every.clamp(AHEAD / 20, AHEAD).as_micros() as Epoch
    }

    fn make(&mut self, until: Epoch, last: bool) -> Move {
        self.turn += 1;
        let due = self.is_free() && self.begun.elapsed() >= self.settings.every;
        let checkpoint = (due || last).then(|| self.begin(last));
        Move { turn: self.turn, until, checkpoint, last }
    }

    fn begin(&mut self, last: bool) -> u64 {
        self.number += 1;
        self.begun = Instant::now();
        self.open = Some(Open {
            number: self.number,
            boundary: self.horizon,
            parts: BTreeMap::new(),
            written: None,
            begun: self.begun,
            last,
        });
        self.number
    }

    /// Brings the open checkpoint on; its number once it is complete.
    fn complete(&mut self) -> Option<u64> {
        let durable = frontier(&self.durable);
        let open = self.open.as_mut()?;
        if let Some(written) = &open.written {
            return match written.try_recv() {
                Ok(Ok(())) => {
                    let (number, took) = (open.number, open.begun.elapsed());
                    tracing::debug!(job = self.job.name, "checkpoint {number} is complete after {took:.0?}");
                    let last = open.last;
                    self.open = None;
                    if !last {
                        let manifest = self.manifest(number, self.horizon);
                        self.chains.fold(manifest, &self.checkpointing);
                    }
                    Some(number)
                }
                Ok(Err(error)) => {
                    self.job.fail(error);
                    None
                }
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => {
                    self.job.fail(crate::Error::run("the manifest of a checkpoint was not written"));
                    None
                }
            };
        }
        if open.parts.len() < self.settings.processes || (durable < open.boundary && !breaks("manifest")) {
            return None;
        }
        let (boundary, number) = (open.boundary, open.number);
        let parts = std::mem::take(&mut open.parts);
        let files = parts.into_values().flat_map(|part| part.files).collect();
        self.chains.add(files);
        let written = self.write(self.manifest(number, boundary));
        if let Some(open) = &mut self.open {
            open.written = Some(written);
        }
        None
    }

    fn manifest(&self, number: u64, boundary: Epoch) -> Manifest {
        let Settings { name, id, hash, workers, origin, .. } = &self.settings;
        Manifest {
            format: FORMAT,
            job: name.clone(),
            id: id.clone(),
            number,
            generation: self.checkpointing.generation,
            boundary,
            origin: *origin,
            written: epochs::rfc3339(epochs::now()),
            workers: *workers,
            hash: hash.clone(),
            nodes: self.chains.files().clone(),
            savepoint: false,
        }
    }

    fn write(&self, manifest: Manifest) -> Receiver<Result<()>> {
        let (done, written) = channel();
        let (checkpointing, keep) = (Arc::clone(&self.checkpointing), self.settings.keep);
        let work = async move {
            let result = checkpointing.commit(&manifest).await;
            let pruned = result.is_ok();
            // The worker may have ended.
            let _ = done.send(result);
            if pruned && let Err(error) = checkpointing.checkpoints.prune(keep).await {
                tracing::warn!("old checkpoints are left for another time: {error}");
            }
        };
        match runtime() {
            Ok(runtime) => drop(runtime.spawn(work)),
            Err(error) => self.job.fail(error),
        }
        written
    }
}

fn frontier(probe: &Probe<Epoch>) -> Epoch {
    probe.with_frontier(|frontier| frontier.first().copied()).unwrap_or(Epoch::MAX)
}
