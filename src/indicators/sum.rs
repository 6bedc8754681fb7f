//! Rolling sum.

use serde::{Deserialize, Serialize};

use super::{Argument, Function, Indicator, Span, States, parts};

/// `sum(x, span)`
pub const FUNCTION: Function = Function {
    name: "sum",
    summary: "The sum of a rolling window.",
    formula: "Σ x over the last `span` rows, or over the rows in (t - span, t]. TA-Lib SUM, pandas \
              x.rolling(span).sum().",
    arguments: &[Argument::series("x", "what to add up"), Argument::window()],
    outputs: &[""],
    dialects: "",
    warm_up: |arguments| arguments.span(0).and_then(Span::warm_up),
    build: |arguments| States::boxed(Sum::new(arguments.span(0).unwrap_or(Span::Rows(1)))),
};

/// The rolling sum of one key, in the units of its input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sum {
    window: parts::Window<f64>,
    sum: parts::Sum,
}

impl Sum {
    /// Over a span of rows or time.
    pub fn new(span: Span) -> Self {
        Self { window: parts::Window::new(span), sum: parts::Sum::default() }
    }

    /// The number of rows in the window.
    pub(super) fn rows(&self) -> usize {
        self.window.len()
    }
}

impl Indicator<1, 1> for Sum {
    #[inline]
    fn feed(&mut self, time: i64, [x]: [f64; 1]) -> [f64; 1] {
        self.window.push(time, x);
        while let Some(old) = self.window.pop() {
            self.sum.subtract(old);
        }
        self.sum.add(x);
        if self.window.has_turned() {
            self.sum = self.window.iter().copied().collect();
        }
        [if self.window.is_warm() { self.sum.value() } else { f64::NAN }]
    }

    fn heap_bytes(&self) -> usize {
        self.window.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::{Compat, testing};

    #[test]
    fn equals_its_definition() {
        let total = |x: Vec<f64>| vec![x.iter().sum()];
        testing::by_definition("sum(x, 8)", Compat::Talib, |rows| testing::last(rows, 8).map_or(vec![f64::NAN], total));
        testing::by_definition("sum(x, '30s')", Compat::Talib, |rows| {
            total(testing::first(&testing::within(rows, 30)))
        });
    }

    #[test]
    fn a_bad_tick_is_forgotten() {
        for span in [Span::Rows(4), Span::Time(4)] {
            let mut sum = Sum::new(span);
            sum.update(0, [1e99]);
            let found = (1..20).map(|time| sum.update(time, [0.1])[0]).last();
            assert_eq!(found, Some(0.4));
        }
    }
}
