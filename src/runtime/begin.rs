//! Where a job begins, written down before anything is read: offsets behind `latest` or a time, the ends at which it stops,
//! the files that it found. One that is killed before its first checkpoint begins there again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::prepare::Kept;
use crate::batch::Epoch;
use crate::error::Result;
use crate::operators::state::{POSITIONS, POSITIONS_VERSION};
use crate::state::{Draft, Entry, NodeState};

/// Where a node begins, as far as one process knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Begin {
    /// The node.
    pub node: String,
    /// What it must know to begin there again.
    pub entries: Vec<Entry>,
}

/// Makes a checkpoint of what all processes know: the first one of a job that begins in epoch `start`. One that goes on needs
/// none, unless it begins elsewhere than its last checkpoint says.
pub async fn write_down(kept: &Kept, start: Epoch, begins: Vec<Begin>) -> Result<()> {
    let (mut nodes, mut in_force): (BTreeMap<String, NodeState>, _) = (BTreeMap::new(), BTreeMap::new());
    if let Some(resumed) = &kept.resumed {
        let knows = |node: &str, entry: &Entry| {
            let is_it = |known: (&[u8], &[u8])| known.0 == entry.key && Some(known.1) == entry.value.as_deref();
            resumed.positions(node).any(is_it)
        };
        if begins.iter().all(|begin| begin.entries.iter().all(|entry| knows(&begin.node, entry))) {
            return Ok(());
        }
        nodes.clone_from(&resumed.manifest.nodes);
        in_force.clone_from(&resumed.manifest.in_force);
    }
    let mut together: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for Begin { node, entries } in begins {
        together.entry(node).or_default().extend(entries);
    }
    let number = kept.first;
    for (node, entries) in together.into_iter().filter(|(_, entries)| !entries.is_empty()) {
        let bytes = Draft::of(0, &entries).encode(POSITIONS, POSITIONS_VERSION);
        let (checkpoints, generation) = (&kept.checkpointing.checkpoints, kept.settings.generation);
        let file = checkpoints.write_state(number, generation, &node, 0, bytes).await?;
        let state = NodeState { kind: POSITIONS.to_string(), version: POSITIONS_VERSION, files: vec![file] };
        nodes.insert(node, state);
    }
    let manifest = kept.settings.manifest(number, start, false, nodes, in_force);
    kept.checkpointing.checkpoints.commit(&manifest).await
}
