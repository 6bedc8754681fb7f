//! Exponential moving average.

use serde::{Deserialize, Serialize};

use super::{Argument, Compat, Function, Indicator, States, parts::Exponential};

/// `ema(x, period)`
pub const FUNCTION: Function = Function {
    name: "ema",
    summary: "Exponential moving average: recent rows weigh more, old ones never quite vanish.",
    formula: "ema += (x - ema) * 2 / (period + 1), seeded by the mean of the first `period` rows. TA-Lib EMA.",
    arguments: &[
        Argument::series("x", "what to average"),
        Argument::period("period", 1, None, "its length in rows; a row of that age weighs about 1/e² of a new one"),
    ],
    outputs: &[""],
    dialects: "tradingview: the same, as ta.ema(x, period) charts it; pandas: seeded by the first row and warm at \
               once, x.ewm(span=period, adjust=False).mean().",
    warm_up: |arguments| Some(arguments.compat.seed(arguments.period(0)) - 1),
    build: |arguments| States::boxed(Ema::new(arguments.period(0), arguments.compat)),
};

/// The exponential moving average of one key, in the units of its input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ema(Exponential);

impl Ema {
    /// Over `period` rows.
    pub fn new(period: usize, compat: Compat) -> Self {
        Self(Exponential::new(period, compat.seed(period)))
    }
}

impl Indicator<1, 1> for Ema {
    #[inline]
    fn feed(&mut self, _: i64, [x]: [f64; 1]) -> [f64; 1] {
        [self.0.push(x).unwrap_or(f64::NAN)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing;

    #[test]
    fn equals_what_tradingview_shows() {
        // Read from a chart of ta.ema(100 + (bar_index % 7) / 3.0, period) at bars 10 and 11. Were the seed the first
        // value, as the reference manual has it, they would differ in the fourth digit.
        for (period, shown) in [(3, [100.8125, 101.07291666666666]), (5, [100.79423868312757, 100.97393689986282])] {
            let mut ema = Ema::new(period, Compat::Tradingview);
            let found = (0..12).map(|bar| ema.update(0, [100.0 + f64::from(bar % 7) / 3.0])[0]);
            for (found, shown) in found.skip(10).zip(shown) {
                assert!((found / shown - 1.0).abs() < 1e-15, "{found} {shown}");
            }
        }
    }

    #[test]
    fn equals_its_definition() {
        for (compat, seed) in [(Compat::Talib, 6), (Compat::Pandas, 1)] {
            testing::by_definition("ema(x, 6)", compat, |rows| {
                let x = testing::first(rows);
                if x.len() < seed {
                    return vec![f64::NAN];
                }
                // The closed form: the seed and every later row, each with its power of 5/7.
                let age = |row: usize| (5f64 / 7.0).powi((x.len() - row) as i32);
                let start = x[..seed].iter().sum::<f64>() / seed as f64 * age(seed);
                let later = (seed..x.len()).map(|row| x[row] * age(row + 1) * 2.0 / 7.0);
                vec![start + later.sum::<f64>()]
            });
        }
    }
}
