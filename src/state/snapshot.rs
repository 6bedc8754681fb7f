//! The state of a node at an epoch, by group of keys: all of it, or what has changed since the last checkpoint.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use serde::{Deserialize, Serialize};

use super::format::{Section, assemble, read_header, unpack};
use crate::error::{Error, Result};

/// The state of a node on a worker, or a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The kind of operator, source or sink it belongs to: `indicators`.
    pub kind: String,
    /// The version of that kind's state.
    pub version: u16,
    /// Whether the groups that are here are all there is of them, also where they are empty. Otherwise they
    /// hold what has changed. Either way nothing is said about groups that are not here.
    pub full: bool,
    /// The entries, by group of keys. Of two entries of one key the later one counts.
    pub groups: BTreeMap<u8, Vec<Entry>>,
}

/// A key and its state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The key.
    pub key: Vec<u8>,
    /// Its state; nothing where the key is gone.
    pub value: Option<Vec<u8>>,
}

impl Snapshot {
    /// As the bytes of a file.
    pub fn encode(&self) -> Vec<u8> {
        let sections: Vec<Section> =
            self.groups.iter().map(|(group, entries)| Section::pack(*group, entries)).collect();
        assemble(&self.kind, self.version, self.full, &sections)
    }

    /// Reads the bytes of a file. Nothing that can be in them makes it panic; what is wrong is told without the
    /// file's name, which only the caller knows.
    pub fn decode(bytes: &[u8]) -> Result<Snapshot> {
        Snapshot::decode_groups(bytes, |_| true)
    }

    /// Reads the groups that are wanted, and does not look at the others.
    pub fn decode_groups(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> Result<Snapshot> {
        let header = read_header(bytes)?;
        let sections = header.sections.iter().filter(|section| wanted(section.group));
        let groups = sections.map(|section| Ok((section.group, unpack(bytes, section)?)));
        let groups = groups.collect::<Result<_>>()?;
        Ok(Snapshot { kind: header.kind, version: header.version, full: header.full, groups })
    }

    /// The state that a chain of snapshots leaves, oldest first: what comes later wins, and what is gone is gone.
    pub fn merge(chain: impl IntoIterator<Item = Snapshot>) -> Result<Snapshot> {
        let mut merged = Merged::default();
        chain.into_iter().try_for_each(|snapshot| merged.add(snapshot))?;
        merged.finish()
    }
}

/// A group while a chain is merged. Its keys are sorted, so that the same state always makes the same file.
struct Group {
    version: u16,
    keys: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[derive(Default)]
struct Merged {
    kind: Option<String>,
    version: u16,
    groups: BTreeMap<u8, Group>,
}

impl Merged {
    fn add(&mut self, snapshot: Snapshot) -> Result<()> {
        let Snapshot { kind, version, full, groups } = snapshot;
        match &self.kind {
            Some(known) if *known != kind => {
                return Err(Error::run(format!("its state is of kind `{known}` and of kind `{kind}`")));
            }
            _ => self.kind = Some(kind),
        }
        self.version = version;
        for (number, entries) in groups {
            let group = match self.groups.entry(number) {
                Slot::Vacant(slot) => slot.insert(Group { version, keys: BTreeMap::new() }),
                Slot::Occupied(slot) => slot.into_mut(),
            };
            if full {
                group.keys.clear();
            }
            if group.keys.is_empty() {
                group.version = version;
            }
            if group.version != version {
                return Err(mixed(group.version, version));
            }
            for Entry { key, value } in entries {
                match value {
                    Some(value) => drop(group.keys.insert(key, value)),
                    None => drop(group.keys.remove(&key)),
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Snapshot> {
        let kind = self.kind.ok_or_else(|| Error::run("there is no state file to read"))?;
        let version = self.version;
        if let Some(old) = self.groups.values().find(|group| !group.keys.is_empty() && group.version != version) {
            return Err(mixed(old.version, version));
        }
        let entries = |group: Group| {
            let entries = group.keys.into_iter().map(|(key, value)| Entry { key, value: Some(value) });
            entries.collect()
        };
        let groups = self.groups.into_iter().map(|(number, group)| (number, entries(group))).collect();
        Ok(Snapshot { kind, version, full: true, groups })
    }
}

fn mixed(old: u16, new: u16) -> Error {
    Error::Unsafe(format!(
        "state of version {old} goes on in version {new}: the first checkpoint of a release with another version \
         must be a full one; resume from the one before it"
    ))
}
