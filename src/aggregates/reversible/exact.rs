//! Counts, sums and sums of squares of decimals and integers.

use std::sync::Arc;

use arrow::array::{Decimal128Array, Int64Array};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, i256};
use serde::{Deserialize, Serialize};

use crate::aggregates::accumulator::{Accumulator, Answer, Place, State, States};
use crate::aggregates::function::{Planned, number};

/// The greatest decimal of 38 digits.
const GREATEST: i128 = 10_i128.pow(38) - 1;

/// What adds up values of `kind`: integers and decimals as they are, floats as decimals of this scale.
fn summed(kinds: &[DataType], scale: i8) -> Result<DataType, String> {
    Ok(match number(kinds)? {
        DataType::Float64 => DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale),
        other => other,
    })
}

/// `sum(x)`
pub fn sum(kinds: &[DataType], scale: i8) -> Result<Planned, String> {
    let held = summed(kinds, scale)?;
    let (output, build): (_, Arc<dyn Fn() -> Box<dyn Accumulator> + Send + Sync>) = match (number(kinds)?, &held) {
        (DataType::Int64, _) => (DataType::Int64, Arc::new(|| States::<Integers>::boxed(0.0, &DataType::Int64))),
        (DataType::Float64, _) => {
            let digits = f64::from(scale);
            (DataType::Float64, Arc::new(move || States::<Floats>::boxed(digits, &DataType::Float64)))
        }
        (_, DataType::Decimal128(_, scale)) => {
            let output = DataType::Decimal128(DECIMAL128_MAX_PRECISION, *scale);
            let kind = output.clone();
            (output, Arc::new(move || States::<Decimals>::boxed(0.0, &kind)))
        }
        (other, _) => return Err(format!("it sums no {other}")),
    };
    Ok(Planned { arguments: vec![held], output, by_place: false, build })
}

/// `mean(x)`
pub fn mean(kinds: &[DataType], scale: i8) -> Result<Planned, String> {
    floating(kinds, scale, |digits| States::<Mean>::boxed(digits, &DataType::Float64))
}

/// Variances, of a sample where `SAMPLE`, and deviations, where `ROOT`.
pub fn moments<const SAMPLE: bool, const ROOT: bool>(kinds: &[DataType], scale: i8) -> Result<Planned, String> {
    floating(kinds, scale, |digits| States::<Moments<SAMPLE, ROOT>>::boxed(digits, &DataType::Float64))
}

/// A result that is a double.
fn floating(kinds: &[DataType], scale: i8, build: fn(f64) -> Box<dyn Accumulator>) -> Result<Planned, String> {
    let held = match summed(kinds, scale)? {
        DataType::Int64 => DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0),
        other => other,
    };
    let DataType::Decimal128(_, scale) = held else { return Err("it takes a number".to_string()) };
    let build = Arc::new(move || build(f64::from(scale)));
    Ok(Planned { arguments: vec![held], output: DataType::Float64, by_place: false, build })
}

/// How many values there are and what they come to: of so many digits behind the point that every value is whole.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Total {
    count: i64,
    sum: Wide,
}

/// 256 bits, the lower half first.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Wide(u128, i128);

impl Wide {
    fn get(self) -> i256 {
        i256::from_parts(self.0, self.1)
    }

    fn add(&mut self, value: i256) {
        (self.0, self.1) = self.get().wrapping_add(value).to_parts();
    }
}

impl Total {
    #[inline]
    fn add(&mut self, value: i128) {
        self.count += 1;
        self.sum.add(i256::from_i128(value));
    }

    #[inline]
    fn take_back(&mut self, value: i128) {
        self.count -= 1;
        self.sum.add(i256::from_i128(value).wrapping_neg());
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum.add(other.sum.get());
    }

    fn result<T>(&self, fit: impl Fn(i128) -> Option<T>) -> Answer<T> {
        match self.count {
            0 => Answer::Null,
            _ => self.sum.get().to_i128().and_then(fit).map_or(Answer::TooGreat, Answer::Is),
        }
    }

    /// As a double, of `digits` behind the point.
    fn float(&self, digits: f64) -> f64 {
        float(self.sum.get()) / 10_f64.powf(digits)
    }
}

