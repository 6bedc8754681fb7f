//! Simple moving average.

use serde::{Deserialize, Serialize};

use super::{Argument, Function, Indicator, States, parts::Mean};

/// `sma(x, period)`
pub const FUNCTION: Function = Function {
    name: "sma",
    summary: "Simple moving average: the mean of the last `period` rows.",
    formula: "(x[0] + ... + x[period - 1]) / period, x[0] being the present row. TA-Lib SMA, Pine ta.sma(x, period), \
              pandas x.rolling(period).mean().",
    arguments: &[Argument::series("x", "what to average"), Argument::period("period", 1, None, "how many rows")],
    outputs: &[""],
    dialects: "",
    warm_up: |arguments| Some(arguments.period(0) - 1),
    build: |arguments| States::boxed(Sma::new(arguments.period(0))),
};

/// The simple moving average of one key, in the units of its input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sma(Mean);

impl Sma {
    /// Over `period` rows.
    pub fn new(period: usize) -> Self {
        Self(Mean::new(period))
    }
}

impl Indicator<1, 1> for Sma {
    #[inline]
    fn feed(&mut self, _: i64, [x]: [f64; 1]) -> [f64; 1] {
        [self.0.push(x).unwrap_or(f64::NAN)]
    }

    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use crate::indicators::{Compat, testing};

    #[test]
    fn equals_its_definition() {
        for period in [1, 2, 5, 30] {
            testing::by_definition(&format!("sma(x, {period})"), Compat::Talib, |rows| {
                let last = testing::last(rows, period);
                vec![last.map_or(f64::NAN, |x| x.iter().sum::<f64>() / period as f64)]
            });
        }
    }
}
