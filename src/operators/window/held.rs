//! What a window keeps between rows, and what is part of a checkpoint: groups, their aggregates, and rows that may be taken
//! back.

use super::groups::{Group, Groups};
use crate::aggregates::{Accumulator, Entries};
use crate::error::Result;
use crate::operators::kept::Kept;
use crate::state::{Reader, put_varint};

/// What is part of a checkpoint.
pub struct Held {
    pub groups: Groups,
    /// Of the aggregates, then of the last values that are carried on.
    pub accumulators: Vec<Box<dyn Accumulator>>,
    /// Set where rows may be replaced or taken back.
    pub kept: Option<Kept>,
    /// How many arguments each aggregate has.
    pub arguments: Vec<usize>,
}

impl Held {
    /// Computes a group anew from the rows that are kept; late ones belong to it for as long as they revise it, in ns.
    pub fn aggregate_anew(&mut self, slot: u32, revises: i64) -> Result<()> {
        let Some(kept) = &self.kept else { return Ok(()) };
        let Group { key, start, end, .. } = *self.groups.at(slot);
        let (places, arguments, corrected) = kept.within(key, (start, end), end.saturating_add(revises))?;
        let rows: Vec<u32> = (0..places.len() as u32).collect();
        let slots = vec![slot; places.len()];
        let mut arguments = arguments.as_slice();
        for (accumulator, count) in self.accumulators.iter_mut().zip(&self.arguments) {
            let (own, rest) = arguments.split_at(*count);
            accumulator.clear(slot);
            accumulator.update(Entries { rows: &rows, slots: &slots, places: &places }, own);
            arguments = rest;
        }
        let group = self.groups.at_mut(slot);
        (group.rows, group.corrected) = (places.len() as u64, corrected);
        Ok(())
    }

    /// Whether nothing is kept of a key.
    pub fn is_empty(&self, key: u32) -> bool {
        self.groups.of_key(key).is_empty() && self.kept.as_ref().is_none_or(|kept| kept.first(key).is_none())
    }

    /// An estimate of the memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let aggregates: usize = self.accumulators.iter().map(|accumulator| accumulator.bytes()).sum();
        self.groups.heap_bytes() + aggregates + self.kept.as_ref().map_or(0, Kept::heap_bytes)
    }

    pub fn write(&self, key: u32, out: &mut Vec<u8>) {
        if let Some(kept) = &self.kept {
            kept.write(key, out);
        }
        for slot in self.groups.of_key(key) {
            let group = self.groups.at(*slot);
            out.extend_from_slice(&group.start.to_le_bytes());
            out.extend_from_slice(&group.end.to_le_bytes());
            put_varint(out, group.rows);
            put_varint(out, group.corrections);
            put_varint(out, group.corrected);
            out.extend_from_slice(&group.empty_since.to_le_bytes());
            out.push(u8::from(group.closed) | u8::from(group.told) << 1);
            self.accumulators.iter().for_each(|accumulator| accumulator.write(*slot, out));
        }
    }

    pub fn read(&mut self, key: u32, mut value: &[u8], reach: i64) -> Result<()> {
        if let Some(kept) = &mut self.kept {
            value = kept.read(key, value)?;
        }
        while !value.is_empty() {
            let mut reader = Reader(value);
            let (start, end) = (reader.u64()? as i64, reader.u64()? as i64);
            let (rows, corrections, corrected) = (reader.varint()?, reader.varint()?, reader.varint()?);
            let (empty_since, flags) = (reader.u64()? as i64, reader.u8()?);
            let (closed, told) = (flags & 1 != 0, flags & 2 != 0);
            let known = Group { key, start, end, rows, corrections, corrected, empty_since, ..Group::default() };
            let slot = self.groups.open(Group { closed, told, ..known });
            value = reader.0;
            for accumulator in &mut self.accumulators {
                value = accumulator.read(slot, value)?;
            }
            if closed {
                self.groups.leaves_at(slot, end.saturating_add(reach));
            }
        }
        Ok(())
    }
}
