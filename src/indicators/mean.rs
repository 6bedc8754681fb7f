//! Rolling mean.

use serde::{Deserialize, Serialize};

use super::{Argument, Function, Indicator, Span, States, sum::Sum};

/// `mean(x, span)`
pub const FUNCTION: Function = Function {
    name: "mean",
    summary: "The mean of a rolling window.",
    formula: "Σ x / n over the last `span` rows, or over the n rows in (t - span, t]. pandas x.rolling(span).mean().",
    arguments: &[Argument::series("x", "what to average"), Argument::window()],
    outputs: &[""],
    dialects: "",
    warm_up: |arguments| arguments.span(0).and_then(Span::warm_up),
    build: |arguments| States::boxed(Mean::new(arguments.span(0).unwrap_or(Span::Rows(1)))),
};

/// The rolling mean of one key, in the units of its input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mean(Sum);

impl Mean {
    /// Over a span of rows or time.
    pub fn new(span: Span) -> Self {
        Self(Sum::new(span))
    }
}

impl Indicator<1, 1> for Mean {
    #[inline]
    fn feed(&mut self, time: i64, x: [f64; 1]) -> [f64; 1] {
        let [sum] = self.0.feed(time, x);
        [sum / self.0.rows() as f64]
    }

    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use crate::indicators::{Compat, testing};

    #[test]
    fn equals_its_definition() {
        let mean = |x: Vec<f64>| vec![x.iter().sum::<f64>() / x.len() as f64];
        testing::by_definition("mean(x, 8)", Compat::Talib, |rows| testing::last(rows, 8).map_or(vec![f64::NAN], mean));
        testing::by_definition("mean(x, '30s')", Compat::Talib, |rows| {
            mean(testing::first(&testing::within(rows, 30)))
        });
    }
}
