//! Linearly weighted moving average.

use serde::{Deserialize, Serialize};

use super::{
    Argument, Function, Indicator, States,
    parts::{Ring, Sum},
};

/// `wma(x, period)`
pub const FUNCTION: Function = Function {
    name: "wma",
    summary: "Weighted moving average: the newest of `period` rows weighs `period`, the oldest 1.",
    formula: "(period * x[0] + (period - 1) * x[1] + ... + 1 * x[period - 1]) / (1 + 2 + ... + period), x[0] being the \
              present row. TA-Lib WMA, Pine ta.wma(x, period).",
    arguments: &[Argument::series("x", "what to average"), Argument::period("period", 1, None, "how many rows")],
    outputs: &[""],
    dialects: "",
    warm_up: |arguments| Some(arguments.period(0) - 1),
    build: |arguments| States::boxed(Wma::new(arguments.period(0))),
};

/// The weighted moving average of one key, in the units of its input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wma {
    ring: Ring,
    sum: Sum,
    weighted: Sum,
}

impl Wma {
    /// Over `period` rows.
    pub fn new(period: usize) -> Self {
        Self { ring: Ring::new(period), sum: Sum::default(), weighted: Sum::default() }
    }
}

impl Indicator<1, 1> for Wma {
    #[inline]
    fn feed(&mut self, _: i64, [x]: [f64; 1]) -> [f64; 1] {
        let gone = self.ring.push(x);
        let n = self.ring.len() as f64;
        if let Some(old) = gone {
            // Everything already here loses one weight, and with it the oldest its last.
            self.weighted.subtract_sum(self.sum);
            self.sum.subtract(old);
        }
        self.sum.add(x);
        self.weighted.add_product(n, x);
        if self.ring.has_turned() {
            self.sum = self.ring.iter().collect();
            self.weighted = Sum::default();
            for (weight, x) in (1u32..).zip(self.ring.iter()) {
                self.weighted.add_product(f64::from(weight), x);
            }
        }
        if self.ring.is_full() { [self.weighted.value() / (n * (n + 1.0) / 2.0)] } else { [f64::NAN] }
    }

    fn heap_bytes(&self) -> usize {
        self.ring.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use crate::indicators::{Compat, testing};

    #[test]
    fn equals_its_definition() {
        for period in [1, 2, 5, 30] {
            testing::by_definition(&format!("wma(x, {period})"), Compat::Talib, |rows| {
                let Some(x) = testing::last(rows, period) else {
                    return vec![f64::NAN];
                };
                let weighted = x.iter().zip(1..).map(|(x, weight)| x * f64::from(weight));
                vec![weighted.sum::<f64>() * 2.0 / (period * (period + 1)) as f64]
            });
        }
    }
}
