//! Runs jobs in this process alone: `tapeflow run`, `test` and `demo`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use timely::worker::Worker;

use super::{Installed, Prepared, Workers};
use crate::error::{Error, Result};

/// How long a worker sleeps where nothing wakes it.
const PARK: Duration = Duration::from_millis(50);

/// Jobs that run in this process, on threads of their own.
pub struct Local {
    workers: Workers,
    jobs: Vec<Arc<Prepared>>,
}

/// How jobs have ended.
pub type Ended = Result<()>;

/// Starts `jobs` on `workers` threads.
pub fn run_local(jobs: Vec<Arc<Prepared>>, workers: usize) -> Result<Local> {
    let own = jobs.clone();
    Ok(Local { workers: Workers::start(move || execute(&own, workers))?, jobs })
}

impl Local {
    /// Asks all jobs to drain and end.
    pub fn stop(&self) {
        self.jobs.iter().for_each(|prepared| prepared.job.stop());
    }

    /// The jobs.
    pub fn jobs(&self) -> &[Arc<Prepared>] {
        &self.jobs
    }

    /// Waits until all jobs have ended, at most for `timeout`; whether they have.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.workers.wait(timeout)
    }

    /// Waits until all jobs have ended; the first failure counts.
    pub fn join(self) -> Ended {
        let ended = self.workers.join();
        self.jobs.iter().for_each(|prepared| prepared.finish());
        self.jobs.iter().find_map(|prepared| prepared.job.failure()).map_or(ended, Err)
    }
}

fn execute(jobs: &[Arc<Prepared>], workers: usize) -> Result<()> {
    let communication = match workers {
        1 => timely::CommunicationConfig::Thread,
        workers => timely::CommunicationConfig::Process(workers),
    };
    let config = timely::Config { communication, worker: timely::WorkerConfig::default() };
    let jobs = jobs.to_vec();
    // When one worker panics the others must not wait for it for ever.
    let panicked = Arc::new(AtomicBool::new(false));
    let guards = timely::execute(config, move |worker| {
        let work = AssertUnwindSafe(|| drive(worker, &jobs, &panicked));
        let result = catch_unwind(work);
        if result.is_err() {
            panicked.store(true, Ordering::Relaxed);
            jobs.iter()
                .for_each(|prepared| prepared.job.fail(Error::run("a worker panicked: this is a bug of tapeflow")));
        }
    });
    let guards = guards.map_err(Error::run)?;
    let results = catch_unwind(AssertUnwindSafe(|| guards.join()));
    match results {
        Ok(results) if results.iter().all(std::result::Result::is_ok) => Ok(()),
        _ => Err(Error::run("a worker panicked: this is a bug of tapeflow")),
    }
}

fn drive(worker: &mut Worker, jobs: &[Arc<Prepared>], panicked: &AtomicBool) {
    let mut installed = Installed::default();
    jobs.iter().for_each(|prepared| installed.build(worker, &prepared.job.name, prepared));
    while !installed.is_empty() {
        if worker.index() == 0 {
            lead(&mut installed);
        }
        worker.step_or_park(Some(PARK));
        installed.sweep(worker);
        if panicked.load(Ordering::Relaxed) {
            // What the broken worker held will never come.
            installed.abandon(worker);
        }
    }
}

/// In one process what the leaders of jobs decide takes effect at once.
fn lead(installed: &mut Installed) {
    for (id, part) in installed.parts() {
        installed.take_part(&id, part);
    }
    for (id, idle) in installed.idle() {
        installed.take_idle(&id, idle);
    }
    for (id, decision) in installed.decisions() {
        installed.take_decision(&id, decision);
    }
}
