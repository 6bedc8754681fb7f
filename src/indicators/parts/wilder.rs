//! Wilder's average.

use serde::{Deserialize, Serialize};

/// Wilder's average: value = (value * (period - 1) + x) / period, seeded by a mean.
///
/// J. Welles Wilder, "New Concepts in Technical Trading Systems", 1978; `ta.rma` in Pine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wilder {
    value: f64,
    period: u32,
    seed: u32,
    seen: u32,
}

impl Wilder {
    /// Over `period` values, seeded by the mean of the first `seed` ones.
    pub fn new(period: usize, seed: usize) -> Self {
        Self {
            value: 0.0,
            period: u32::try_from(period).unwrap_or(u32::MAX),
            seed: u32::try_from(seed).unwrap_or(u32::MAX),
            seen: 0,
        }
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
            let period = f64::from(self.period);
            self.value = (self.value * (period - 1.0) + x) / period;
        }
        Some(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_what_tradingview_shows() {
        // Read from a chart of ta.rma(100 + (bar_index % 7) / 3.0, length) at bars 10 and 11.
        for (length, shown) in [(3, [100.80724483056444, 100.98260766482075]), (5, [100.79716266666667, 100.9043968])] {
            let mut average = Wilder::new(length, length);
            let values: Vec<_> =
                (0..12).map(|bar| average.push(100.0 + f64::from(bar % 7) / 3.0).unwrap_or(f64::NAN)).collect();
            for (found, shown) in values[10..].iter().zip(shown) {
                assert!((found / shown - 1.0).abs() < 1e-15, "{found} {shown}");
            }
        }
    }
}
