//! What a job goes on from: a checkpoint, as far as the workers of this process need it.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::batch::Epoch;
use crate::error::{Error, Result};
use crate::keys::owner_of_group;
use crate::operators::state::POSITIONS;
use crate::operators::{Built, Operator};
use crate::sabotage::breaks;
use crate::spec::{Plan, Role};
use crate::state::{Checkpoints, Entry, Manifest, Snapshot};

/// A checkpoint that was read.
pub struct Resumed {
    /// What it is made of.
    pub manifest: Manifest,
    nodes: BTreeMap<String, Snapshot>,
}

impl Resumed {
    /// Reads what these workers need of the checkpoint that `manifest` names.
    pub async fn load(
        checkpoints: &Checkpoints,
        manifest: Manifest,
        local_workers: Range<usize>,
        workers: usize,
    ) -> Result<Resumed> {
        let mut nodes = BTreeMap::new();
        for (name, node) in &manifest.nodes {
            let all = node.kind == POSITIONS;
            let wanted = |group| all || local_workers.contains(&owner_of_group(group, workers));
            nodes.extend(checkpoints.load(&manifest, name, wanted).await?.map(|snapshot| (name.clone(), snapshot)));
        }
        Ok(Resumed { manifest, nodes })
    }

    /// Refuses a plan that cannot go on from here: one that lacks a node that has state, or computes something else
    /// under its name.
    pub fn check(&self, plan: &Plan) -> Result<()> {
        for (name, state) in &self.manifest.nodes {
            let source = name.strip_suffix(".order").unwrap_or(name);
            let Some(node) = plan.nodes.iter().find(|node| node.name == source) else {
                return Err(self.refuse(format!("`{source}` has state there and is not in the file any more")));
            };
            let Role::Operator(operator) = &node.role else { continue };
            let Built::Keyed(operator) = operator.build() else {
                return Err(self.refuse(format!("`{name}` has state there and is now a {} without", node.kind)));
            };
            let now = operator.state();
            if (now.name.as_str(), now.version) != (&state.kind, state.version) {
                return Err(self.refuse(format!("`{name}` was `{}` there and is `{}` now", state.kind, now.name)));
            }
        }
        Ok(())
    }

    fn refuse(&self, reason: String) -> Error {
        let Manifest { job, number, .. } = &self.manifest;
        Error::Unsafe(format!("job `{job}` cannot go on from checkpoint {number}: {reason}"))
    }

    /// The epoch that readers count from, when the job goes on in epoch `start`.
    pub fn origin(&self, start: Epoch) -> Epoch {
        start - (self.manifest.boundary - self.manifest.origin)
    }

    /// What `node` has kept where it stands.
    pub fn positions(&self, node: &str) -> impl Iterator<Item = (&[u8], &[u8])> {
        let snapshot = self.nodes.get(node).filter(|snapshot| snapshot.kind == POSITIONS);
        snapshot.into_iter().flat_map(|snapshot| snapshot.groups.values().flatten()).filter_map(entry)
    }

    /// Puts the state of `node` back into `operator` on `worker`.
    pub fn restore(&self, node: &str, operator: &mut dyn Operator, worker: usize, workers: usize) -> Result<()> {
        let groups =
            self.nodes.get(node).filter(|_| !breaks("snapshot")).into_iter().flat_map(|snapshot| &snapshot.groups);
        let own = groups.filter(|(group, _)| owner_of_group(**group, workers) == worker);
        own.flat_map(|(_, entries)| entries).filter_map(entry).try_for_each(|(key, value)| operator.restore(key, value))
    }
}

fn entry(entry: &Entry) -> Option<(&[u8], &[u8])> {
    Some((&entry.key, entry.value.as_deref()?))
}
