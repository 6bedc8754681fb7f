//! A job in this process: what its workers share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use timely::scheduling::SyncActivator;

use super::boundaries::{Boundaries, Move};
use super::epochs;
use super::idle::{Idle, IdlePartitions};
use super::in_force::InForce;
use super::standing::Standing;
use super::tap::Tap;
use crate::batch::Epoch;
use crate::error::Error;
use crate::metrics::Meter;
use crate::state::Setting;

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Rows go through it.
    Running,
    /// Its sources read no more; what was read is still on its way.
    Stopping,
    /// It has ended, and everything it had read is written.
    Done,
    /// It has ended with an error.
    Failed,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            State::Running => "running",
            State::Stopping => "stopping",
            State::Done => "done",
            State::Failed => "failed",
        })
    }
}

/// Shared by the workers of this process that run the job, and by those who watch it.
pub struct Job {
    /// The name of the job.
    pub name: String,
    /// How far its sources may go.
    pub boundaries: Boundaries,
    /// The numbers of the newest checkpoint and savepoint that hold what it has done; 0 where there is none.
    checkpoint: AtomicU64,
    savepoint: AtomicU64,
    /// A clock cuts the epochs of one of its sources.
    clock: AtomicBool,
    /// It is asked to end: at once, or at a last checkpoint.
    draining: AtomicBool,
    /// Its last checkpoint is to be a savepoint.
    saves_last: AtomicBool,
    stop: AtomicBool,
    announces: AtomicBool,
    failure: Mutex<Option<Error>>,
    meters: Mutex<BTreeMap<String, BTreeMap<usize, Meter>>>,
    taps: Mutex<BTreeMap<String, Arc<Tap>>>,
    sources: Mutex<Vec<SyncActivator>>,
    standing: Mutex<BTreeMap<(String, usize), Arc<Standing>>>,
    crew: Mutex<Crew>,
    /// Its partitions that are idle.
    pub idle: IdlePartitions,
    /// What was set of its nodes.
    pub in_force: InForce,
}

/// The workers of this process that run the job.
#[derive(Default)]
struct Crew {
    came: usize,
    left: usize,
    ended: Option<Epoch>,
}

impl Job {
    /// A job that runs, without checkpoints.
    pub fn new(name: &str) -> Arc<Job> {
        Job::within(name, Boundaries::none(), InForce::default())
    }

    /// A job that runs within `boundaries`, with what was set of its nodes before.
    pub fn within(name: &str, boundaries: Boundaries, in_force: InForce) -> Arc<Job> {
        Arc::new(Job {
            name: name.to_string(),
            boundaries,
            checkpoint: AtomicU64::new(0),
            savepoint: AtomicU64::new(0),
            clock: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            saves_last: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            announces: AtomicBool::new(false),
            failure: Mutex::default(),
            meters: Mutex::default(),
            taps: Mutex::default(),
            sources: Mutex::default(),
            standing: Mutex::default(),
            crew: Mutex::default(),
            idle: IdlePartitions::default(),
            in_force,
        })
    }

    /// Asks the job to drain and end; where there are checkpoints, with a last one.
    pub fn stop(&self) {
        self.draining.store(true, Ordering::Release);
        if !self.boundaries.any() {
            self.stop_now();
        }
    }

    /// The last checkpoint is to be a savepoint: said before the job is asked to end.
    pub fn save_last(&self) {
        self.saves_last.store(true, Ordering::Release);
    }

    /// Whether the last checkpoint is to be a savepoint.
    pub fn saves_last(&self) -> bool {
        self.saves_last.load(Ordering::Acquire)
    }

