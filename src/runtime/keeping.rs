//! Where the state of jobs is kept, and what they go on from.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::fit::fit;
use super::{GoOn, Keeping, Lease, Resumed};
use crate::batch::Epoch;
use crate::error::{Error, Result};
use crate::spec::Plan;
use crate::state::{Checkpoints, Generation, Manifest, SavedJobs, Store};

/// How long the store may take to tell what a job goes on from.
pub const LOOK: Duration = Duration::from_secs(120);

/// A state store, and the generation that this process is part of.
#[derive(Clone)]
pub struct StateStore {
    store: Store,
    /// The number of the generation.
    pub generation: u64,
    process: usize,
    processes: usize,
    workers: usize,
    most_workers: usize,
    lease: Arc<Lease>,
}

/// A job as the store knows it.
pub struct KnownJob {
    /// Its id.
    pub id: String,
    /// The number of the checkpoint that it goes on from, if it does.
    pub from: Option<u64>,
    /// The number that its next checkpoint comes after.
    pub number: u64,
    /// Its first epoch.
    pub start: Epoch,
}

impl StateStore {
    /// Takes a generation of its own, for a process that runs alone with so many workers.
    pub async fn alone(store: Store, workers: usize) -> Result<StateStore> {
        store.check().await?;
        let who = format!("process {}", std::process::id());
        let Generation { number: generation, most_workers, .. } = Generation::take(&store, &who, workers).await?;
        let lease = Lease::begin(store.clone(), generation, 0).await?;
        Ok(StateStore { store, generation, process: 0, processes: 1, workers, most_workers, lease })
    }

    /// For process `process` of `processes`, each with so many workers, of a cluster that has agreed on a generation. The
    /// first of them takes it.
    pub async fn of_cluster(
        store: Store,
        generation: u64,
        (process, processes): (usize, usize),
        workers: usize,
    ) -> Result<StateStore> {
        if process == 0 {
            let taken = Generation::take(&store, "process 0", workers * processes).await?.number;
            if taken != generation {
                let words = format!("the state store has generation {taken} next, and the cluster is {generation}");
                return Err(Error::run(words));
            }
        }
        let began = Instant::now();
        loop {
            // The first process may not have written it yet.
            match Generation::latest(&store).await? {
                Some(found) if found.number >= generation => {
                    let most_workers = found.most_workers;
                    let lease = Lease::begin(store.clone(), generation, process).await?;
                    return Ok(StateStore { store, generation, process, processes, workers, most_workers, lease });
                }
                _ if began.elapsed() > LOOK => {
                    return Err(Error::TimedOut(format!("generation {generation} was not taken within {LOOK:?}")));
                }
                _ => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// How far epochs may go.
    pub fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    /// The jobs that were submitted.
    pub fn jobs(&self) -> SavedJobs {
        SavedJobs::new(self.store.clone())
    }

    /// The checkpoints of a job.
    pub fn checkpoints(&self, name: &str, id: &str) -> Checkpoints {
        Checkpoints::new(self.store.clone(), name, id)
    }

    /// Finds the job `name`, or makes it known by `submission`, and what it goes on from.
    pub async fn begin(&self, name: &str, submission: &Json) -> Result<KnownJob> {
        let jobs = self.jobs();
        let id = match jobs.find(name).await? {
            Some(job) => job.id,
            None => Uuid::new_v4().simple().to_string(),
        };
        jobs.save(name, &id, submission).await?;
        self.resume(name, &id, None).await
    }

    /// What the job goes on from: its newest whole checkpoint, or the one with this number.
    pub async fn resume(&self, name: &str, id: &str, number: Option<u64>) -> Result<KnownJob> {
        let checkpoints = self.checkpoints(name, id);
        let manifest = match number {
            Some(number) => Some(find(&checkpoints, number).await?),
            None => {
                let resume = checkpoints.latest(true).await?;
                resume.passed_over.iter().for_each(|words| tracing::warn!("{words}"));
                resume.manifest
            }
        };
        let (from, start) = match &manifest {
            // Epochs rise, also where the clock was set back.
            Some(manifest) => (Some(manifest.number), self.lease.start().max(manifest.boundary + 1)),
            None => (None, self.lease.start()),
        };
        checkpoints.resume_from(self.generation, from).await?;
        let number = self.greatest_number(name).await?;
        Ok(KnownJob { id: id.to_string(), from, number, start })
    }

    /// The id under which checkpoint `number` of the job `name` was kept, or the newest one.
    pub async fn id_of(&self, name: &str, number: Option<u64>) -> Result<String> {
        let mut newest = None;
        for checkpoints in Checkpoints::all(&self.store).await?.into_iter().filter(|found| found.job() == name) {
            let wanted = |manifest: &Manifest| number.is_none_or(|number| number == manifest.number);
            let written = checkpoints.list().await?.into_iter().find(wanted).map(|manifest| manifest.written);
            newest = newest.max(written.map(|written| (written, checkpoints.id().to_string())));
        }
        let which = number.map_or("checkpoint".to_string(), |number| format!("checkpoint {number}"));
        newest.map(|(_, id)| id).ok_or_else(|| Error::Job(format!("there is no {which} of a job `{name}`")))
    }

    /// The number that the next checkpoint of a job `name` comes after.
    pub async fn greatest_number(&self, name: &str) -> Result<u64> {
        Checkpoints::greatest_number(&self.store, name).await
    }

    /// What the workers of this process need of `job`.
    pub async fn keeping(&self, job: &KnownJob, plan: &Plan, hash: String, go_on: GoOn) -> Result<Keeping> {
        let checkpoints = self.checkpoints(&plan.job.name, &job.id);
        let resumed = match job.from {
            None => None,
            Some(number) => {
                let manifest = fit(find(&checkpoints, number).await?, plan, &go_on.forget)?;
                let all = self.workers * self.processes;
                let own = self.process * self.workers..(self.process + 1) * self.workers;
                Some(Arc::new(Resumed::load(&checkpoints, manifest, own, all).await?))
            }
        };
        Ok(Keeping {
            checkpoints,
            generation: self.generation,
            process: self.process,
            processes: self.processes,
            most_workers: self.most_workers,
            id: job.id.clone(),
            number: job.number,
            hash,
            resumed,
            go_on,
            lease: Arc::clone(&self.lease),
        })
    }
}

async fn find(checkpoints: &Checkpoints, number: u64) -> Result<Manifest> {
    let manifests = checkpoints.list().await?;
    let found = manifests.into_iter().find(|manifest| manifest.number == number);
    found.ok_or_else(|| Error::Unsafe(format!("there is no checkpoint {number} of {checkpoints}")))
}
