//! The value of one column where another is least or greatest.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use super::accumulator::{Accumulator, Entries, Overflow, Place, decode, encode};
use super::function::{Aggregate, Empty, Planned};
use super::reversible;
use super::value::{Value, held_as};
use crate::error::Result;
use crate::formats::type_name;
use crate::memory::of_vec;

/// `arg_min(x, y)`
pub const MIN: Aggregate = Aggregate {
    name: "arg_min",
    signature: "arg_min(x, y)",
    summary: "`x` of the row with the least `y`; of several such rows, the first.",
    numbers: 0,
    plan: |kinds, _| plan::<BestOnly>(kinds, Ordering::Less),
    reversible: |kinds, _, _| reversible::arg(kinds, Ordering::Less),
    empty: Empty::Last,
};

/// `arg_max(x, y)`
pub const MAX: Aggregate = Aggregate {
    name: "arg_max",
    signature: "arg_max(x, y)",
    summary: "`x` of the row with the greatest `y`; of several such rows, the first.",
    numbers: 0,
    plan: |kinds, _| plan::<BestOnly>(kinds, Ordering::Greater),
    reversible: |kinds, _, _| reversible::arg(kinds, Ordering::Greater),
    empty: Empty::Last,
};

/// An accumulator for each type of `x` and of `y`.
pub trait ByType: 'static {
    /// The running aggregate; results are of the type `output`.
    fn boxed<X: Value, Y: Value>(output: &DataType, better: Ordering) -> Box<dyn Accumulator>;
}

/// Types a call whose accumulators are those of `A`.
pub fn plan<A: ByType>(kinds: &[DataType], better: Ordering) -> std::result::Result<Planned, String> {
    let [x, y] = kinds else { return Err(format!("it takes two arguments, not {}", kinds.len())) };
    let held = |kind: &DataType| held_as(kind).ok_or_else(|| format!("it takes no {}", type_name(kind)));
    let (arguments, output) = (vec![held(x)?, held(y)?], x.clone());
    let (by, kind) = (arguments[1].clone(), output.clone());
    let build = Arc::new(move || by_value::<A>(&kind, &by, better));
    Ok(Planned { arguments, output, by_place: true, build })
}

fn by_value<A: ByType>(x: &DataType, y: &DataType, better: Ordering) -> Box<dyn Accumulator> {
    match held_as(x) {
        Some(DataType::Float64) => by_key::<A, f64>(x, y, better),
        Some(DataType::Int64) => by_key::<A, i64>(x, y, better),
        Some(DataType::Decimal128(..)) => by_key::<A, i128>(x, y, better),
        _ => by_key::<A, String>(x, y, better),
    }
}

fn by_key<A: ByType, X: Value>(x: &DataType, y: &DataType, better: Ordering) -> Box<dyn Accumulator> {
    match y {
        DataType::Float64 => A::boxed::<X, f64>(x, better),
        DataType::Int64 => A::boxed::<X, i64>(x, better),
        DataType::Decimal128(..) => A::boxed::<X, i128>(x, better),
        _ => A::boxed::<X, String>(x, better),
    }
}

/// Of each group the best row.
struct BestOnly;

impl ByType for BestOnly {
    fn boxed<X: Value, Y: Value>(output: &DataType, better: Ordering) -> Box<dyn Accumulator> {
        Box::new(Arguments::<X, Y> { states: Vec::new(), better, output: output.clone() })
    }
}

/// The best row of a group so far.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "X: Value, Y: Value")]
struct Best<X, Y> {
    x: Option<X>,
    y: Y,
    at: Place,
}

struct Arguments<X, Y> {
    states: Vec<Option<Best<X, Y>>>,
    better: Ordering,
    output: DataType,
}

impl<X: Value, Y: Value> Arguments<X, Y> {
    fn reach(&mut self, slot: u32) -> &mut Option<Best<X, Y>> {
        let needed = slot as usize + 1;
        if self.states.len() < needed {
            self.states.resize(needed.next_power_of_two(), None);
        }
        &mut self.states[slot as usize]
    }
}

impl<X: Value, Y: Value> Accumulator for Arguments<X, Y> {
    fn clear(&mut self, slot: u32) {
        *self.reach(slot) = None;
    }

    fn update(&mut self, entries: Entries<'_>, arguments: &[ArrayRef]) {
        let [x, y] = arguments else { return };
        let (Some(xs), Some(ys)) = (X::column(x), Y::column(y)) else { return };
        let (states, better) = (&mut self.states, self.better);
        entries.each(|row, slot, at| {
            if ys.is_null(row) || Y::is_missing(ys, row) {
                return;
            }
            let wins = states[slot].as_ref().is_none_or(|best| match Y::compare(ys, row, &best.y) {
                Ordering::Equal => at < best.at,
                order => order == better,
            });
            if wins {
                let x = (!xs.is_null(row) && !X::is_missing(xs, row)).then(|| X::at(xs, row));
                states[slot] = Some(Best { x, y: Y::at(ys, row), at });
            }
        });
    }

    fn copy(&mut self, from: u32, into: u32) {
        let best = self.reach(from).clone();
        *self.reach(into) = best;
    }

    fn merge(&mut self, into: u32, from: u32) {
        let Some(other) = self.reach(from).take() else { return };
        let better = self.better;
        let own = self.reach(into);
        let wins = own.as_ref().is_none_or(|best| match other.y.order(&best.y) {
            Ordering::Equal => other.at < best.at,
            order => order == better,
        });
        if wins {
            *own = Some(other);
        }
    }

    fn results(&self, slots: &[u32]) -> std::result::Result<ArrayRef, Overflow> {
        let of = |slot: &u32| self.states[*slot as usize].as_ref().and_then(|best| best.x.clone());
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
        let heap = |best: &Best<X, Y>| best.x.as_ref().map_or(0, X::heap_bytes) + best.y.heap_bytes();
        of_vec(&self.states, |state| state.as_ref().map_or(0, heap))
    }
}
