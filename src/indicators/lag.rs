//! An earlier value.

use serde::{Deserialize, Serialize};

use super::{Argument, Function, Indicator, States, parts::Ring};

/// `lag(x, n)`
pub const FUNCTION: Function = Function {
    name: "lag",
    summary: "The value `n` rows ago; rows in which x is null do not count.",
    formula: "x[n], x[0] being the present row. SQL lag(x, n), Pine x[n], pandas x.shift(n).",
    arguments: &[
        Argument::series("x", "what to look back at"),
        Argument::period("n", 1, Some("1"), "how many rows back"),
    ],
    outputs: &[""],
    dialects: "",
    warm_up: |arguments| Some(arguments.period(0)),
    build: |arguments| States::boxed(Lag::new(arguments.period(0))),
};

/// The earlier value of one key, in the units of its input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lag(Ring);

impl Lag {
    /// By `rows` rows.
    pub fn new(rows: usize) -> Self {
        Self(Ring::new(rows))
    }
}

impl Indicator<1, 1> for Lag {
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
    use super::*;

    #[test]
    fn a_value_is_seen_again_n_rows_later() {
        let mut lag = Lag::new(2);
        let found = [1.0, 2.0, 3.0, 4.0].map(|x| lag.update(0, [x])[0]);
        assert!(found[0].is_nan() && found[1].is_nan());
        assert_eq!(found[2..], [1.0, 2.0]);
    }
}
