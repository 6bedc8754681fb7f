//! Leads a job that has checkpoints, on the first worker of the first process: moves its horizon, begins checkpoints, and
//! writes their manifest when all parts are there and all sinks have what came before.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use timely::dataflow::operators::probe::Handle as Probe;

use super::chains::Chains;
use super::checkpointing::{Checkpointing, Part};
use super::epochs::EpochClock;
use super::idle::Idle;
use super::notes::Notes;
use super::settings::Settings;
use super::{Job, Lease, Move, runtime};
use crate::batch::Epoch;
use crate::error::Result;
use crate::metrics;
use crate::sabotage::breaks;
use crate::state::{Manifest, Setting};

/// How far the horizon is ahead of the clock at most.
pub const AHEAD: Duration = Duration::from_secs(1);
/// The least number of epochs that the horizon is ahead of readers that cut them.
const EPOCHS_AHEAD: u64 = 16;

/// What the leader has decided; every process takes it, in order.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub enum Decision {
    /// The horizon moves.
    Move(Move),
    /// Partitions that are idle are given up to an event time: it is written down.
    Idle(Vec<Idle>),
    /// A checkpoint is complete.
    Complete {
        /// Its number.
        number: u64,
        /// Whether it is a savepoint.
        savepoint: bool,
        /// What takes effect with it, from its boundary on.
        setting: Option<Setting>,
    },
}

impl Decision {
    /// Takes effect in this process.
    pub fn take(self, job: &Job) {
        match self {
            Decision::Move(step) => job.take(step),
            Decision::Complete { number, savepoint, setting } => {
                setting.into_iter().for_each(|setting| job.set(setting));
                job.boundaries.completed(number);
                job.kept(number, savepoint);
            }
            Decision::Idle(idle) => job.take_idle(idle),
        }
    }
}

/// Leads one job.
pub struct Leader {
    job: Arc<Job>,
    checkpointing: Arc<Checkpointing>,
    settings: Settings,
    lease: Arc<Lease>,
    /// The clock of the sources.
    clock: EpochClock,
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
    notes: Notes,
    number: u64,
    open: Option<Open>,
    /// The next checkpoint is to be a savepoint, and soon.
    savepoint: bool,
    /// What is to be set.
    asked: VecDeque<Setting>,
}

/// A checkpoint that is not complete yet.
struct Open {
    number: u64,
    boundary: Epoch,
    parts: BTreeMap<usize, Part>,
    /// Once its manifest is being written.
    written: Option<Receiver<Result<()>>>,
    begun: Instant,
    /// What its files hold.
    bytes: u64,
    full: bool,
    last: bool,
    savepoint: bool,
    /// What takes effect with it: until it is complete nothing is read behind its boundary.
    setting: Option<Setting>,
}

impl Leader {
    /// Leads `job` on from what `resumed` has kept.
    pub fn new(
        job: Arc<Job>,
        checkpointing: Arc<Checkpointing>,
        (settings, lease): (Settings, Arc<Lease>),
        resumed: Option<&Manifest>,
        (sources, durable): (Probe<Epoch>, Probe<Epoch>),
    ) -> Self {
        let horizon = job.boundaries.horizon();
        Leader {
            number: job.boundaries.complete(),
            chains: Chains::new(resumed),
            notes: Notes::new(Arc::clone(&checkpointing)),
            job,
            checkpointing,
            settings,
            lease,
            clock: EpochClock::new(horizon, Duration::from_micros(1)),
            sources,
            durable,
            turn: 0,
            horizon,
            moved: (Instant::now(), horizon),
            begun: Instant::now(),
            open: None,
            savepoint: false,
            asked: VecDeque::new(),
        }
    }

    /// The next checkpoint is to be a savepoint; it begins as soon as it can.
    pub fn save(&mut self) {
        self.savepoint = true;
    }

