//! The exponential moving average.

use serde::{Deserialize, Serialize};

/// An exponential moving average: value += 2 / (period + 1) * (x - value), seeded by a mean.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exponential {
    alpha: f64,
    value: f64,
    seed: u32,
    seen: u32,
}

impl Exponential {
    /// Over `period` values, seeded by the mean of the first `seed` ones.
    pub fn new(period: usize, seed: usize) -> Self {
        Self { alpha: 2.0 / (period as f64 + 1.0), value: 0.0, seed: u32::try_from(seed).unwrap_or(u32::MAX), seen: 0 }
    }

    /// Takes in a value; the average, once it is seeded.
    #[inline]
    pub fn push(&mut self, x: f64) -> Option<f64> {
        if self.seen < self.seed {
            self.seen += 1;
            self.value += x;
            if self.seen < self.seed {
                return None;
            }
            self.value /= f64::from(self.seed);
        } else {
            // One rounding instead of two: two averages close to each other differ by little else (MACD), and TA-Lib
            // as it is distributed rounds so.
            self.value = (x - self.value).mul_add(self.alpha, self.value);
        }
        Some(self.value)
    }
}
