//! Momentum.

use serde::{Deserialize, Serialize};

use super::{Argument, Function, Indicator, States, parts::Ring};

/// `momentum(x, period)`
pub const FUNCTION: Function = Function {
    name: "momentum",
    summary: "Momentum: the move since `period` rows ago.",
    formula: "x[0] - x[period], x[0] being the present row. TA-Lib MOM, Pine ta.mom(x, period), pandas x.diff(period).",
    arguments: &[Argument::series("x", "a price"), Argument::period("period", 1, Some("10"), "how many rows back")],
    outputs: &[""],
    dialects: "",
    warm_up: |arguments| Some(arguments.period(0)),
    build: |arguments| States::boxed(Momentum::new(arguments.period(0))),
};

/// The momentum of one key, in the units of its input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Momentum(Ring);

impl Momentum {
    /// Since `period` rows ago.
    pub fn new(period: usize) -> Self {
        Self(Ring::new(period))
    }
}

impl Indicator<1, 1> for Momentum {
    #[inline]
    fn feed(&mut self, _: i64, [x]: [f64; 1]) -> [f64; 1] {
        [self.0.push(x).map_or(f64::NAN, |old| x - old)]
    }

    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_move_since_then() {
        let mut momentum = Momentum::new(2);
        let found = [1.0, 2.0, 5.0, 1.0].map(|x| momentum.update(0, [x])[0]);
        assert!(found[1].is_nan());
        assert_eq!(found[2..], [4.0, -1.0]);
    }
}
