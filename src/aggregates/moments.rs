//! Variance and standard deviation.

use std::sync::Arc;

use arrow::array::Float64Array;
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use super::accumulator::{Answer, Place, State, States};
use super::function::{Aggregate, Empty, Planned, number};
use super::reversible;
use super::value::Value;

/// `stddev(x)`
pub const STDDEV: Aggregate = Aggregate {
    name: "stddev",
    signature: "stddev(x)",
    summary: "The standard deviation of a sample (divided by n - 1): null of fewer than two values.",
    numbers: 0,
    plan: |kinds, _| plan(kinds, SAMPLE | ROOT),
    reversible: |kinds, _, scale| reversible::moments::<true, true>(kinds, scale),
    empty: Empty::Null,
};

/// `stddev_pop(x)`
pub const STDDEV_POP: Aggregate = Aggregate {
    name: "stddev_pop",
    signature: "stddev_pop(x)",
    summary: "The standard deviation of a population (divided by n).",
    numbers: 0,
    plan: |kinds, _| plan(kinds, ROOT),
    reversible: |kinds, _, scale| reversible::moments::<false, true>(kinds, scale),
    empty: Empty::Null,
};

/// `variance(x)`
pub const VARIANCE: Aggregate = Aggregate {
    name: "variance",
    signature: "variance(x)",
    summary: "The variance of a sample (divided by n - 1): null of fewer than two values.",
    numbers: 0,
    plan: |kinds, _| plan(kinds, SAMPLE),
    reversible: |kinds, _, scale| reversible::moments::<true, false>(kinds, scale),
    empty: Empty::Null,
};

/// `var_pop(x)`
pub const VAR_POP: Aggregate = Aggregate {
    name: "var_pop",
    signature: "var_pop(x)",
    summary: "The variance of a population (divided by n).",
    numbers: 0,
    plan: |kinds, _| plan(kinds, 0),
    reversible: |kinds, _, scale| reversible::moments::<false, false>(kinds, scale),
    empty: Empty::Null,
};

/// Divided by n - 1.
const SAMPLE: u8 = 1;
/// The root of the variance.
const ROOT: u8 = 2;

fn plan(kinds: &[DataType], which: u8) -> Result<Planned, String> {
    number(kinds)?;
    let build = Arc::new(move || States::<Moments>::boxed(f64::from(which), &DataType::Float64));
    Ok(Planned { arguments: vec![DataType::Float64], output: DataType::Float64, by_place: false, build })
}

/// Count, mean and the sum of squared distances from it.
///
/// B. P. Welford, "Note on a method for calculating corrected sums of squares and products", 1962; two are put together
/// as T. F. Chan, G. H. Golub and R. J. LeVeque have shown, 1979.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
}

impl State for Moments {
    type Input = f64;
    type Output = f64;

    #[inline]
    fn add(&mut self, column: &Float64Array, row: usize, _: Place) {
        let x = f64::at(column, row);
        self.count += 1;
        let distance = x - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (x - self.mean);
    }

    fn merge(&mut self, other: &Self) {
        let (own, others) = (self.count as f64, other.count as f64);
        if other.count > 0 {
            let distance = other.mean - self.mean;
            self.count += other.count;
            self.mean += distance * others / (own + others);
            self.squares += other.squares + distance * distance * own * others / (own + others);
        }
    }

    fn result(&self, which: f64) -> Answer<f64> {
        let which = which as u8;
        let divisor = self.count.checked_sub(u64::from(which & SAMPLE)).filter(|divisor| *divisor > 0);
        let variance = divisor.map(|divisor| self.squares / divisor as f64);
        variance.map(|variance| if which & ROOT == 0 { variance } else { variance.sqrt() }).into()
    }
}
