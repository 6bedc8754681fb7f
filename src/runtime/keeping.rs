//! Where the state of jobs is kept, and what they go on from.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use uuid::Uuid;

use super::{Keeping, Resumed, epochs};
use crate::batch::Epoch;
use crate::error::{Error, Result};
use crate::sources::OnGap;
use crate::spec::Plan;
use crate::state::{Checkpoints, Generation, SavedJobs, Store};

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
}

/// A job as the store knows it.
pub struct KnownJob {
    /// Its id.
    pub id: String,
    /// The number of the checkpoint that it goes on from, if it does.
    pub from: Option<u64>,
    /// Its first epoch.
    pub start: Epoch,
}

impl StateStore {
    /// Takes a generation of its own, for a process that runs alone with so many workers.
    pub async fn alone(store: Store, workers: usize) -> Result<StateStore> {
        store.check().await?;
        let who = format!("process {}", std::process::id());
        let Generation { number: generation, most_workers, .. } = Generation::take(&store, &who, workers).await?;
        Ok(StateStore { store, generation, process: 0, processes: 1, workers, most_workers })
    }

    /// The jobs that were submitted.
    pub fn jobs(&self) -> SavedJobs {
        SavedJobs::new(self.store.clone())
    }

    /// Finds the job `name`, or makes it known by `submission`, and what it goes on from.
    pub async fn begin(&self, name: &str, submission: &Json) -> Result<KnownJob> {
        let jobs = self.jobs();
        let id = match jobs.find(name).await? {
            Some(job) => job.id,
            None => Uuid::new_v4().simple().to_string(),
        };
        jobs.save(name, &id, submission).await?;
        let checkpoints = Checkpoints::new(self.store.clone(), name, &id);
        let resume = checkpoints.latest(true).await?;
        resume.passed_over.iter().for_each(|words| tracing::warn!("{words}"));
        let (from, start) = match &resume.manifest {
            // Epochs rise, also where the clock was set back.
            Some(manifest) => (Some(manifest.number), epochs::now().max(manifest.boundary + 1)),
            None => (None, epochs::now()),
        };
        checkpoints.resume_from(self.generation, from).await?;
        Ok(KnownJob { id, from, start })
    }

    /// What the workers of this process need of `job`.
    pub async fn keeping(&self, job: &KnownJob, plan: &Plan, hash: String, on_gap: OnGap) -> Result<Keeping> {
        let checkpoints = Checkpoints::new(self.store.clone(), &plan.job.name, &job.id);
        let resumed = match job.from {
            None => None,
            Some(number) => {
                let manifests = checkpoints.list().await?;
                let manifest = manifests.into_iter().find(|manifest| manifest.number == number);
                let manifest =
                    manifest.ok_or_else(|| Error::run(format!("checkpoint {number} of {checkpoints} is gone")))?;
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
            hash,
            resumed,
            on_gap,
        })
    }
}
