//! Exact quantiles: all values are kept until their group ends.

use std::sync::Arc;

use arrow::array::Float64Array;
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use super::accumulator::{Answer, Place, State, States};
use super::function::{Aggregate, Empty, Planned, number};
use super::reversible;
use super::value::Value;

/// `quantile(x, q)`
pub const QUANTILE: Aggregate = Aggregate {
    name: "quantile",
    signature: "quantile(x, q)",
    summary: "The value at q * (n - 1) of the n sorted values, between two by linear interpolation: exact.",
    numbers: 1,
    plan: |kinds, numbers| match numbers {
        [q] if (0.0..=1.0).contains(q) => plan(kinds, *q),
        _ => Err("`q` must be written out as a number from 0 to 1".to_string()),
    },
    reversible: |kinds, numbers, _| {
        (QUANTILE.plan)(kinds, numbers)?;
        reversible::quantile(kinds, numbers[0])
    },
    empty: Empty::Last,
};

/// `median(x)`
pub const MEDIAN: Aggregate = Aggregate {
    name: "median",
    signature: "median(x)",
    summary: "quantile(x, 0.5).",
    numbers: 0,
    plan: |kinds, _| plan(kinds, 0.5),
    reversible: |kinds, _, _| reversible::quantile(kinds, 0.5),
    empty: Empty::Last,
};

fn plan(kinds: &[DataType], q: f64) -> Result<Planned, String> {
    number(kinds)?;
    let build = Arc::new(move || States::<Values>::boxed(q, &DataType::Float64));
    Ok(Planned { arguments: vec![DataType::Float64], output: DataType::Float64, by_place: false, build })
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Values(Vec<f64>);

impl State for Values {
    type Input = f64;
    type Output = f64;

    fn add(&mut self, column: &Float64Array, row: usize, _: Place) {
        self.0.push(f64::at(column, row));
    }

    fn merge(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    fn result(&self, q: f64) -> Answer<f64> {
        let Some(most) = self.0.len().checked_sub(1) else { return Answer::Null };
        let mut values = self.0.clone();
        let at = q * most as f64;
        let below = (at.floor() as usize).min(most);
        let (_, low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
        let low = *low;
        let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
        Answer::Is(low + (high - low) * (at - below as f64))
    }

    fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<f64>()
    }
}
