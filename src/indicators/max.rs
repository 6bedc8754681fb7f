//! Rolling maximum.

use super::{Argument, Function, Span, States, parts::Highest};

/// `max(x, span)`
pub const FUNCTION: Function = Function {
    name: "max",
    summary: "The greatest value of a rolling window.",
    formula: "max(x) over the last `span` rows, or over the rows in (t - span, t]. TA-Lib MAX, Pine ta.highest(x, \
              span), pandas x.rolling(span).max().",
    arguments: &[Argument::series("x", "what to compare"), Argument::window()],
    outputs: &[""],
    dialects: "",
    warm_up: |arguments| arguments.span(0).and_then(Span::warm_up),
    build: |arguments| States::boxed(Highest::new(arguments.span(0).unwrap_or(Span::Rows(1)))),
};

#[cfg(test)]
mod tests {
    use crate::indicators::{Compat, testing};

    #[test]
    fn equals_its_definition() {
        let greatest = |x: Vec<f64>| vec![x.into_iter().fold(f64::NEG_INFINITY, f64::max)];
        testing::by_definition("max(x, 8)", Compat::Talib, |rows| {
            testing::last(rows, 8).map_or(vec![f64::NAN], greatest)
        });
        testing::by_definition("max(x, '30s')", Compat::Talib, |rows| {
            greatest(testing::first(&testing::within(rows, 30)))
        });
    }
}
