//! Slow stochastic oscillator.

use serde::{Deserialize, Serialize};

use super::{
    Argument, Arguments, Compat, Function, Indicator, Span, States,
    parts::{Highest, Lowest, Mean},
};

/// `stochastic(high, low, close, k, k_smooth, d)`
pub const FUNCTION: Function = Function {
    name: "stochastic",
    summary: "Slow stochastic: where the close lies within the range of the last `k` rows, from 0 to 100, smoothed.",
    formula: "fast = 100 * (close - lowest(low, k)) / (highest(high, k) - lowest(low, k)); k = sma(fast, k_smooth); d \
              = sma(k, d) (George Lane). TA-Lib STOCH with simple averages.",
    arguments: &[
        Argument::series("high", "the highest price of the bar"),
        Argument::series("low", "the lowest price of the bar"),
        Argument::series("close", "the last price of the bar"),
        Argument::period("k", 1, Some("14"), "how many rows the range spans"),
        Argument::period("k_smooth", 1, Some("3"), "how many rows `_k` averages"),
        Argument::period("d", 1, Some("3"), "how many rows of `_k` `_d` averages"),
    ],
    outputs: &["_k", "_d"],
    dialects: "talib shows both at once, and a range of nothing counts as 0; the others show `_k` before `_d`, and a \
               range of nothing is null: tradingview, ta.sma(ta.stoch(close, high, low, k), k_smooth), skips that row, \
               pandas, fast.rolling(k_smooth).mean() and .rolling(d).mean(), has to warm up again.",
    warm_up: |arguments| Some((0..3).map(|index| arguments.period(index) - 1).sum()),
    build: |arguments| States::boxed(Stochastic::new(arguments)),
};

/// The slow stochastic of one key: k and d, 0 to 100.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stochastic {
    highest: Highest,
    lowest: Lowest,
    k: Mean,
    d: Mean,
    compat: Compat,
}

impl Stochastic {
    /// From the periods `k`, `k_smooth` and `d`.
    pub fn new(arguments: &Arguments) -> Self {
        let span = Span::Rows(arguments.period(0));
        Self {
            highest: Highest::new(span),
            lowest: Lowest::new(span),
            k: Mean::new(arguments.period(1)),
            d: Mean::new(arguments.period(2)),
            compat: arguments.compat,
        }
    }
}

impl Indicator<3, 2> for Stochastic {
    #[inline]
    fn feed(&mut self, time: i64, [high, low, close]: [f64; 3]) -> [f64; 2] {
        let range = (self.highest.push(time, high), self.lowest.push(time, low));
        let (Some(highest), Some(lowest)) = range else {
            return [f64::NAN; 2];
        };
        let fast = match (highest - lowest, self.compat) {
            (0.0, Compat::Talib) => 0.0,
            (0.0, Compat::Tradingview) => return [f64::NAN; 2],
            (0.0, Compat::Pandas) => {
                self.k.clear();
                self.d.clear();
                return [f64::NAN; 2];
            }
            (range, _) => (close - lowest) / (range / 100.0),
        };
        let Some(k) = self.k.push(fast) else {
            return [f64::NAN; 2];
        };
        match self.d.push(k) {
            Some(d) => [k, d],
            None if self.compat == Compat::Talib => [f64::NAN; 2],
            None => [k, f64::NAN],
        }
    }

    fn heap_bytes(&self) -> usize {
        self.highest.heap_bytes() + self.lowest.heap_bytes() + self.k.heap_bytes() + self.d.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::Call;

    fn raw(compat: Compat) -> Stochastic {
        Stochastic::new(&Call::parse("stochastic(h, l, c, 2, 1, 1)", compat).arguments)
    }

    #[test]
    fn the_close_is_placed_in_the_range_of_its_window() {
        let mut stochastic = raw(Compat::Talib);
        stochastic.update(0, [10.0, 6.0, 7.0]);
        assert_eq!(stochastic.update(0, [9.0, 5.0, 6.0]), [20.0, 20.0]);
        assert_eq!(stochastic.update(0, [9.0, 5.0, 9.0]), [100.0, 100.0]);
    }

    #[test]
    fn a_range_of_nothing_is_0_in_talib_and_null_elsewhere() {
        for (compat, zero) in [(Compat::Talib, true), (Compat::Tradingview, false), (Compat::Pandas, false)] {
            let mut stochastic = raw(compat);
            stochastic.update(0, [5.0; 3]);
            let [k, d] = stochastic.update(0, [5.0; 3]);
            assert!(if zero { k == 0.0 && d == 0.0 } else { k.is_nan() && d.is_nan() });
        }
    }
}
