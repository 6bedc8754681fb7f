//! What is kept of groups between rows, and what is part of a checkpoint.

use crate::aggregates::Accumulator;
use crate::error::Result;
use crate::operators::kept::Kept;
use crate::state::{Reader, put_varint};

/// A group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// How many rows it has.
    pub rows: u64,
    /// How many rows were taken back, and how many corrections those have seen that came.
    pub corrections: u64,
    /// Whether it is known downstream.
    pub told: bool,
    /// Whether it has changed in this epoch.
    pub changed: bool,
    /// No row before this event time is taken back any more, and the aggregates know it.
    pub settled: i64,
}

/// All groups, by the numbers of their keys.
pub struct Held {
    pub groups: Vec<Group>,
    pub accumulators: Vec<Box<dyn Accumulator>>,
    /// The rows, where they leave by themselves.
    pub kept: Option<Kept>,
}

impl Held {
    /// Makes room for the groups below `count`.
    pub fn grow(&mut self, count: usize) {
        for slot in self.groups.len()..count {
            self.groups.push(Group::default());
            self.clear(slot as u32);
        }
    }

    /// Makes a group that of no rows.
    pub fn clear(&mut self, slot: u32) {
        self.groups[slot as usize] = Group { settled: i64::MIN, ..Group::default() };
        self.accumulators.iter_mut().for_each(|accumulator| accumulator.clear(slot));
    }

    /// An estimate of the memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let aggregates: usize = self.accumulators.iter().map(|accumulator| accumulator.bytes()).sum();
        self.groups.capacity() * size_of::<Group>() + aggregates + self.kept.as_ref().map_or(0, Kept::heap_bytes)
    }

    /// Appends the state of a group.
    pub fn write(&self, slot: u32, out: &mut Vec<u8>) {
        let group = &self.groups[slot as usize];
        put_varint(out, group.rows);
        put_varint(out, group.corrections);
        out.push(u8::from(group.told));
        self.accumulators.iter().for_each(|accumulator| accumulator.write(slot, out));
        if let Some(kept) = &self.kept {
            kept.write(slot, out);
        }
    }

    /// Puts back what [`write`](Self::write) has written.
    pub fn read(&mut self, slot: u32, value: &[u8]) -> Result<()> {
        let mut reader = Reader(value);
        let (rows, corrections, told) = (reader.varint()?, reader.varint()?, reader.u8()? != 0);
        self.groups[slot as usize] = Group { rows, corrections, told, changed: false, settled: i64::MIN };
        let mut value = reader.0;
        for accumulator in &mut self.accumulators {
            value = accumulator.read(slot, value)?;
        }
        if let Some(kept) = &mut self.kept {
            kept.read(slot, value)?;
        }
        Ok(())
    }
}
