//! The files that hold the state of a job: of each node a chain, oldest first, as each checkpoint adds what has changed.
//! Long chains are folded into one file beside the workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use super::checkpointing::{Checkpointing, Written};
use super::runtime;
use crate::state::{Bounds, FileRef, Manifest, NodeState};

/// The chains of one job.
#[derive(Default)]
pub struct Chains {
    files: BTreeMap<String, NodeState>,
    folding: Option<Folding>,
}

/// Chains on their way to become one file each.
struct Folding {
    /// How long they were.
    lengths: BTreeMap<String, usize>,
    folded: Receiver<BTreeMap<String, FileRef>>,
}

impl Chains {
    /// Those of the checkpoint that a job goes on from.
    pub fn new(resumed: Option<&Manifest>) -> Self {
        Chains { files: resumed.map(|manifest| manifest.nodes.clone()).unwrap_or_default(), folding: None }
    }

    /// What the next manifest names.
    pub fn files(&self) -> &BTreeMap<String, NodeState> {
        &self.files
    }

    /// Adds the files of a checkpoint to those of the ones before it.
    pub fn add(&mut self, files: Vec<Written>) {
        for file in files.iter().filter(|file| file.replaces()) {
            self.files.remove(&file.node);
        }
        for Written { node, kind, version, file } in files {
            let state = self.files.entry(node).or_insert_with(|| NodeState { kind, version, files: Vec::new() });
            state.files.push(file);
        }
    }

    /// Whether chains are being folded. Until that is done no checkpoint may begin: the next one names what comes of it.
    pub fn are_folding(&self) -> bool {
        self.folding.is_some()
    }

    /// Folds the chains of `manifest`, which is the newest, that have become long.
    pub fn fold(&mut self, manifest: Manifest, checkpointing: &Arc<Checkpointing>) {
        let bounds = Bounds::default();
        if !manifest.nodes.values().any(|state| bounds.are_passed(state, manifest.workers)) {
            return;
        }
        let lengths = manifest.nodes.iter().map(|(node, state)| (node.clone(), state.files.len())).collect();
        let (done, folded) = channel();
        let checkpointing = Arc::clone(checkpointing);
        let work = async move {
            let Checkpointing { checkpoints, generation, .. } = checkpointing.as_ref();
            let folded = checkpoints.compact(&manifest, manifest.number + 1, *generation, &bounds).await;
            let folded = folded.unwrap_or_else(|error| {
                tracing::warn!("chains of state are folded another time: {error}");
                BTreeMap::new()
            });
            // The worker may have ended.
            let _ = done.send(folded);
        };
        // Without threads they stay as they are: what writes them tells of it.
        if let Ok(runtime) = runtime() {
            runtime.spawn(work);
            self.folding = Some(Folding { lengths, folded });
        }
    }

    /// Takes over what was folded meanwhile.
    pub fn take_folded(&mut self) {
        let Some(Folding { lengths, folded }) = &self.folding else { return };
        let folded = match folded.try_recv() {
            Ok(folded) => folded,
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => BTreeMap::new(),
        };
        for (node, file) in folded {
            if let (Some(state), Some(length)) = (self.files.get_mut(&node), lengths.get(&node)) {
                state.files.splice(..*length, [file]);
            }
        }
        self.folding = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::state::POSITIONS;

    fn written(node: &str, kind: &str, path: &str) -> Written {
        let file = FileRef { path: path.to_string(), size: 1, xxh3: 0 };
        Written { node: node.to_string(), kind: kind.to_string(), version: 1, file }
    }

    fn paths(chains: &Chains, node: &str) -> Vec<String> {
        chains.files()[node].files.iter().map(|file| file.path.clone()).collect()
    }

    #[test]
    fn changes_are_added_and_positions_replaced() {
        let mut chains = Chains::default();
        chains.add(vec![written("means", "indicators", "a"), written("ticks", POSITIONS, "b")]);
        chains.add(vec![
            written("means", "indicators", "c"),
            written("ticks", POSITIONS, "d"),
            written("ticks", POSITIONS, "e"),
        ]);
        assert_eq!(
            (paths(&chains, "means"), paths(&chains, "ticks")),
            (vec!["a".into(), "c".into()], vec!["d".into(), "e".into()])
        );
    }

    #[test]
    fn what_was_folded_stands_for_the_chain_as_it_was() {
        let mut chains = Chains::default();
        chains.add(vec![written("means", "indicators", "a"), written("means", "indicators", "b")]);
        let (done, folded) = channel();
        chains.folding = Some(Folding { lengths: [("means".to_string(), 2)].into(), folded });
        chains.take_folded();
        assert!(chains.are_folding());
        done.send([("means".to_string(), FileRef { path: "ab".to_string(), size: 1, xxh3: 0 })].into()).expect("heard");
        chains.add(vec![written("means", "indicators", "c")]);
        chains.take_folded();
        assert_eq!(paths(&chains, "means"), vec!["ab".to_string(), "c".to_string()]);
        assert!(!chains.are_folding());
    }
}
