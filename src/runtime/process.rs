//! One process of a cluster: what its workers, its control plane and its signals share.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::hosts::Host;
use super::links::Links;
use super::size::Size;
use super::{
    Begin, Command, Commands, Jobs, Keeping, Known, KnownJob, LOOK, Prepare, State, StateStore, Submission, blocking,
    epochs,
};
use crate::error::{Error, Result};
use crate::spec::Plan;
use crate::state::Setting;

/// A worker that has not come round for so long is stuck.
const STALLED: Duration = Duration::from_secs(10);
/// Input of a node that does not move for so long is told, where the settings say nothing else.
pub const STALL: Duration = Duration::from_secs(30);
const NOBODY: usize = usize::MAX;

/// One process of a cluster.
pub struct Process {
    /// The name of the cluster.
    pub cluster: String,
    /// Its place among the processes.
    pub index: usize,
    /// All processes.
    pub hosts: Vec<Host>,
    /// How many workers each process has.
    pub workers: usize,
    /// Version and hash of the executable.
    pub build: String,
    /// Its jobs.
    pub jobs: Jobs,
    /// What its workers are told.
    pub commands: Commands,
    /// The connections of its workers.
    pub links: Arc<Links>,
    /// What does not move for so long is told.
    pub stall_timeout: Duration,
    /// Where the supervisor looks for another size, if it does.
    pub size_file: Option<PathBuf>,
    /// Whether it runs the files it was started with, and no others.
    alone: bool,
    run: OnceLock<(String, u64)>,
    /// For what it waits before it is in the cluster.
    waiting: Mutex<String>,
    state: OnceLock<StateStore>,
    ended_by: AtomicUsize,
    beats: Vec<AtomicU64>,
}

