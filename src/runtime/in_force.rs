//! What was set of the nodes of a job while it runs, as far as a process knows it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::state::Setting;

/// So many are remembered: another worker may be the last to hear of one.
const KNOWN: usize = 64;

/// What is in force of the nodes of a job.
#[derive(Default)]
pub struct InForce {
    /// How often something was set: what is looked at in every turn.
    turns: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    settings: BTreeMap<String, Entry>,
    /// Those that were taken last.
    ids: VecDeque<String>,
}

struct Entry {
    setting: Arc<Setting>,
    /// The workers of this process whose operator has it.
    workers: BTreeSet<usize>,
}

impl InForce {
    /// What a checkpoint holds: in force from the start.
    pub fn of(settings: &BTreeMap<String, Setting>) -> InForce {
        let in_force = InForce::default();
        settings.values().for_each(|setting| in_force.take(setting.clone()));
        in_force
    }

    /// Takes one, once: all workers hear of it.
    pub fn take(&self, setting: Setting) {
        let mut known = self.known();
        if known.ids.contains(&setting.id) {
            return;
        }
        known.ids.push_back(setting.id.clone());
        if known.ids.len() > KNOWN {
            known.ids.pop_front();
        }
        let entry = Entry { setting: Arc::new(setting), workers: BTreeSet::new() };
        known.settings.insert(entry.setting.node.clone(), entry);
        self.turns.fetch_add(1, Ordering::Release);
    }

    /// Whether this one was taken.
    pub fn has_taken(&self, id: &str) -> bool {
        self.known().ids.iter().any(|known| known == id)
    }

    /// How often something was set.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Acquire)
    }

    /// What is set of `node`.
    pub fn get(&self, node: &str) -> Option<Arc<Setting>> {
        self.known().settings.get(node).map(|entry| Arc::clone(&entry.setting))
    }

    /// What is set, by node.
    pub fn all(&self) -> BTreeMap<String, Setting> {
        let known = self.known();
        known.settings.iter().map(|(node, entry)| (node.clone(), entry.setting.as_ref().clone())).collect()
    }

    /// The operator on `worker` has this one.
    pub fn reached(&self, setting: &Setting, worker: usize) {
        let mut known = self.known();
        if let Some(entry) = known.settings.get_mut(&setting.node).filter(|entry| entry.setting.id == setting.id) {
            entry.workers.insert(worker);
        }
    }

    /// How many workers of this process have what is set of `node`.
    pub fn workers(&self, node: &str) -> usize {
        self.known().settings.get(node).map_or(0, |entry| entry.workers.len())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_workers_tell_is_taken_once_and_the_last_counts() {
        let (first, second) = (Setting::new("a", "1".to_string()), Setting::new("a", "2".to_string()));
        let in_force = InForce::of(&BTreeMap::from([("b".to_string(), Setting::new("b", "0".to_string()))]));
        for setting in [&first, &first, &second, &first] {
            in_force.take(setting.clone());
        }
        assert_eq!((in_force.turns(), in_force.get("a").as_deref()), (3, Some(&second)));
        assert!(in_force.has_taken(&first.id) && !in_force.has_taken("another"));
        in_force.reached(&first, 0);
        assert_eq!(in_force.workers("a"), 0, "it has an older one");
        in_force.reached(&second, 0);
        in_force.reached(&second, 1);
        assert_eq!((in_force.workers("a"), in_force.workers("b"), in_force.workers("c")), (2, 0, 0));
        assert_eq!(in_force.all().keys().collect::<Vec<_>>(), ["a", "b"]);
    }
}
