//! Relative strength index.

use serde::{Deserialize, Serialize};

use super::{Argument, Compat, Function, Indicator, States, parts::Wilder};

/// `rsi(x, period)`
pub const FUNCTION: Function = Function {
    name: "rsi",
    summary: "Relative strength index: the share of rises in recent moves, from 0 to 100.",
    formula: "100 * gain / (gain + loss), Wilder's averages of the rises and falls from row to row, seeded by the mean \
              of the first `period` moves (J. Welles Wilder, 1978). TA-Lib RSI.",
    arguments: &[
        Argument::series("x", "a price"),
        Argument::period("period", 2, Some("14"), "the length of Wilder's averages in rows"),
    ],
    outputs: &[""],
    dialects: "A series without any move gives 0 in talib; 100 in tradingview, otherwise equal: ta.rsi(x, period); 50 \
               in pandas, where up = x.diff().clip(lower=0).ewm(alpha=1/period, adjust=False).mean(), down alike, and \
               the result (100 * up / (up + down)).where(up + down != 0, 50), warm at the second row.",
    warm_up: |arguments| Some(arguments.compat.seed(arguments.period(0))),
    build: |arguments| States::boxed(Rsi::new(arguments.period(0), arguments.compat)),
};

/// The relative strength index of one key, 0 to 100.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rsi {
    last: Option<f64>,
    gain: Wilder,
    loss: Wilder,
    flat: f64,
}

impl Rsi {
    /// Over `period` rows.
    pub fn new(period: usize, compat: Compat) -> Self {
        let average = Wilder::new(period, compat.seed(period));
        Self {
            last: None,
            gain: average.clone(),
            loss: average,
            flat: match compat {
                Compat::Talib => 0.0,
                Compat::Tradingview => 100.0,
                Compat::Pandas => 50.0,
            },
        }
    }
}

impl Indicator<1, 1> for Rsi {
    #[inline]
    fn feed(&mut self, _: i64, [x]: [f64; 1]) -> [f64; 1] {
        let Some(last) = self.last.replace(x) else {
            return [f64::NAN];
        };
        let gain = self.gain.push((x - last).max(0.0));
        let loss = self.loss.push((last - x).max(0.0));
        let (Some(gain), Some(loss)) = (gain, loss) else {
            return [f64::NAN];
        };
        let moves = gain + loss;
        [if moves == 0.0 { self.flat } else { 100.0 * (gain / moves) }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing;

    fn last(values: impl IntoIterator<Item = f64>, compat: Compat) -> f64 {
        let mut rsi = Rsi::new(3, compat);
        values.into_iter().fold(f64::NAN, |_, x| rsi.update(0, [x])[0])
    }

    #[test]
    fn rsi_is_100_when_price_only_rises() {
        assert_eq!(last((1..9).map(f64::from), Compat::Talib), 100.0);
    }

    #[test]
    fn rsi_is_0_when_price_only_falls() {
        assert_eq!(last((1..9).rev().map(f64::from), Compat::Talib), 0.0);
    }

    #[test]
    fn a_flat_price_is_what_the_dialect_makes_of_it() {
        assert_eq!(last([5.0; 9], Compat::Talib), 0.0);
        assert_eq!(last([5.0; 9], Compat::Tradingview), 100.0);
        assert_eq!(last([5.0; 9], Compat::Pandas), 50.0);
    }

    #[test]
    fn a_fall_after_rises_is_measured_from_the_row_before() {
        // Moves of +2, +2, -1: gain 4/3, loss 1/3.
        assert_eq!(last([1.0, 3.0, 5.0, 4.0], Compat::Talib), 80.0);
    }

    #[test]
    fn equals_its_definition() {
        testing::by_definition("rsi(x, 4)", Compat::Talib, |rows| {
            let x = testing::first(rows);
            let moves: Vec<_> = x.windows(2).map(|pair| pair[1] - pair[0]).collect();
            if moves.len() < 4 {
                return vec![f64::NAN];
            }
            let average = |part: fn(f64) -> f64| {
                let seed = moves[..4].iter().map(|&m| part(m)).sum::<f64>() / 4.0;
                moves[4..].iter().fold(seed, |value, &m| value * 0.75 + part(m) * 0.25)
            };
            let (gain, loss) = (average(|m| m.max(0.0)), average(|m| (-m).max(0.0)));
            vec![100.0 - 100.0 / (1.0 + gain / loss)]
        });
    }
}
