//! Rate of change.

use serde::{Deserialize, Serialize};

use super::{Argument, Compat, Function, Indicator, States, parts::Ring};

/// `roc(x, period)`
pub const FUNCTION: Function = Function {
    name: "roc",
    summary: "Rate of change: the move since `period` rows ago in percent.",
    formula: "100 * (x[0] / x[period] - 1), x[0] being the present row. TA-Lib ROC, Pine ta.roc(x, period), pandas 100 \
              * x.pct_change(period).",
    arguments: &[Argument::series("x", "a price"), Argument::period("period", 1, Some("10"), "how many rows back")],
    outputs: &[""],
    dialects: "Where the earlier value is 0, talib gives 0, the others null (pandas itself: inf).",
    warm_up: |arguments| Some(arguments.period(0)),
    build: |arguments| States::boxed(Roc::new(arguments.period(0), arguments.compat)),
};

/// The rate of change of one key, in percent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Roc {
    ring: Ring,
    zero_is_zero: bool,
}

impl Roc {
    /// Since `period` rows ago.
    pub fn new(period: usize, compat: Compat) -> Self {
        Self { ring: Ring::new(period), zero_is_zero: compat == Compat::Talib }
    }
}

impl Indicator<1, 1> for Roc {
    #[inline]
    fn feed(&mut self, _: i64, [x]: [f64; 1]) -> [f64; 1] {
        [match self.ring.push(x) {
            Some(0.0) if self.zero_is_zero => 0.0,
            None | Some(0.0) => f64::NAN,
            Some(old) => (x / old - 1.0) * 100.0,
        }]
    }

    fn heap_bytes(&self) -> usize {
        self.ring.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_move_in_percent() {
        let mut roc = Roc::new(1, Compat::Talib);
        assert!(roc.update(0, [4.0])[0].is_nan());
        assert_eq!(roc.update(0, [5.0]), [25.0]);
        assert_eq!(roc.update(0, [0.0]), [-100.0]);
        assert_eq!(roc.update(0, [5.0]), [0.0]);
    }
}
