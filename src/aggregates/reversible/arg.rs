//! The value of one column where another is least or greatest, of rows that are kept as long as they may be taken back.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use super::counted::Counted;
use crate::aggregates::accumulator::{Accumulator, Entries, Overflow, Place, decode, encode};
use crate::aggregates::arg;
use crate::aggregates::function::Planned;
use crate::aggregates::value::{Ordered, Value};
use crate::error::Result;
use crate::memory::{like, of_vec};

/// `arg_min(x, y)`, `arg_max(x, y)`
pub fn plan(kinds: &[DataType], better: Ordering) -> std::result::Result<Planned, String> {
    arg::plan::<AllRows>(kinds, better)
}

/// Of each group all rows.
struct AllRows;

impl arg::ByType for AllRows {
    fn boxed<X: Value, Y: Value>(output: &DataType, better: Ordering) -> Box<dyn Accumulator> {
        Box::new(Arguments::<X, Y> { states: Vec::new(), better, output: output.clone() })
    }
}

/// The rows of a group, by `y`, then by their places; with their `x`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "X: Value, Y: Value")]
struct Candidates<X: Value, Y: Value>(BTreeMap<By<Y>, Counted<Option<X>>>);

/// What rows are in the order of.
type By<Y> = (Ordered<Y>, Place);

impl<X: Value, Y: Value> Default for Candidates<X, Y> {
    fn default() -> Self {
        Candidates(BTreeMap::new())
    }
}

impl<X: Value, Y: Value> Candidates<X, Y> {
    fn count(&mut self, y: Y, place: Place, x: Option<X>, more: i64) {
        let key = (Ordered(y), place);
        let rows = self.0.entry(key.clone()).or_default();
        rows.add(x, more);
        if rows.is_empty() {
            self.0.remove(&key);
        }
    }

    /// The one with the best `y`; of several such rows, the first.
    fn best(&self, better: Ordering) -> Option<(&By<Y>, &Counted<Option<X>>)> {
        match better {
            Ordering::Less => self.0.first_key_value(),
            _ => {
                let (greatest, _) = self.0.last_key_value()?.0;
                self.0.range((greatest.clone(), Place::first_at(i64::MIN))..).next()
            }
        }
    }

    /// Of the rows before `time`, which stay for good, only the best can ever be asked for.
    fn settle(&mut self, time: i64, better: Ordering) {
        let (settled, open) = std::mem::take(&mut self.0).into_iter().partition(|((_, place), _)| place.time < time);
        self.0 = settled;
        let best = self.best(better).map(|(key, rows)| (key.clone(), rows.clone()));
        self.0 = open;
        self.0.extend(best);
    }
}

struct Arguments<X: Value, Y: Value> {
    states: Vec<Candidates<X, Y>>,
    better: Ordering,
    output: DataType,
}

impl<X: Value, Y: Value> Arguments<X, Y> {
    fn reach(&mut self, slot: u32) -> &mut Candidates<X, Y> {
        let needed = slot as usize + 1;
        if self.states.len() < needed {
            self.states.resize(needed.next_power_of_two(), Candidates::default());
        }
        &mut self.states[slot as usize]
    }

    fn count(&mut self, entries: Entries<'_>, arguments: &[ArrayRef], more: i64) {
        let [x, y] = arguments else { return };
        let (Some(xs), Some(ys)) = (X::column(x), Y::column(y)) else { return };
        entries.each(|row, slot, place| {
            if !ys.is_null(row) && !Y::is_missing(ys, row) {
                let x = (!xs.is_null(row) && !X::is_missing(xs, row)).then(|| X::at(xs, row));
                self.states[slot].count(Y::at(ys, row), place, x, more);
            }
        });
    }
}

impl<X: Value, Y: Value> Accumulator for Arguments<X, Y> {
    fn clear(&mut self, slot: u32) {
        *self.reach(slot) = Candidates::default();
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

    fn settle(&mut self, slot: u32, time: i64) {
        let better = self.better;
        self.reach(slot).settle(time, better);
    }

    fn copy(&mut self, from: u32, into: u32) {
        let state = self.reach(from).clone();
        *self.reach(into) = state;
    }

    fn merge(&mut self, into: u32, from: u32) {
        let other = std::mem::take(self.reach(from));
        for ((y, place), rows) in other.0 {
            rows.each(|x, count| self.reach(into).count(y.0.clone(), place, x.clone(), count));
        }
    }

    fn results(&self, slots: &[u32]) -> std::result::Result<ArrayRef, Overflow> {
        let of =
            |slot: &u32| self.states[*slot as usize].best(self.better).and_then(|(_, rows)| rows.first().cloned()?);
        Ok(X::array(slots.iter().map(of).collect(), &self.output))
    }

    fn write(&self, slot: u32, out: &mut Vec<u8>) {
        encode(&self.states[slot as usize], out);
    }

    fn read<'b>(&mut self, slot: u32, bytes: &'b [u8]) -> Result<&'b [u8]> {
        let (state, rest) = decode(bytes)?;
        *self.reach(slot) = state;
        Ok(rest)
    }

    fn bytes(&self) -> usize {
        let x = |x: &Option<X>| x.as_ref().map_or(0, X::heap_bytes);
        of_vec(&self.states, |state| {
            let row =
                |((y, _), rows): (&By<Y>, &Counted<_>)| size_of::<By<Y>>() + y.0.heap_bytes() + rows.heap_bytes(x);
            like(state.0.len(), state.0.iter(), row)
        })
    }
}
