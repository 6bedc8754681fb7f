//! Which keys of an operator a checkpoint has to hold, and their state, taken while rows go on: a key that is about to
//! change goes into the snapshot first, as it was at the boundary, and the others follow a few at a time.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64;

use crate::error::Result;
use crate::keys::{KeyIds, KeySet, group};
use crate::state::Draft;

/// What a keyed operator has changed.
#[derive(Default)]
pub struct Changes {
    /// Since the last boundary.
    changed: KeySet,
    /// What the snapshot that is being taken still lacks.
    due: KeySet,
    /// Keys that are gone since the last boundary.
    gone: BTreeSet<Box<[u8]>>,
    /// Those of which the snapshot that is being taken does not say so yet.
    leaving: BTreeSet<Box<[u8]>>,
    /// That snapshot.
    draft: Option<Draft>,
    /// Whether a snapshot may hold keys: where none does, nobody has to be told that one is gone.
    told: bool,
}

impl Changes {
    /// The keys `ids` are about to change. `write` appends the state of one.
    pub fn touch(&mut self, keys: &KeyIds, ids: &[u32], write: impl Fn(u32, &mut Vec<u8>)) {
        if let Some(draft) = &mut self.draft {
            let due = ids.iter().filter(|id| self.due.remove(**id));
            due.for_each(|id| put(draft, &mut self.leaving, keys, *id, &write));
        }
        self.changed.add(ids, keys.len());
    }

    /// The key `id`, which was touched, is gone: its number is free for another one.
    pub fn forget(&mut self, keys: &mut KeyIds, id: u32) {
        self.changed.remove(id);
        if self.told {
            self.gone.insert(keys.key(id).into());
        }
        keys.free(id);
    }

    /// The number of a key that is put back: a snapshot holds it.
    pub fn put_back(&mut self, keys: &mut KeyIds, key: &[u8]) -> u32 {
        self.told = true;
        keys.id(key)
    }

    /// What stands now is to be told of all keys that have changed since this was asked last, or of all there are.
    pub fn begin(&mut self, keys: &KeyIds, full: bool) {
        let (changed, gone) = (std::mem::take(&mut self.changed), std::mem::take(&mut self.gone));
        (self.due, self.leaving) = if full { (all(keys), BTreeSet::new()) } else { (changed, gone) };
        self.draft = Some(Draft::new(full));
        self.told = true;
    }

    /// Adds to it what is not kept by key.
    pub fn add(&mut self, add: impl FnOnce(&mut Draft) -> Result<()>) -> Result<()> {
        self.draft.as_mut().map_or(Ok(()), add)
    }

    /// Goes on with it, for so many keys at most; all of it once it is complete.
    pub fn tell(&mut self, keys: &KeyIds, most: usize, write: impl Fn(u32, &mut Vec<u8>)) -> Option<Draft> {
        let draft = self.draft.as_mut()?;
        self.due.take(most, |id| put(draft, &mut self.leaving, keys, id, &write));
        if !self.due.is_empty() {
            return None;
        }
        for key in std::iter::from_fn(|| self.leaving.pop_first()).take(most) {
            draft.remove(group(xxh3_64(&key)), &key);
        }
        if self.leaving.is_empty() { self.draft.take() } else { None }
    }
}

/// The numbers of all keys there are.
fn all(keys: &KeyIds) -> KeySet {
    let mut all = KeySet::below(keys.len());
    for id in keys.unused() {
        all.remove(*id);
    }
    all
}

