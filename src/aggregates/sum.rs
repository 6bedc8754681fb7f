//! Sums, exact for integers and decimals.

use std::sync::Arc;

use arrow::array::{Decimal128Array, Float64Array, Int64Array};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType};
use serde::{Deserialize, Serialize};

use super::accumulator::{Answer, Place, State, States};
use super::function::{Aggregate, Empty, Planned, number};
use super::reversible;
use super::value::Value;
use crate::indicators::StableSum;

/// `sum(x)`
pub const SUM: Aggregate = Aggregate {
    name: "sum",
    signature: "sum(x)",
    summary: "The sum: exact for integers and decimals, of some 106 bits for floats.",
    numbers: 0,
    plan: |kinds, _| {
        let held = number(kinds)?;
        let output = match &held {
            DataType::Decimal128(_, scale) => DataType::Decimal128(DECIMAL128_MAX_PRECISION, *scale),
            other => other.clone(),
        };
        let result = output.clone();
        let build: Arc<dyn Fn() -> _ + Send + Sync> = match held {
            DataType::Float64 => Arc::new(move || States::<OfFloats>::boxed(0.0, &result)),
            DataType::Int64 => Arc::new(move || States::<OfIntegers>::boxed(0.0, &result)),
            _ => Arc::new(move || States::<OfDecimals>::boxed(0.0, &result)),
        };
        Ok(Planned { arguments: vec![held], output, by_place: false, build })
    },
    reversible: |kinds, _, scale| reversible::sum(kinds, scale),
    empty: Empty::Zero,
};

/// None while there were no values.
#[derive(Clone, Default, Serialize, Deserialize)]
struct OfFloats(Option<StableSum>);

impl State for OfFloats {
    type Input = f64;
    type Output = f64;

    #[inline]
    fn add(&mut self, column: &Float64Array, row: usize, _: Place) {
        self.0.get_or_insert_default().add(f64::at(column, row));
    }

    fn merge(&mut self, other: &Self) {
        if let Some(other) = other.0 {
            self.0.get_or_insert_default().add_sum(other);
        }
    }

    fn result(&self, _: f64) -> Answer<f64> {
        self.0.map(StableSum::value).into()
    }
}

/// A sum of 128 bits; `overflown` once it was too great for them.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Exact {
    count: u64,
    sum: i128,
    overflown: bool,
}

impl Exact {
    #[inline]
    fn add(&mut self, value: i128) {
        let (sum, overflows) = self.sum.overflowing_add(value);
        self.count += 1;
        self.sum = sum;
        self.overflown |= overflows;
    }

    fn merge(&mut self, other: &Self) {
        let (sum, overflows) = self.sum.overflowing_add(other.sum);
        self.count += other.count;
        self.sum = sum;
        self.overflown |= overflows | other.overflown;
    }

    fn result<T>(&self, fit: impl Fn(i128) -> Option<T>) -> Answer<T> {
        match self.count {
            0 => Answer::Null,
            _ => fit(self.sum).filter(|_| !self.overflown).map_or(Answer::TooGreat, Answer::Is),
        }
    }
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct OfIntegers(Exact);

impl State for OfIntegers {
    type Input = i64;
    type Output = i64;

    #[inline]
    fn add(&mut self, column: &Int64Array, row: usize, _: Place) {
        self.0.add(i128::from(i64::at(column, row)));
    }

    fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    fn result(&self, _: f64) -> Answer<i64> {
        self.0.result(|sum| i64::try_from(sum).ok())
    }
}

/// The greatest decimal of 38 digits.
const GREATEST: i128 = 10_i128.pow(38) - 1;

#[derive(Clone, Default, Serialize, Deserialize)]
struct OfDecimals(Exact);

impl State for OfDecimals {
    type Input = i128;
    type Output = i128;

    #[inline]
    fn add(&mut self, column: &Decimal128Array, row: usize, _: Place) {
        self.0.add(i128::at(column, row));
    }

    fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    fn result(&self, _: f64) -> Answer<i128> {
        self.0.result(|sum| Some(sum).filter(|sum| (-GREATEST..=GREATEST).contains(sum)))
    }
}
