//! Rolling minimum.

use super::{Argument, Function, Span, States, parts::Lowest};

/// `min(x, span)`
pub const FUNCTION: Function = Function {
    name: "min",
    summary: "The least value of a rolling window.",
    formula: "min(x) over the last `span` rows, or over the rows in (t - span, t]. TA-Lib MIN, Pine ta.lowest(x, \
              span), pandas x.rolling(span).min().",
    arguments: &[Argument::series("x", "what to compare"), Argument::window()],
    outputs: &[""],
    dialects: "",
    warm_up: |arguments| arguments.span(0).and_then(Span::warm_up),
    build: |arguments| States::boxed(Lowest::new(arguments.span(0).unwrap_or(Span::Rows(1)))),
};

#[cfg(test)]
mod tests {
    use crate::indicators::{Compat, testing};

    #[test]
    fn equals_its_definition() {
        let least = |x: Vec<f64>| vec![x.into_iter().fold(f64::INFINITY, f64::min)];
        testing::by_definition("min(x, 8)", Compat::Talib, |rows| testing::last(rows, 8).map_or(vec![f64::NAN], least));
        testing::by_definition("min(x, '30s')", Compat::Talib, |rows| {
            least(testing::first(&testing::within(rows, 30)))
        });
    }
}
