//! Bollinger bands.

use serde::{Deserialize, Serialize};

use super::{Argument, Compat, Function, Indicator, States, parts::Moments};

/// `bollinger(x, period, deviations)`
pub const FUNCTION: Function = Function {
    name: "bollinger",
    summary: "Bollinger bands: the mean of the last `period` rows, and so many standard deviations above and below.",
    formula: "middle = sma(x, period); upper, lower = middle ± deviations * stddev(x, period) (John Bollinger). TA-Lib \
              BBANDS with equal deviations, Pine ta.bb(x, period, deviations).",
    arguments: &[
        Argument::series("x", "a price"),
        Argument::period("period", 2, Some("20"), "how many rows"),
        Argument::number("deviations", (0.0, 1000.0), Some("2"), "the width of a band in standard deviations"),
    ],
    outputs: &["_upper", "_middle", "_lower"],
    dialects: "talib and tradingview take the deviation of the population, pandas that of the sample: \
               x.rolling(period).mean() ± deviations * x.rolling(period).std().",
    warm_up: |arguments| Some(arguments.period(0) - 1),
    build: |arguments| States::boxed(Bollinger::new(arguments.period(0), arguments.number(1), arguments.compat)),
};

/// The Bollinger bands of one key: upper, middle and lower, in the units of its input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bollinger {
    moments: Moments,
    deviations: f64,
    lost: f64,
}

impl Bollinger {
    /// Over `period` rows, the bands `deviations` standard deviations from the middle.
    pub fn new(period: usize, deviations: f64, compat: Compat) -> Self {
        Self { moments: Moments::new(period), deviations, lost: compat.lost_degrees() }
    }
}

impl Indicator<1, 3> for Bollinger {
    #[inline]
    fn feed(&mut self, _: i64, [x]: [f64; 1]) -> [f64; 3] {
        if !self.moments.push(x) {
            return [f64::NAN; 3];
        }
        let middle = self.moments.mean();
        let width = self.deviations * self.moments.deviation(self.lost);
        [middle + width, middle, middle - width]
    }

    fn heap_bytes(&self) -> usize {
        self.moments.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bands_lie_deviations_from_the_middle() {
        let bands = |compat| {
            let mut bollinger = Bollinger::new(2, 3.0, compat);
            bollinger.update(0, [10.0]);
            bollinger.update(0, [12.0])
        };
        assert_eq!(bands(Compat::Talib), [14.0, 11.0, 8.0]);
        let sample = 3.0 * 2f64.sqrt();
        assert_eq!(bands(Compat::Pandas), [11.0 + sample, 11.0, 11.0 - sample]);
    }
}
