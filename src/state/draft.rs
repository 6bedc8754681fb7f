//! State on its way into a file: packed entry by entry, as a million of them would be too many to hold one by one.

use std::collections::BTreeMap;

use super::Entry;
use super::format::{Plain, Section, assemble};

/// What one node on one worker has to keep, by group of keys.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Whether the groups that are here are all there is of them.
    full: bool,
    groups: BTreeMap<u8, Plain>,
    value: Vec<u8>,
}

impl Draft {
    /// Nothing yet, of all there is (`full`) or of what has changed.
    pub fn new(full: bool) -> Draft {
        Draft { full, ..Draft::default() }
    }

    /// These entries of one group.
    pub fn of(group: u8, entries: &[Entry]) -> Draft {
        let mut draft = Draft::default();
        if !entries.is_empty() {
            draft.groups.insert(group, Plain::of(entries));
        }
        draft
    }

    /// Adds the state of a key, which `write` appends to what it is given.
    pub fn put(&mut self, group: u8, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        self.value.clear();
        write(&mut self.value);
        self.groups.entry(group).or_default().put(key, Some(&self.value));
    }

    /// Adds that a key is gone.
    pub fn remove(&mut self, group: u8, key: &[u8]) {
        self.groups.entry(group).or_default().put(key, None);
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The bytes of the file, of state of this kind and version.
    pub fn encode(self, kind: &str, version: u16) -> Vec<u8> {
        let sections: Vec<Section> =
            self.groups.into_iter().map(|(group, plain)| Section::pack(group, plain)).collect();
        assemble(kind, version, self.full, &sections)
    }
}