impl Process {
    /// The process at `index` of `hosts`.
    pub fn new(cluster: String, index: usize, hosts: Vec<Host>, workers: usize, build: String) -> Self {
        Process {
            cluster,
            index,
            hosts,
            workers,
            build,
            jobs: Jobs::default(),
            commands: Commands::default(),
            links: Arc::new(Links::new(index)),
            stall_timeout: STALL,
            size_file: None,
            alone: false,
            run: OnceLock::new(),
            waiting: Mutex::new("not all processes are connected yet".to_string()),
            state: OnceLock::new(),
            ended_by: AtomicUsize::new(NOBODY),
            beats: (0..workers).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// A process that runs `jobs` and takes no others.
    pub fn alone(jobs: Jobs, workers: usize, build: String) -> Self {
        let process = Process::new(String::new(), 0, Vec::new(), workers, build);
        Process { jobs, alone: true, run: OnceLock::from((String::new(), 0)), ..process }
    }

    /// Where the state of its jobs is kept, if it is, once the cluster is complete.
    pub fn state(&self) -> Option<&StateStore> {
        self.state.get()
    }

    /// The state of its jobs is kept here.
    pub fn keep_state(&self, state: StateStore) {
        // It joins once.
        let _ = self.state.set(state);
    }

    /// Why it takes no jobs, if so.
    pub fn refuses(&self) -> Option<&'static str> {
        match () {
            () if self.alone => Some("this process runs the files it was started with, and no others"),
            () if self.run().is_none() => Some("the cluster is not complete yet"),
            () if self.ending().is_some() => Some("the cluster ends"),
            () => None,
        }
    }

    /// How large the cluster is.
    pub fn size(&self) -> Size {
        Size { processes: self.hosts.len() as u16, workers: self.workers as u16 }
    }

    /// The workers of this process, by their index in the cluster.
    pub fn local_workers(&self) -> Range<usize> {
        self.index * self.workers..(self.index + 1) * self.workers
    }

    /// What the processes that found each other have in common, once they have.
    pub fn run(&self) -> Option<&str> {
        self.run.get().map(|(run, _)| run.as_str())
    }

    /// How many times the cluster has begun, once it has.
    pub fn generation(&self) -> Option<u64> {
        self.run.get().map(|(_, generation)| *generation)
    }

    /// The cluster is complete.
    pub fn joined(&self, run: String, generation: u64) {
        // It joins once.
        let _ = self.run.set((run, generation));
    }

    /// It is not in the cluster yet: why.
    pub fn wait_for(&self, what: String) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// Why it is not in the cluster yet, if so.
    pub fn waits_for(&self) -> Option<String> {
        let waiting = || self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.run().is_none().then(waiting)
    }

    /// All jobs drain and end, and so does the cluster.
    pub fn end(&self, by: usize) {
        if self.ended_by.swap(by, Ordering::AcqRel) == NOBODY {
            tracing::info!("process {by} was asked to end: all jobs are stopped, and the cluster ends");
        }
        self.links.end();
        self.jobs.list().iter().for_each(|known| known.job.stop());
    }

    /// The process that was asked to end, if one was.
    pub fn ending(&self) -> Option<usize> {
        Some(self.ended_by.load(Ordering::Acquire)).filter(|by| *by != NOBODY)
    }

    /// The worker `index` has come round.
    pub fn beat(&self, index: usize) {
        self.beats[index - self.local_workers().start].store(epochs::now(), Ordering::Relaxed);
    }

    /// The workers of this process that have not come round for long.
    pub fn stalled(&self) -> Vec<usize> {
        let late = epochs::now().saturating_sub(STALLED.as_micros() as u64);
        let beats = self.beats.iter().map(|beat| beat.load(Ordering::Relaxed));
        self.local_workers().zip(beats).filter(|(_, beat)| *beat > 0 && *beat < late).map(|(index, _)| index).collect()
    }

    /// The nodes that hold input and do not move, and for how long.
    pub fn standing(&self) -> Vec<(String, Duration)> {
        let mut standing = Vec::new();
        for known in self.jobs.list() {
            let stalled = known.job.stalled(self.stall_timeout).into_iter();
            let name = &known.job.name;
            standing.extend(stalled.map(|(node, worker, span)| {
                (format!("job `{name}`: the input of `{node}` on worker {worker} does not move"), span)
            }));
        }
        standing
    }

    /// The first step of an installation, in this process; where the nodes of the job begin.
    pub fn prepare(&self, submission: &Submission) -> Result<Vec<Begin>> {
        if let Some(reason) = self.refuses() {
            return Err(Error::connect(reason));
        }
        let (plan, _) = submission.plan()?;
        let mut prepare = Prepare::new(&plan, self.local_workers(), self.workers * self.hosts.len());
        if let Some(state) = self.state() {
            prepare = prepare.keeping(keeping(state.clone(), submission, plan.clone())?);
        }
        self.jobs.prepare(submission, plan, &prepare)
    }

    /// The second step, on all workers of the cluster.
    pub fn build(&self, id: String) -> Result<()> {
        self.commands.push(Command::Build { id })
    }

    /// Lets the job `name` drain and end, in all processes; where that is asked for, its last checkpoint is a savepoint.
    pub fn stop(&self, name: &str, savepoint: bool) -> Result<()> {
        let known = self.jobs.named(name).ok_or_else(|| no_such_job(name))?;
        if self.alone {
            return Err(Error::Job(format!("`{name}` is ended by Ctrl-C where it was started")));
        }
        if savepoint {
            has_state(&known)?;
        }
        self.commands.push(Command::Stop { id: known.id, failure: None, savepoint })
    }

    /// Lets the job `name` take a savepoint and go on.
    pub fn savepoint(&self, name: &str) -> Result<Known> {
        let known = self.jobs.named(name).ok_or_else(|| no_such_job(name))?;
        if self.alone {
            return Err(Error::Job(format!("`{name}` takes a last checkpoint by Ctrl-C where it was started")));
        }
        has_state(&known)?;
        self.commands.push(Command::Savepoint { id: known.id.clone() })?;
        Ok(known)
    }

    /// Has something of a node of the job `known` set, in all processes.
    pub fn set(&self, known: &Known, setting: Setting) -> Result<()> {
        let name = &known.job.name;
        if self.alone {
            return Err(Error::Job(format!("`{name}` runs alone: what holds for it stands in its files")));
        }
        if known.job.state() != State::Running {
            return Err(Error::Job(format!("`{name}` is {}: nothing of it can be set", known.job.state())));
        }
        self.commands.push(Command::Set { id: known.id.clone(), setting })
    }
}

/// What the workers of this process need of the state that the job goes on from.
fn keeping(state: StateStore, submission: &Submission, plan: Plan) -> Result<Keeping> {
    let Submission { id, from, number, start, idle, .. } = submission.clone();
    let known = KnownJob { id, from, number, start, idle };
    let (hash, go_on) = (submission.hash(), submission.go_on.clone());
    blocking(LOOK, async move { state.keeping(&known, &plan, hash, go_on).await })
}

fn has_state(known: &Known) -> Result<()> {
    let none = || no_state(&format!("there is no savepoint of `{}`", known.job.name));
    known.job.boundaries.any().then_some(()).ok_or_else(none)
}

/// The error of what needs a state store.
pub fn no_state(what: &str) -> Error {
    Error::Usage(format!("{what}: no state is kept here; set `state` in tapeflow.toml"))
}

/// The error of a name that no job has.
pub fn no_such_job(name: &str) -> Error {
    Error::Job(format!("there is no job `{name}`"))
}
