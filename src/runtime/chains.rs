//! The files that hold the state of a job: of each node a chain, oldest first, as each checkpoint adds what has changed.
//! When one has become long, the next checkpoint holds all there is and a new chain begins with it.

use std::collections::BTreeMap;

use super::checkpointing::Written;
use crate::state::{Bounds, Manifest, NodeState};

/// The chains of one job.
#[derive(Default)]
pub struct Chains {
    files: BTreeMap<String, NodeState>,
    bounds: Bounds,
}

impl Chains {
    /// Those of the checkpoint that a job goes on from.
    pub fn new(resumed: Option<&Manifest>) -> Self {
        Chains { files: resumed.map(|manifest| manifest.nodes.clone()).unwrap_or_default(), bounds: Bounds::default() }
    }

    /// What the next manifest names.
    pub fn files(&self) -> &BTreeMap<String, NodeState> {
        &self.files
    }

    /// Whether one has become too long for what so many workers have written.
    pub fn are_long(&self, workers: usize) -> bool {
        self.files.values().any(|state| self.bounds.are_passed(state, workers))
    }

    /// Adds the files of a checkpoint to those of the ones before it, or puts them in their place where it is a full one.
    pub fn add(&mut self, files: Vec<Written>, full: bool) {
        match full {
            true => self.files.clear(),
            false => files.iter().filter(|file| file.replaces()).for_each(|file| drop(self.files.remove(&file.node))),
        }
        for Written { node, kind, version, file } in files {
            let state = self.files.entry(node).or_insert_with(|| NodeState { kind, version, files: Vec::new() });
            state.files.push(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::state::POSITIONS;
    use crate::state::FileRef;

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
        chains.add(vec![written("means", "indicators", "a"), written("ticks", POSITIONS, "b")], false);
        let more = [("means", "indicators", "c"), ("ticks", POSITIONS, "d"), ("ticks", POSITIONS, "e")];
        chains.add(more.map(|(node, kind, path)| written(node, kind, path)).to_vec(), false);
        assert_eq!(
            (paths(&chains, "means"), paths(&chains, "ticks")),
            (vec!["a".into(), "c".into()], vec!["d".into(), "e".into()])
        );
    }

    #[test]
    fn a_chain_that_is_long_begins_anew_with_all_there_is() {
        let mut chains = Chains::default();
        for at in 0..17 {
            assert!(!chains.are_long(1), "{at} files");
            chains.add(vec![written("means", "indicators", &format!("{at:02}/a"))], false);
        }
        assert!(chains.are_long(1) && !chains.are_long(2));
        chains.add(vec![written("means", "indicators", "17/a"), written("means", "indicators", "17/b")], true);
        assert_eq!((paths(&chains, "means").len(), chains.are_long(1)), (2, false));
    }
}
