//! Rolling count.

use serde::{Deserialize, Serialize};

use super::{Argument, Function, Indicator, Span, States, parts::Window};

/// `count(x, span)`
pub const FUNCTION: Function = Function {
    name: "count",
    summary: "The number of rows in a rolling window in which x is not null.",
    formula: "n over the rows in (t - span, t]; over rows it is `span` once there are as many. pandas \
              x.rolling(span).count().",
    arguments: &[Argument::series("x", "what to count"), Argument::window()],
    outputs: &[""],
    dialects: "",
    warm_up: |arguments| arguments.span(0).and_then(Span::warm_up),
    build: |arguments| States::boxed(Count::new(arguments.span(0).unwrap_or(Span::Rows(1)))),
};

/// The rolling count of one key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Count(Window<()>);

impl Count {
    /// Over a span of rows or time.
    pub fn new(span: Span) -> Self {
        Self(Window::new(span))
    }
}

impl Indicator<1, 1> for Count {
    #[inline]
    fn feed(&mut self, time: i64, _: [f64; 1]) -> [f64; 1] {
        self.0.push(time, ());
        while self.0.pop().is_some() {}
        [if self.0.is_warm() { self.0.len() as f64 } else { f64::NAN }]
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
        testing::by_definition("count(x, 8)", Compat::Talib, |rows| vec![if rows.len() < 8 { f64::NAN } else { 8.0 }]);
        testing::by_definition("count(x, '30s')", Compat::Talib, |rows| vec![testing::within(rows, 30).len() as f64]);
    }
}
