//! The intervals of all keys that are open, or may still be revised.

use std::collections::BTreeMap;

use crate::memory::Heap;

/// The rows of one key in one interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The number of the key.
    pub key: u32,
    /// Event time, in ns: where it begins ...
    pub start: i64,
    /// ... and what comes first behind it.
    pub end: i64,
    /// How many rows it has.
    pub rows: u64,
    /// How many rows came late, or were taken back.
    pub corrections: u64,
    /// How many corrections its rows have seen themselves.
    pub corrected: u64,
    /// Where it has no rows: the end of the last interval before it that had some.
    pub empty_since: i64,
    /// Whether its end has passed.
    pub closed: bool,
    /// Whether it was emitted.
    pub told: bool,
    /// Whether it has changed since then.
    pub changed: bool,
    /// Whether it is one at all; a slot may be free.
    pub used: bool,
}

/// All groups, by their slots: small dense numbers.
#[derive(Default)]
pub struct Groups {
    slots: Vec<Group>,
    free: Vec<u32>,
    /// The slots of each key, by start.
    of_key: Vec<Vec<u32>>,
    /// When groups end; some may be gone or longer by then.
    ends: BTreeMap<i64, Vec<u32>>,
    /// When they are forgotten.
    leave: BTreeMap<i64, Vec<u32>>,
}

impl Group {
    /// The end of the last interval, up to this one, that had rows.
    pub fn last_end(&self) -> i64 {
        if self.rows > 0 { self.end } else { self.empty_since }
    }
}

impl Groups {
    /// An estimate of the memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let slots = self.slots.capacity() * size_of::<Group>();
        slots + self.free.heap_bytes() + self.of_key.heap_bytes() + self.ends.heap_bytes() + self.leave.heap_bytes()
    }

    /// The group in a slot.
    #[inline]
    pub fn at(&self, slot: u32) -> &Group {
        &self.slots[slot as usize]
    }

    /// The group in a slot, to be changed; not its key, start and end.
    #[inline]
    pub fn at_mut(&mut self, slot: u32) -> &mut Group {
        &mut self.slots[slot as usize]
    }

    /// The groups of a key, by start.
    pub fn of_key(&self, key: u32) -> &[u32] {
        self.of_key.get(key as usize).map_or(&[], Vec::as_slice)
    }

    /// The group of `key` that begins at `start`.
    #[inline]
    pub fn find(&self, key: u32, start: i64) -> Option<u32> {
        // What is looked for is nearly always the last one.
        let slots = self.of_key(key);
        let found = slots.iter().rev().find(|slot| self.at(**slot).start <= start);
        found.copied().filter(|slot| self.at(*slot).start == start)
    }

    /// The group of `key` behind the one in `slot`.
    pub fn behind(&self, slot: u32) -> Option<u32> {
        let slots = self.of_key(self.at(slot).key);
        let at = slots.iter().position(|other| *other == slot)?;
        slots.get(at + 1).copied()
    }

    /// Opens a group, which must not be there. What was aggregated in its slot before is to be cleared.
    pub fn open(&mut self, group: Group) -> u32 {
        let (key, start, end, closed) = (group.key as usize, group.start, group.end, group.closed);
        let group = Group { used: true, ..group };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = group;
                slot
            }
            None => {
                self.slots.push(group);
                self.slots.len() as u32 - 1
            }
        };
        if self.of_key.len() <= key {
            self.of_key.resize_with(key + 1, Vec::new);
        }
        let at = self.of_key[key].partition_point(|other| self.slots[*other as usize].start < start);
        self.of_key[key].insert(at, slot);
        if !closed {
            self.ends.entry(end).or_default().push(slot);
        }
        slot
    }

    /// Makes a group longer.
    pub fn extend(&mut self, slot: u32, start: i64, end: i64) {
        let group = &mut self.slots[slot as usize];
        if end != group.end {
            self.ends.entry(end).or_default().push(slot);
        }
        (group.start, group.end) = (start, end);
    }

    /// Forgets a group.
    pub fn remove(&mut self, slot: u32) {
        let group = std::mem::take(&mut self.slots[slot as usize]);
        self.of_key[group.key as usize].retain(|other| *other != slot);
        self.free.push(slot);
    }

    /// The next group that has ended by `watermark` and is to be closed, the first one first; each is told once.
    pub fn next_ended(&mut self, watermark: i64) -> Option<u32> {
        loop {
            let mut first = self.ends.first_entry().filter(|entry| *entry.key() <= watermark)?;
            let end = *first.key();
            let Some(slot) = first.get_mut().pop() else {
                first.remove();
                continue;
            };
            let group = &self.slots[slot as usize];
            if group.used && !group.closed && group.end == end {
                return Some(slot);
            }
        }
    }

    /// The group is forgotten once event time has come to `time`.
    pub fn leaves_at(&mut self, slot: u32, time: i64) {
        self.leave.entry(time).or_default().push(slot);
    }

    /// The groups that are to be forgotten by `watermark`.
    pub fn leaving(&mut self, watermark: i64) -> Vec<u32> {
        let mut slots = Vec::new();
        while let Some(entry) = self.leave.first_entry().filter(|entry| *entry.key() <= watermark) {
            slots.extend(entry.remove());
        }
        slots
    }

    /// Where the first group begins that is not closed.
    pub fn first_open(&self) -> Option<i64> {
        let open = self.slots.iter().filter(|group| group.used && !group.closed);
        open.map(|group| group.start).min()
    }
}
