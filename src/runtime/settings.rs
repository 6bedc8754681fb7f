//! What the leader of a job has to know of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::epochs;
use crate::batch::Epoch;
use crate::state::{FORMAT, Manifest, NodeState, Setting, SourceAt};

/// What the leader of a job has to know of it.
#[derive(Clone)]
pub struct Settings {
    /// The job's name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// The hash of its dataflow file.
    pub hash: String,
    /// The generation of the cluster.
    pub generation: u64,
    /// How many workers there are.
    pub workers: usize,
    /// How many processes.
    pub processes: usize,
    /// How often a checkpoint is taken.
    pub every: Duration,
    /// How many are kept.
    pub keep: usize,
    /// The epoch that the job counts from.
    pub origin: Epoch,
    /// Its sources.
    pub sources: BTreeMap<String, SourceAt>,
    /// Its sinks: what kind of node each is.
    pub sinks: BTreeMap<String, String>,
}

impl Settings {
    /// The epoch that the readers of `source` count from.
    pub fn origin_of(&self, source: &str) -> Epoch {
        self.sources.get(source).map_or(self.origin, |at| at.origin)
    }

    /// The manifest of a checkpoint of these nodes, and what was set of them.
    pub fn manifest(
        &self,
        number: u64,
        boundary: Epoch,
        savepoint: bool,
        nodes: BTreeMap<String, NodeState>,
        in_force: BTreeMap<String, Setting>,
    ) -> Manifest {
        Manifest {
            format: FORMAT,
            job: self.name.clone(),
            id: self.id.clone(),
            number,
            generation: self.generation,
            boundary,
            origin: self.origin,
            written: epochs::rfc3339(epochs::now()),
            workers: self.workers,
            hash: self.hash.clone(),
            nodes,
            savepoint,
            sources: self.sources.clone(),
            sinks: self.sinks.clone(),
            in_force,
        }
    }
}