    /// Something is to be set: it takes effect with the next checkpoint that can begin.
    pub fn set(&mut self, setting: Setting) {
        self.asked.push_back(setting);
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

    /// Partitions are idle in some process.
    pub fn idle(&mut self, idle: Vec<Idle>) {
        self.notes.take(idle);
    }

    /// What is to be decided now.
    pub fn decide(&mut self) -> Vec<Decision> {
        if self.job.failed() {
            return Vec::new();
        }
        let mut decisions = Vec::new();
        decisions.extend(self.complete());
        decisions.extend(self.notes.written(self.horizon).map(Decision::Idle));
        if let Some(step) = self.step() {
            self.horizon = step.until;
            decisions.push(Decision::Move(step));
        }
        decisions
    }

    fn step(&mut self) -> Option<Move> {
        if self.job.boundaries.last().is_some() || self.last_is_open() || self.is_held() {
            return None;
        }
        if self.job.draining() || frontier(&self.sources) == Epoch::MAX {
            // Asked to end, or all sources have: a last checkpoint holds what there is.
            return self.is_free().then(|| self.make(self.horizon, true));
        }
        if self.is_free()
            && let Some(setting) = self.asked.pop_front()
        {
            return Some(self.hold(setting));
        }
        let until = if self.job.is_cut_by_clock() { self.by_the_clock() } else { self.by_demand() };
        // Where the bound does not move, the horizon comes to it and waits.
        let until = until.map(|until| until.min(self.lease.limit(until))).filter(|until| *until > self.horizon);
        until.map(|until| self.make(until, false))
    }

    /// Whether a checkpoint can begin: one at a time.
    fn is_free(&self) -> bool {
        self.open.is_none()
    }

    fn last_is_open(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.last)
    }

    /// Whether nothing is read behind the open checkpoint until it is complete.
    fn is_held(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.setting.is_some())
    }

    fn by_the_clock(&mut self) -> Option<Epoch> {
        let (now, ahead) = (self.clock.now(), self.ahead());
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
        let due = self.is_free() && (self.savepoint || self.begun.elapsed() >= self.settings.every);
        let full = (due || last) && self.chains.are_long(self.settings.workers);
        let checkpoint = (due || last).then(|| self.begin(full, last, None));
        Move { turn: self.turn, until, checkpoint, full, last, holds: false }
    }

    /// A checkpoint with which `setting` takes effect. Everything waits at its boundary until it is complete: so whoever goes
    /// on from an earlier one finds nothing that was made by it, and whoever goes on from this one nothing that was not.
    fn hold(&mut self, setting: Setting) -> Move {
        self.turn += 1;
        let full = self.chains.are_long(self.settings.workers);
        let setting = setting.from(self.horizon);
        let checkpoint = Some(self.begin(full, false, Some(setting)));
        Move { turn: self.turn, until: self.horizon, checkpoint, full, last: false, holds: true }
    }

    fn begin(&mut self, full: bool, last: bool, setting: Option<Setting>) -> u64 {
        self.number += 1;
        self.begun = Instant::now();
        self.open = Some(Open {
            number: self.number,
            boundary: self.horizon,
            parts: BTreeMap::new(),
            written: None,
            begun: self.begun,
            bytes: 0,
            full,
            last,
            savepoint: std::mem::take(&mut self.savepoint) || (last && self.job.saves_last()),
            setting,
        });
        self.number
    }

    /// Brings the open checkpoint on, until it is complete.
    fn complete(&mut self) -> Option<Decision> {
        let durable = frontier(&self.durable);
        let open = self.open.as_mut()?;
        if let Some(written) = &open.written {
            return match written.try_recv() {
                Ok(Ok(())) => {
                    let (number, took, bytes) = (open.number, open.begun.elapsed(), open.bytes);
                    let kind = if open.full { "full " } else { "" };
                    tracing::debug!(job = self.job.name, "{kind}checkpoint {number}: {bytes} bytes, {took:.0?}");
                    metrics::checkpoint(&self.job.name, bytes, took);
                    let (savepoint, setting) = (open.savepoint, open.setting.take());
                    self.open = None;
                    if let Some(Setting { node, epoch, .. }) = &setting {
                        tracing::info!("job `{}`: what was set of `{node}` holds from epoch {epoch} on", self.job.name);
                    }
                    Some(Decision::Complete { number, savepoint, setting })
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
        let (boundary, number, savepoint, setting) = (open.boundary, open.number, open.savepoint, open.setting.clone());
        let parts = std::mem::take(&mut open.parts);
        let files: Vec<_> = parts.into_values().flat_map(|part| part.files).collect();
        open.bytes = files.iter().map(|written| written.file.size).sum();
        self.chains.add(files, open.full);
        let written = self.write(self.manifest(number, boundary, savepoint, setting));
        if let Some(open) = &mut self.open {
            open.written = Some(written);
        }
        None
    }

    fn manifest(&self, number: u64, boundary: Epoch, savepoint: bool, setting: Option<Setting>) -> Manifest {
        let mut in_force = self.job.in_force.all();
        in_force.extend(setting.map(|setting| (setting.node.clone(), setting)));
        self.settings.manifest(number, boundary, savepoint, self.chains.files().clone(), in_force)
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
