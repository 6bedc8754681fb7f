//! Mean and variance of the last values.

use serde::{Deserialize, Serialize};

use super::{Ring, Sum};

/// Mean and variance of the last `period` values.
///
/// The variance is (n Σx² - (Σx)²) / n², which cancels badly: prices of 100 that move by 1e-6 leave a
/// single digit of a plain sum. Sums of 106 bits have the digits to lose.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Moments {
    ring: Ring,
    sum: Sum,
    squares: Sum,
    last: f64,
    run: u32,
}

impl Moments {
    /// Of `period` values, none yet.
    pub fn new(period: usize) -> Self {
        Self { ring: Ring::new(period), sum: Sum::default(), squares: Sum::default(), last: 0.0, run: 0 }
    }

    /// Takes in a value; tells whether there are `period` of them.
    #[inline]
    pub fn push(&mut self, x: f64) -> bool {
        self.run = if x == self.last { self.run.saturating_add(1) } else { 1 };
        self.last = x;
        if let Some(old) = self.ring.push(x) {
            self.sum.subtract(old);
            self.squares.add_product(-old, old);
        }
        self.sum.add(x);
        self.squares.add_product(x, x);
        if self.ring.has_turned() {
            self.sum = Sum::default();
            self.squares = Sum::default();
            for x in self.ring.iter() {
                self.sum.add(x);
                self.squares.add_product(x, x);
            }
        }
        self.ring.is_full()
    }

    /// The mean of the values.
    #[inline]
    pub fn mean(&self) -> f64 {
        self.sum.value() / self.ring.len() as f64
    }

    /// The standard deviation of the values, taken as a whole population (`lost` is 0) or as a sample (1).
    #[inline]
    pub fn deviation(&self, lost: f64) -> f64 {
        // Values that are all equal have a deviation of exactly 0, whatever rounding says.
        if self.run as usize >= self.ring.len() {
            return 0.0;
        }
        let n = self.ring.len() as f64;
        let mut spread = self.squares.times(n);
        spread.subtract_sum(self.sum.squared());
        (spread.value().max(0.0) / (n * (n - lost))).sqrt()
    }

    /// Bytes held on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.ring.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_moves_of_a_large_price_are_seen() {
        let mut moments = Moments::new(4);
        for row in 0..1_000 {
            moments.push(1e6 + f64::from(row % 2) * 2f64.powi(-20));
        }
        assert!((moments.deviation(0.0) / 2f64.powi(-21) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_flat_series_does_not_deviate_even_after_a_jump() {
        let mut moments = Moments::new(4);
        for x in [0.1, 1e9, 0.1, 0.1, 0.1, 0.1] {
            moments.push(x);
        }
        assert_eq!((moments.mean(), moments.deviation(1.0)), (0.1, 0.0));
    }
}
