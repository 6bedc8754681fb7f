//! What a job goes on from: a checkpoint, as far as the workers of this process need it.

use std::collections::BTreeMap;
use std::ops::Range;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::batch::Epoch;
use crate::error::Result;
use crate::keys::owner_of_group;
use crate::operators::Operator;
use crate::operators::state::POSITIONS;
use crate::sources::OnGap;
use crate::state::{Checkpoints, Entry, Manifest, Snapshot};

/// What is done where a job cannot go on just as it was.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Args)]
pub struct GoOn {
    /// What is done where messages that it would go on with are not there any more.
    #[arg(long, value_enum, default_value_t)]
    #[serde(default)]
    pub on_offset_gap: OnGap,
    /// Leave behind what is kept of this node, where it does not fit the file: the node was changed, or is gone.
    #[arg(long, value_name = "NODE")]
    #[serde(default)]
    pub forget: Vec<String>,
}

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

    /// The epoch that the job counts from when it goes on in epoch `start`.
    pub fn origin(&self, start: Epoch) -> Epoch {
        self.shifted(self.manifest.origin, start)
    }

    /// Likewise the readers of `source`; none where it is new.
    pub fn origin_of(&self, source: &str, start: Epoch) -> Option<Epoch> {
        let Manifest { sources, origin, .. } = &self.manifest;
        // Older manifests do not name them.
        let known = if sources.is_empty() { Some(*origin) } else { sources.get(source).map(|at| at.origin) };
        known.map(|origin| self.shifted(origin, start))
    }

    fn shifted(&self, origin: Epoch, start: Epoch) -> Epoch {
        start - (self.manifest.boundary - origin)
    }

    /// What `node` has kept where it stands.
    pub fn positions(&self, node: &str) -> impl Iterator<Item = (&[u8], &[u8])> {
        let snapshot = self.nodes.get(node).filter(|snapshot| snapshot.kind == POSITIONS);
        snapshot.into_iter().flat_map(|snapshot| snapshot.groups.values().flatten()).filter_map(entry)
    }

    /// Puts the state of `node` back into `operator` on `worker`.
    pub fn restore(&self, node: &str, operator: &mut dyn Operator, worker: usize, workers: usize) -> Result<()> {
        let groups = self.nodes.get(node).into_iter().flat_map(|snapshot| &snapshot.groups);
        let own = groups.filter(|(group, _)| owner_of_group(**group, workers) == worker);
        own.flat_map(|(_, entries)| entries).filter_map(entry).try_for_each(|(key, value)| operator.restore(key, value))
    }
}

fn entry(entry: &Entry) -> Option<(&[u8], &[u8])> {
    Some((&entry.key, entry.value.as_deref()?))
}
