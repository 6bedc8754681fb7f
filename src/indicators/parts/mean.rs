//! The mean of the last values.

use serde::{Deserialize, Serialize};

use super::{Ring, Sum};

/// The mean of the last `period` values.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mean {
    ring: Ring,
    sum: Sum,
}

impl Mean {
    /// Of `period` values, none yet.
    pub fn new(period: usize) -> Self {
        Self { ring: Ring::new(period), sum: Sum::default() }
    }

    /// Takes in a value; the mean, once there are `period` of them.
    #[inline]
    pub fn push(&mut self, x: f64) -> Option<f64> {
        if let Some(old) = self.ring.push(x) {
            self.sum.subtract(old);
        }
        self.sum.add(x);
        if self.ring.has_turned() {
            self.sum = self.ring.iter().collect();
        }
        self.ring.is_full().then(|| self.sum.value() / self.ring.len() as f64)
    }

    /// Forgets all values.
    pub fn clear(&mut self) {
        self.ring.clear();
        self.sum = Sum::default();
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
    fn a_bad_tick_is_forgotten() {
        let mut mean = Mean::new(5);
        mean.push(1e99);
        let last = (0..12).map(|_| mean.push(0.1)).last().flatten();
        assert_eq!(last, Some(0.1));
    }

    #[test]
    fn does_not_drift() {
        let mut mean = Mean::new(7);
        let value = |row: u64| (row * 2_654_435_761 % 1_000_003) as f64 * 1e-3 + 1e6;
        let mut last = None;
        for row in 0..1_000_000 {
            last = mean.push(value(row));
        }
        let exact = (999_993..1_000_000).map(value).sum::<f64>() / 7.0;
        assert!((last.unwrap_or(f64::NAN) - exact).abs() <= 4.0 * f64::EPSILON * exact);
    }
}
