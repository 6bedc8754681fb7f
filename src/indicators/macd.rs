//! Moving average convergence and divergence.

use serde::{Deserialize, Serialize};

use super::{Argument, Arguments, Compat, Function, Indicator, States, parts::Exponential};

/// `macd(x, fast, slow, signal)`
pub const FUNCTION: Function = Function {
    name: "macd",
    summary: "Moving average convergence divergence: a fast average less a slow one, and its own average.",
    formula: "macd = ema(x, fast) - ema(x, slow); signal = ema(macd, signal); histogram = macd - signal (Gerald \
              Appel). TA-Lib MACD: both averages are seeded at row `slow`, the fast one by the mean of the last `fast` \
              rows there.",
    arguments: &[
        Argument::series("x", "a price"),
        Argument::period("fast", 1, Some("12"), "the length of the fast average in rows"),
        Argument::period("slow", 1, Some("26"), "the length of the slow average in rows"),
        Argument::period("signal", 1, Some("9"), "the length of the average of macd in rows"),
    ],
    outputs: &["", "_signal", "_histogram"],
    dialects: "talib shows all three at once, at row slow + signal - 1, and swaps fast and slow where fast is longer; \
               tradingview (ta.macd) seeds each average with its own first rows and shows macd from row slow on; pandas \
               is x.ewm(span=fast, adjust=False).mean() - x.ewm(span=slow, adjust=False).mean(), its ewm(span=signal, \
               adjust=False).mean() and their difference, warm at once.",
    warm_up: |arguments| {
        let (slow, signal) = (arguments.period(0).max(arguments.period(1)), arguments.period(2));
        let seed = |period| arguments.compat.seed(period);
        Some(seed(slow) + seed(signal) - 2)
    },
    build: |arguments| States::boxed(Macd::new(arguments)),
};

/// MACD of one key: macd, signal and histogram, in the units of its input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Macd {
    fast: Exponential,
    slow: Exponential,
    signal: Exponential,
    /// Rows still to pass before the fast average starts, so that both seeds end with the same row.
    skip: usize,
    /// Whether macd waits for its signal.
    together: bool,
}

impl Macd {
    /// From the periods `fast`, `slow` and `signal`.
    pub fn new(arguments: &Arguments) -> Self {
        let compat = arguments.compat;
        let talib = compat == Compat::Talib;
        let (mut fast, mut slow) = (arguments.period(0), arguments.period(1));
        if talib && fast > slow {
            (fast, slow) = (slow, fast);
        }
        let average = |period| Exponential::new(period, compat.seed(period));
        Self {
            fast: average(fast),
            slow: average(slow),
            signal: average(arguments.period(2)),
            skip: if talib { slow - fast } else { 0 },
            together: talib,
        }
    }
}

impl Indicator<1, 3> for Macd {
    #[inline]
    fn feed(&mut self, _: i64, [x]: [f64; 1]) -> [f64; 3] {
        let slow = self.slow.push(x);
        let fast = if self.skip == 0 {
            self.fast.push(x)
        } else {
            self.skip -= 1;
            None
        };
        let (Some(fast), Some(slow)) = (fast, slow) else {
            return [f64::NAN; 3];
        };
        let macd = fast - slow;
        match self.signal.push(macd) {
            Some(signal) => [macd, signal, macd - signal],
            None if self.together => [f64::NAN; 3],
            None => [macd, f64::NAN, f64::NAN],
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::indicators::{
        Compat,
        testing::{Call, by_definition, first, rows},
    };

    #[test]
    fn pandas_is_the_difference_of_two_averages_from_the_first_row() {
        let average = |x: &[f64], period: f64| {
            let alpha = 2.0 / (period + 1.0);
            x.iter().skip(1).fold(x[0], |value, x| value * (1.0 - alpha) + x * alpha)
        };
        by_definition("macd(x, 3, 6, 4)", Compat::Pandas, |rows| {
            let x = first(rows);
            let macd: Vec<_> = (1..=x.len()).map(|n| average(&x[..n], 3.0) - average(&x[..n], 6.0)).collect();
            let (last, signal) = (macd[macd.len() - 1], average(&macd, 4.0));
            vec![last, signal, last - signal]
        });
    }

    #[test]
    fn tradingview_shows_macd_before_its_signal() {
        let found = Call::parse("macd(x, 3, 6, 4)", Compat::Tradingview).run(&rows(20));
        let position = |output: usize| found.iter().position(|row| !row[output].is_nan());
        assert_eq!([0, 1, 2].map(position), [Some(5), Some(8), Some(8)]);
    }

    #[test]
    fn talib_does_not_mind_which_of_fast_and_slow_comes_first() {
        let [a, b] = ["macd(x, 3, 6, 4)", "macd(x, 6, 3, 4)"].map(|text| Call::parse(text, Compat::Talib));
        assert_eq!(a.run(&rows(30))[20..], b.run(&rows(30))[20..]);
    }
}