    fn stop_now(&self) {
        self.draining.store(true, Ordering::Release);
        if !self.stop.swap(true, Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Takes a move of the leader.
    pub fn take(&self, step: Move) {
        self.boundaries.take(step);
        self.wake();
    }

    /// It is written down how far these partitions are given up.
    pub fn take_idle(&self, idle: Vec<Idle>) {
        self.idle.written(idle);
        self.wake();
    }

    /// Something of a node is set.
    pub fn set(&self, setting: Setting) {
        self.in_force.take(setting);
        self.wake();
    }

    /// It has gone on from checkpoint `number`, or has completed it.
    pub fn kept(&self, number: u64, savepoint: bool) {
        self.checkpoint.fetch_max(number, Ordering::AcqRel);
        if savepoint {
            self.savepoint.fetch_max(number, Ordering::AcqRel);
        }
    }

    /// The number of the newest checkpoint that holds what it has done.
    pub fn checkpoint(&self) -> Option<u64> {
        Some(self.checkpoint.load(Ordering::Acquire)).filter(|number| *number > 0)
    }

    /// The number of the newest savepoint that was taken since it began.
    pub fn savepoint(&self) -> Option<u64> {
        Some(self.savepoint.load(Ordering::Acquire)).filter(|number| *number > 0)
    }

    /// Wakes the sources: one that waits for its server would otherwise learn late of what has changed.
    fn wake(&self) {
        for source in lock(&self.sources).iter() {
            // One whose dataflow has ended needs not know.
            let _ = source.activate();
        }
    }

    /// Wakes `source` when the job is asked to end, or may go on.
    pub fn wake_source(&self, source: SyncActivator) {
        lock(&self.sources).push(source);
    }

    /// A clock cuts the epochs of one of its sources; otherwise all readers cut theirs.
    pub fn cut_by_clock(&self) {
        self.clock.store(true, Ordering::Relaxed);
    }

    /// Whether a clock cuts the epochs of one of its sources.
    pub fn is_cut_by_clock(&self) -> bool {
        self.clock.load(Ordering::Relaxed)
    }

    /// Whether it is asked to end.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether it shall end: sources read no more.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Ends the job with `error`; the first one counts.
    pub fn fail(&self, error: Error) {
        let mut failure = lock(&self.failure);
        match &*failure {
            None if self.announces.load(Ordering::Relaxed) => tracing::error!("job `{}` failed: {error}", self.name),
            _ => tracing::debug!(job = self.name, "{error}"),
        }
        failure.get_or_insert(error);
        drop(failure);
        self.stop_now();
    }

    /// From now on a failure is logged as an error: nobody else tells it where the job runs.
    pub fn announce_failure(&self) {
        self.announces.store(true, Ordering::Relaxed);
    }

    /// Why the job failed, if it has.
    pub fn failure(&self) -> Option<Error> {
        lock(&self.failure).clone()
    }

    /// Whether the job has failed: what is still on its way is thrown away.
    pub fn failed(&self) -> bool {
        // The lock is only worth taking once the job is on its way out.
        self.stopping() && self.failure().is_some()
    }

    /// A worker has begun to run the job.
    pub fn enter(&self) {
        lock(&self.crew).came += 1;
    }

    /// A worker has nothing of the job any more; whether it was the last. A dataflow ends nowhere before all workers
    /// have built it, so the last to leave is the last there is.
    pub fn leave(&self) -> bool {
        let mut crew = lock(&self.crew);
        crew.left += 1;
        let last = crew.left == crew.came;
        if last {
            lock(&self.taps).values().for_each(|tap| tap.close());
        }
        last
    }

    /// Nothing of it is left to be done in this process.
    pub fn end(&self) {
        lock(&self.crew).ended.get_or_insert_with(epochs::now);
    }

    /// When it ended in this process, if it has: microseconds since 1970 UTC.
    pub fn ended(&self) -> Option<Epoch> {
        lock(&self.crew).ended
    }

    /// How many workers of this process have begun to run it.
    pub fn crew(&self) -> usize {
        lock(&self.crew).came
    }

    /// How far it is in this process.
    pub fn state(&self) -> State {
        match (self.ended(), self.failure()) {
            (Some(_), Some(_)) => State::Failed,
            (Some(_), None) => State::Done,
            (None, _) if self.draining() => State::Stopping,
            (None, _) => State::Running,
        }
    }

    /// The counters of `node` on `worker`.
    pub fn meter(&self, node: &str, worker: usize) -> Meter {
        let meter = Meter::of(&self.name, node, worker);
        lock(&self.meters).entry(node.to_string()).or_default().insert(worker, meter.clone());
        meter
    }

    /// Sums, over the workers of this process, what `read` takes from the counters of `node`.
    pub fn total(&self, node: &str, read: impl Fn(&Meter) -> u64) -> u64 {
        lock(&self.meters).get(node).map_or(0, |workers| workers.values().map(read).sum())
    }

    /// What `node` holds on `worker`.
    pub fn standing(&self, node: &str, worker: usize) -> Arc<Standing> {
        Arc::clone(lock(&self.standing).entry((node.to_string(), worker)).or_default())
    }

    /// The nodes of which the oldest input has not moved for longer than `longest`: name, worker, and for how long.
    pub fn stalled(&self, longest: Duration) -> Vec<(String, usize, Duration)> {
        if self.ended().is_some() {
            return Vec::new();
        }
        let standing = lock(&self.standing);
        let stands = |((node, worker), standing): (&(String, usize), &Arc<Standing>)| {
            Some((node.clone(), *worker, standing.stands(longest)?))
        };
        standing.iter().filter_map(stands).collect()
    }

    /// Where the rows that leave `node` can be looked at.
    pub fn tap(&self, node: &str) -> Arc<Tap> {
        Arc::clone(lock(&self.taps).entry(node.to_string()).or_default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