/// The nearest double.
fn float(value: i256) -> f64 {
    let (low, high) = if value.is_negative() { value.wrapping_neg() } else { value }.to_parts();
    let size = high as f64 * 2_f64.powi(128) + low as f64;
    if value.is_negative() { -size } else { size }
}

macro_rules! state {
    ($state:ty, $input:ty, $output:ty, $column:ty, |$own:ident, $digits:ident| $result:expr) => {
        impl State for $state {
            type Input = $input;
            type Output = $output;
            const REVERSIBLE: bool = true;

            #[inline]
            fn add(&mut self, column: &$column, row: usize, _: Place) {
                self.0.add(column.value(row).into());
            }

            #[inline]
            fn take_back(&mut self, column: &$column, row: usize, _: Place) {
                self.0.take_back(column.value(row).into());
            }

            fn merge(&mut self, other: &Self) {
                self.0.merge(&other.0);
            }

            fn result(&self, $digits: f64) -> Answer<$output> {
                let $own = &self.0;
                $result
            }
        }
    };
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Integers(Total);
state!(Integers, i64, i64, Int64Array, |own, _digits| own.result(|sum| i64::try_from(sum).ok()));

#[derive(Clone, Default, Serialize, Deserialize)]
struct Decimals(Total);
state!(Decimals, i128, i128, Decimal128Array, |own, _digits| {
    own.result(|sum| Some(sum).filter(|sum| (-GREATEST..=GREATEST).contains(sum)))
});

#[derive(Clone, Default, Serialize, Deserialize)]
struct Floats(Total);
state!(Floats, i128, f64, Decimal128Array, |own, digits| (own.count != 0).then(|| own.float(digits)).into());

#[derive(Clone, Default, Serialize, Deserialize)]
struct Mean(Total);
state!(Mean, i128, f64, Decimal128Array, |own, digits| {
    (own.count > 0).then(|| own.float(digits) / own.count as f64).into()
});

/// Count, sum and sum of squares: as integers they lose nothing, however close the values are to one another.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Moments<const SAMPLE: bool, const ROOT: bool> {
    total: Total,
    squares: Wide,
    /// Once the squares were too great for 256 bits.
    overflown: bool,
}

impl<const SAMPLE: bool, const ROOT: bool> Moments<SAMPLE, ROOT> {
    fn square(&mut self, square: i256) {
        match self.squares.get().checked_add(square) {
            Some(sum) => (self.squares.0, self.squares.1) = sum.to_parts(),
            None => self.overflown = true,
        }
    }

    /// `(n * sum of squares - square of the sum) / (n * (n - 1))`, or `n * n` of a population.
    fn variance(&self, digits: f64) -> Answer<f64> {
        let count = self.total.count;
        let divisor = if SAMPLE { count - 1 } else { count };
        if count <= 0 || divisor <= 0 {
            return Answer::Null;
        }
        let sum = self.total.sum.get();
        let spread = (|| {
            let squares = self.squares.get().checked_mul(i256::from(count))?;
            squares.checked_sub(sum.checked_mul(sum)?)
        })();
        match spread {
            Some(spread) if !self.overflown => {
                let unit = 10_f64.powf(digits);
                let variance = float(spread) / unit / unit / count as f64 / divisor as f64;
                Answer::Is(if ROOT { variance.sqrt() } else { variance })
            }
            _ => Answer::TooGreat,
        }
    }
}

impl<const SAMPLE: bool, const ROOT: bool> State for Moments<SAMPLE, ROOT> {
    type Input = i128;
    type Output = f64;
    const REVERSIBLE: bool = true;

    fn add(&mut self, column: &Decimal128Array, row: usize, _: Place) {
        let value = i256::from_i128(column.value(row));
        self.total.add(column.value(row));
        // A decimal of 38 digits, squared, has 253 bits.
        self.square(value.wrapping_mul(value));
    }

    fn take_back(&mut self, column: &Decimal128Array, row: usize, _: Place) {
        let value = i256::from_i128(column.value(row));
        self.total.take_back(column.value(row));
        self.square(value.wrapping_mul(value).wrapping_neg());
    }

    fn merge(&mut self, other: &Self) {
        self.total.merge(&other.total);
        self.square(other.squares.get());
        self.overflown |= other.overflown;
    }

    fn result(&self, digits: f64) -> Answer<f64> {
        self.variance(digits)
    }
}
