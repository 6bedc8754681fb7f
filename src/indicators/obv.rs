//! On-balance volume.

use serde::{Deserialize, Serialize};

use super::{Argument, Compat, Function, Indicator, States, parts::Sum};

/// `obv(close, volume)`
pub const FUNCTION: Function = Function {
    name: "obv",
    summary: "On-balance volume: the volume of rising rows less that of falling ones, since the first row.",
    formula: "obv += volume where close rose, -= volume where it fell (Joseph Granville). TA-Lib OBV, which starts \
              with the first volume.",
    arguments: &[Argument::series("close", "a price"), Argument::series("volume", "a volume")],
    outputs: &[""],
    dialects: "tradingview (ta.obv) and pandas, (np.sign(close.diff()).fillna(0) * volume).cumsum(), start with 0.",
    warm_up: |_| Some(0),
    build: |arguments| States::boxed(Obv::new(arguments.compat)),
};

/// The on-balance volume of one key, in the units of its volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Obv {
    last: Option<f64>,
    total: Sum,
    counts_first: bool,
}

impl Obv {
    /// Before the first row.
    pub fn new(compat: Compat) -> Self {
        Self { last: None, total: Sum::default(), counts_first: compat == Compat::Talib }
    }
}

impl Indicator<2, 1> for Obv {
    #[inline]
    fn feed(&mut self, _: i64, [close, volume]: [f64; 2]) -> [f64; 1] {
        match self.last.replace(close) {
            Some(last) if close > last => self.total.add(volume),
            Some(last) if close < last => self.total.subtract(volume),
            None if self.counts_first => self.total.add(volume),
            _ => {}
        }
        [self.total.value()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_counts_with_the_sign_of_the_move() {
        let run = |compat| {
            let mut obv = Obv::new(compat);
            [[5.0, 10.0], [6.0, 20.0], [6.0, 30.0], [4.0, 40.0]].map(|row| obv.update(0, row)[0])
        };
        assert_eq!(run(Compat::Talib), [10.0, 30.0, 30.0, -10.0]);
        assert_eq!(run(Compat::Pandas), [0.0, 20.0, 20.0, -20.0]);
    }
}
