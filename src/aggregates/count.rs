//! How many.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Float64Type};

use super::accumulator::{Accumulator, Entries, Overflow, decode, encode};
use super::function::{Aggregate, Empty, Planned};
use crate::error::Result;

/// `count()`, `count(x)`
pub const COUNT: Aggregate = Aggregate {
    name: "count",
    signature: "count(*), count(x)",
    summary: "How many rows there are, or how many of them have an `x`.",
    numbers: 0,
    plan: |kinds, _| match kinds.len() {
        0 | 1 => Ok(Planned {
            arguments: kinds.to_vec(),
            output: DataType::Int64,
            by_place: false,
            build: Arc::new(|| Box::new(Counts::default())),
        }),
        more => Err(format!("it takes at most one argument, not {more}")),
    },
    reversible: |kinds, numbers, _| (COUNT.plan)(kinds, numbers),
    empty: Empty::Zero,
};

#[derive(Default)]
struct Counts(Vec<i64>);

impl Counts {
    fn reach(&mut self, slot: u32) -> &mut i64 {
        let needed = slot as usize + 1;
        if self.0.len() < needed {
            self.0.resize(needed.next_power_of_two(), 0);
        }
        &mut self.0[slot as usize]
    }

    fn count(&mut self, entries: Entries<'_>, arguments: &[ArrayRef], more: i64) {
        let counts = &mut self.0;
        let nulls = arguments.first().and_then(|column| column.logical_nulls());
        let floats = arguments.first().and_then(|column| column.as_primitive_opt::<Float64Type>());
        let is_there = |row: usize| {
            nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) && floats.is_none_or(|f| !f.value(row).is_nan())
        };
        entries.each(|row, slot, _| counts[slot] += if is_there(row) { more } else { 0 });
    }
}

impl Accumulator for Counts {
    fn clear(&mut self, slot: u32) {
        *self.reach(slot) = 0;
    }

    fn update(&mut self, entries: Entries<'_>, arguments: &[ArrayRef]) {
        self.count(entries, arguments, 1);
    }

    fn is_reversible(&self) -> bool {
        true
    }

    fn take_back(&mut self, entries: Entries<'_>, arguments: &[ArrayRef]) {
        self.count(entries, arguments, -1);
    }

    fn copy(&mut self, from: u32, into: u32) {
        let count = *self.reach(from);
        *self.reach(into) = count;
    }

    fn merge(&mut self, into: u32, from: u32) {
        *self.reach(into) += std::mem::take(self.reach(from));
    }

    fn results(&self, slots: &[u32]) -> std::result::Result<ArrayRef, Overflow> {
        Ok(Arc::new(Int64Array::from_iter_values(slots.iter().map(|slot| self.0[*slot as usize]))))
    }

    fn write(&self, slot: u32, out: &mut Vec<u8>) {
        encode(&self.0[slot as usize], out);
    }

    fn read<'b>(&mut self, slot: u32, bytes: &'b [u8]) -> Result<&'b [u8]> {
        let (count, rest) = decode(bytes)?;
        *self.reach(slot) = count;
        Ok(rest)
    }

    fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<i64>()
    }
}
