//! The arithmetic mean.

use std::sync::Arc;

use arrow::array::Float64Array;
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use super::accumulator::{Answer, Place, State, States};
use super::function::{Aggregate, Empty, Planned, number};
use super::reversible;
use super::value::Value;
use crate::indicators::StableSum;

/// `mean(x)`
pub const MEAN: Aggregate = Aggregate {
    name: "mean",
    signature: "mean(x)",
    summary: "The arithmetic mean, a double.",
    numbers: 0,
    plan: |kinds, _| {
        number(kinds)?;
        let build = Arc::new(|| States::<Mean>::boxed(0.0, &DataType::Float64));
        Ok(Planned { arguments: vec![DataType::Float64], output: DataType::Float64, by_place: false, build })
    },
    reversible: |kinds, _, scale| reversible::mean(kinds, scale),
    empty: Empty::Last,
};

#[derive(Clone, Default, Serialize, Deserialize)]
struct Mean {
    count: u64,
    sum: StableSum,
}

impl State for Mean {
    type Input = f64;
    type Output = f64;

    #[inline]
    fn add(&mut self, column: &Float64Array, row: usize, _: Place) {
        self.count += 1;
        self.sum.add(f64::at(column, row));
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum.add_sum(other.sum);
    }

    fn result(&self, _: f64) -> Answer<f64> {
        (self.count > 0).then(|| self.sum.value() / self.count as f64).into()
    }
}
