//! Standard deviation.

use serde::{Deserialize, Serialize};

use super::{Argument, Compat, Function, Indicator, States, parts::Moments};

/// `stddev(x, period)`
pub const FUNCTION: Function = Function {
    name: "stddev",
    summary: "Standard deviation of the last `period` rows.",
    formula: "sqrt(mean((x - mean(x))²)) over the last `period` rows, that of the population. TA-Lib STDDEV, Pine \
              ta.stdev(x, period).",
    arguments: &[Argument::series("x", "what deviates"), Argument::period("period", 2, None, "how many rows")],
    outputs: &[""],
    dialects: "pandas takes the deviation of the sample, dividing by period - 1: x.rolling(period).std().",
    warm_up: |arguments| Some(arguments.period(0) - 1),
    build: |arguments| States::boxed(Stddev::new(arguments.period(0), arguments.compat)),
};

/// The standard deviation of one key, in the units of its input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stddev {
    moments: Moments,
    lost: f64,
}

impl Stddev {
    /// Over `period` rows.
    pub fn new(period: usize, compat: Compat) -> Self {
        Self { moments: Moments::new(period), lost: compat.lost_degrees() }
    }
}

impl Indicator<1, 1> for Stddev {
    #[inline]
    fn feed(&mut self, _: i64, [x]: [f64; 1]) -> [f64; 1] {
        [if self.moments.push(x) { self.moments.deviation(self.lost) } else { f64::NAN }]
    }

    fn heap_bytes(&self) -> usize {
        self.moments.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use crate::indicators::{Compat, testing};

    #[test]
    fn equals_its_definition() {
        for (compat, lost) in [(Compat::Talib, 0.0), (Compat::Tradingview, 0.0), (Compat::Pandas, 1.0)] {
            testing::by_definition("stddev(x, 6)", compat, |rows| {
                let Some(x) = testing::last(rows, 6) else {
                    return vec![f64::NAN];
                };
                let mean = x.iter().sum::<f64>() / 6.0;
                let spread: f64 = x.iter().map(|x| (x - mean) * (x - mean)).sum();
                vec![(spread / (6.0 - lost)).sqrt()]
            });
        }
    }
}
