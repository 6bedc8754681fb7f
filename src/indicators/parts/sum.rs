//! Sums that do not drift.

use serde::{Deserialize, Serialize};

/// A sum held in two numbers, its value and what rounding took from it: some 106 bits, so that a hundred million
/// values may come and go without leaving a trace.
///
/// T. J. Dekker, "A floating-point technique for extending the available precision", 1971.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sum {
    high: f64,
    low: f64,
}

impl Sum {
    /// The sum, rounded once.
    #[inline]
    pub fn value(self) -> f64 {
        self.high
    }

    /// Adds a value.
    #[inline]
    pub fn add(&mut self, x: f64) {
        let sum = self.high + x;
        let part = sum - self.high;
        let lost = (self.high - (sum - part)) + (x - part);
        let low = self.low + lost;
        self.high = sum + low;
        self.low = low - (self.high - sum);
    }

    /// Takes a value away.
    #[inline]
    pub fn subtract(&mut self, x: f64) {
        self.add(-x);
    }

    /// Adds a product, which loses nothing either.
    #[inline]
    pub fn add_product(&mut self, a: f64, b: f64) {
        let product = a * b;
        self.add(product);
        self.add(a.mul_add(b, -product));
    }

    /// Adds a whole sum.
    #[inline]
    pub fn add_sum(&mut self, other: Self) {
        self.add(other.high);
        self.add(other.low);
    }

    /// Takes a whole sum away.
    #[inline]
    pub fn subtract_sum(&mut self, other: Self) {
        self.subtract(other.high);
        self.subtract(other.low);
    }

    /// The sum times a number.
    #[inline]
    pub fn times(self, factor: f64) -> Self {
        let mut product = Self::default();
        product.add_product(self.high, factor);
        product.add(self.low * factor);
        product
    }

    /// The sum times itself.
    #[inline]
    pub fn squared(self) -> Self {
        let mut square = Self::default();
        square.add_product(self.high, self.high);
        square.add(2.0 * self.high * self.low);
        square
    }
}

impl FromIterator<f64> for Sum {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        let mut sum = Self::default();
        values.into_iter().for_each(|value| sum.add(value));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_went_leaves_no_trace() {
        let mut sum = Sum::default();
        sum.add(0.1);
        for _ in 0..1_000_000 {
            sum.add(1e9 / 3.0);
            sum.add(0.7);
            sum.subtract(1e9 / 3.0);
            sum.subtract(0.7);
        }
        assert_eq!(sum.value(), 0.1);
    }

    #[test]
    fn squares_keep_their_last_bit() {
        let x = 1.0 + f64::EPSILON;
        let mut sum = Sum::default();
        sum.add_product(x, x);
        sum.subtract(1.0);
        sum.subtract(2.0 * f64::EPSILON);
        assert_eq!(sum.value(), f64::EPSILON * f64::EPSILON);
        let mut square: Sum = [x].into_iter().collect();
        square = square.squared();
        square.subtract_sum(square.times(1.0));
        assert_eq!(square.value(), 0.0);
    }
}
