//! Average true range.

use serde::{Deserialize, Serialize};

use super::{Argument, Compat, Function, Indicator, States, parts::Wilder};

/// `atr(high, low, close, period)`
pub const FUNCTION: Function = Function {
    name: "atr",
    summary: "Average true range: how far a bar reaches, gaps included.",
    formula: "Wilder's average of max(high - low, |high - last close|, |low - last close|), seeded by the mean of the \
              first `period` ranges (J. Welles Wilder, 1978). TA-Lib ATR.",
    arguments: &[
        Argument::series("high", "the highest price of the bar"),
        Argument::series("low", "the lowest price of the bar"),
        Argument::series("close", "the last price of the bar"),
        Argument::period("period", 1, Some("14"), "the length of Wilder's average in rows"),
    ],
    outputs: &[""],
    dialects: "talib leaves the first bar out, it has no last close; tradingview (ta.atr) takes its high - low and is \
               warm a row earlier; so does pandas, pd.concat([high - low, (high - close.shift()).abs(), (low - \
               close.shift()).abs()], axis=1).max(axis=1).ewm(alpha=1/period, adjust=False).mean(), warm at once.",
    warm_up: |arguments| {
        let period = arguments.period(0);
        Some(match arguments.compat {
            Compat::Talib => period,
            compat => compat.seed(period) - 1,
        })
    },
    build: |arguments| States::boxed(Atr::new(arguments.period(0), arguments.compat)),
};

/// The average true range of one key, in the units of its price.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Atr {
    last_close: Option<f64>,
    range: Wilder,
    counts_first: bool,
}

impl Atr {
    /// Over `period` rows.
    pub fn new(period: usize, compat: Compat) -> Self {
        Self {
            last_close: None,
            range: Wilder::new(period, compat.seed(period)),
            counts_first: compat != Compat::Talib,
        }
    }
}

impl Indicator<3, 1> for Atr {
    #[inline]
    fn feed(&mut self, _: i64, [high, low, close]: [f64; 3]) -> [f64; 1] {
        let range = match self.last_close.replace(close) {
            Some(last) => (high - low).max((high - last).abs()).max((low - last).abs()),
            None if self.counts_first => high - low,
            None => return [f64::NAN],
        };
        [self.range.push(range).unwrap_or(f64::NAN)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_belongs_to_the_range() {
        let mut atr = Atr::new(1, Compat::Talib);
        assert!(atr.update(0, [10.0, 9.0, 9.5])[0].is_nan());
        assert_eq!(atr.update(0, [13.0, 12.0, 12.5]), [3.5]);
        assert_eq!(atr.update(0, [8.0, 7.0, 7.5]), [5.5]);
    }

    #[test]
    fn the_first_bar_counts_where_the_dialect_says_so() {
        for compat in [Compat::Tradingview, Compat::Pandas] {
            assert_eq!(Atr::new(1, compat).update(0, [10.0, 9.0, 9.5]), [1.0]);
        }
    }
}