/// A key that was gone and is there again is not gone.
fn put(
    draft: &mut Draft,
    leaving: &mut BTreeSet<Box<[u8]>>,
    keys: &KeyIds,
    id: u32,
    write: &impl Fn(u32, &mut Vec<u8>),
) {
    let key = keys.key(id);
    leaving.remove(key);
    draft.put(group(xxh3_64(key)), key, |value| write(id, value));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::state::Snapshot;

    /// Counts how often each key came.
    #[derive(Default)]
    struct Counts {
        keys: KeyIds,
        counts: Vec<u8>,
        changes: Changes,
    }

    impl Counts {
        fn add(&mut self, names: &[&str]) {
            let ids: Vec<u32> = names.iter().map(|name| self.keys.id(name.as_bytes())).collect();
            self.counts.resize(self.keys.len(), 0);
            let counts = &self.counts;
            self.changes.touch(&self.keys, &ids, |id, value| value.push(counts[id as usize]));
            ids.into_iter().for_each(|id| self.counts[id as usize] += 1);
        }

        fn forget(&mut self, name: &str) {
            let id = self.keys.id(name.as_bytes());
            let counts = &self.counts;
            self.changes.touch(&self.keys, &[id], |id, value| value.push(counts[id as usize]));
            self.changes.forget(&mut self.keys, id);
            self.counts[id as usize] = 0;
        }

        /// The counts of the keys of the snapshot; 0 of those that are gone.
        fn tell(&mut self, most: usize) -> Option<BTreeMap<String, u8>> {
            let counts = &self.counts;
            let draft = self.changes.tell(&self.keys, most, |id, value| value.push(counts[id as usize]))?;
            let entries = Snapshot::decode(&draft.encode("counts", 1)).expect("read").groups.into_values().flatten();
            let text = |key: Vec<u8>| String::from_utf8(key).expect("text");
            Some(entries.map(|entry| (text(entry.key), entry.value.map_or(0, |value| value[0]))).collect())
        }
    }

    fn counted(counts: &[(&str, u8)]) -> Option<BTreeMap<String, u8>> {
        Some(counts.iter().map(|(name, count)| ((*name).to_string(), *count)).collect())
    }

    #[test]
    fn a_snapshot_holds_what_stood_at_the_boundary_whatever_comes_meanwhile() {
        let mut counts = Counts::default();
        counts.add(&["a", "b", "b", "c"]);
        counts.changes.begin(&counts.keys, false);
        counts.add(&["c", "c", "new"]);
        assert_eq!(counts.tell(1), None);
        counts.add(&["b"]);
        assert_eq!(counts.tell(2), counted(&[("a", 1), ("b", 2), ("c", 1)]));
        assert_eq!(counts.tell(2), None, "it was told");
        counts.changes.begin(&counts.keys, false);
        assert_eq!(counts.tell(9), counted(&[("b", 3), ("c", 3), ("new", 1)]));
    }

    #[test]
    fn a_full_one_holds_what_has_not_changed_too() {
        let mut counts = Counts::default();
        counts.add(&["a", "b"]);
        counts.changes.begin(&counts.keys, false);
        assert!(counts.tell(2).is_some());
        counts.add(&["b"]);
        counts.changes.begin(&counts.keys, true);
        counts.add(&["new"]);
        assert_eq!(counts.tell(2), counted(&[("a", 1), ("b", 2)]));
        counts.changes.begin(&counts.keys, false);
        assert_eq!(counts.tell(2), counted(&[("new", 1)]));
    }

    #[test]
    fn keys_that_are_gone_are_not_remembered_where_no_snapshot_holds_any() {
        let mut counts = Counts::default();
        for n in 0..1000 {
            counts.add(&[&format!("key {n}")]);
            counts.forget(&format!("key {n}"));
        }
        assert_eq!(counts.changes.gone.len(), 0);
        assert_eq!(counts.changes.put_back(&mut counts.keys, b"a"), 0);
        counts.add(&["a"]);
        counts.forget("a");
        counts.changes.begin(&counts.keys, false);
        assert_eq!(counts.tell(9), counted(&[("a", 0)]));
    }

    #[test]
    fn keys_that_are_gone_are_told_of_as_such() {
        let mut counts = Counts::default();
        counts.add(&["a", "b", "c", "d"]);
        counts.changes.begin(&counts.keys, false);
        counts.forget("a");
        counts.add(&["new"]);
        counts.forget("b");
        assert_eq!(counts.tell(9), counted(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]), "they were there");
        counts.add(&["b"]);
        counts.changes.begin(&counts.keys, false);
        counts.add(&["a"]);
        counts.forget("b");
        let mut told = None;
        while told.is_none() {
            told = counts.tell(1);
        }
        assert_eq!(told, counted(&[("a", 0), ("b", 1), ("new", 1)]), "one came back before the boundary");
        counts.changes.begin(&counts.keys, true);
        assert_eq!(counts.tell(9), counted(&[("a", 1), ("c", 1), ("d", 1), ("new", 1)]));
        counts.changes.begin(&counts.keys, false);
        assert_eq!(counts.tell(9), counted(&[]), "all was told");
    }
}
