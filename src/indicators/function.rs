//! How an indicator is declared: its name, arguments and outputs, and how its states are built.

use super::{Column, Compat, Span};

/// The longest period or window of rows that can be asked for, the limit of TA-Lib too.
pub const MAX_ROWS: usize = 100_000;

/// What a user may call in `columns` of an `indicators` node.
#[derive(Debug)]
pub struct Function {
    /// The name it is called by, such as `rsi`.
    pub name: &'static str,
    /// What it tells, in one line.
    pub summary: &'static str,
    /// The formula, and where it comes from.
    pub formula: &'static str,
    /// Its arguments: the series first, the literals after.
    pub arguments: &'static [Argument],
    /// The suffixes of its output columns: `[""]` for one, `["", "_signal", "_histogram"]` for MACD.
    pub outputs: &'static [&'static str],
    /// How the dialects differ, in one line; empty where they do not.
    pub dialects: &'static str,
    /// Rows before the first row with all outputs; `None` where a stretch of time is looked back over, of which the
    /// first row is enough.
    pub warm_up: fn(&Arguments) -> Option<usize>,
    /// The states for all keys, none yet.
    pub build: fn(&Arguments) -> Box<dyn Column>,
}

impl Function {
    /// The arguments that are series, in order.
    pub fn series(&self) -> impl Iterator<Item = &Argument> {
        let is_series = |argument: &&Argument| matches!(argument.kind, ArgumentKind::Series);
        self.arguments.iter().filter(is_series)
    }

    /// The arguments that are literals, in order.
    pub fn literals(&self) -> impl Iterator<Item = &Argument> {
        let is_literal = |argument: &&Argument| !matches!(argument.kind, ArgumentKind::Series);
        self.arguments.iter().filter(is_literal)
    }
}

/// One argument of a [`Function`].
#[derive(Debug)]
pub struct Argument {
    /// Its name, for documentation and messages.
    pub name: &'static str,
    /// What may stand there.
    pub kind: ArgumentKind,
    /// What stands there if nothing is written: `None` where something must be, and an empty text where
    /// the argument may simply be absent.
    pub default: Option<&'static str>,
    /// What it means, in one line.
    pub doc: &'static str,
}

impl Argument {
    /// A series: a column or an expression of the rows.
    pub const fn series(name: &'static str, doc: &'static str) -> Self {
        let kind = ArgumentKind::Series;
        Self { name, kind, default: None, doc }
    }

    /// A number of rows from `min` to [`MAX_ROWS`].
    pub const fn period(name: &'static str, min: usize, default: Option<&'static str>, doc: &'static str) -> Self {
        let kind = ArgumentKind::Period { min, max: MAX_ROWS };
        Self { name, kind, default, doc }
    }

    /// A window of rows or time, required.
    pub const fn window() -> Self {
        Self::span("span", None, "how many rows (null until there are as many), or a duration (warm at the first row)")
    }

    /// A window of rows or time.
    pub const fn span(name: &'static str, default: Option<&'static str>, doc: &'static str) -> Self {
        let kind = ArgumentKind::Span;
        Self { name, kind, default, doc }
    }

    /// A number from `min` to `max`.
    pub const fn number(
        name: &'static str,
        (min, max): (f64, f64),
        default: Option<&'static str>,
        doc: &'static str,
    ) -> Self {
        let kind = ArgumentKind::Number { min, max };
        Self { name, kind, default, doc }
    }
}

/// What may stand in the place of an [`Argument`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ArgumentKind {
    /// A series: one value a row.
    Series,
    /// A literal number of rows.
    Period {
        /// The least that makes sense.
        min: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// A literal number of rows, or a duration as text such as `'5m'`.
    Span,
    /// A literal number.
    Number {
        /// The least that is allowed.
        min: f64,
        /// The most that is allowed.
        max: f64,
    },
}

/// A checked literal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A number of rows.
    Period(usize),
    /// A window of rows or time.
    Span(Span),
    /// A number.
    Number(f64),
}

/// The literals of one call as [`check`](super::check()) leaves them: in order, series left out, defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Arguments {
    /// The literals; shorter than the declaration where the last may be absent and is.
    pub values: Vec<Value>,
    /// The dialect.
    pub compat: Compat,
}

impl Arguments {
    /// The literal at `index` as a period, never 0; 1 where the declaration has none there.
    pub fn period(&self, index: usize) -> usize {
        match self.values.get(index) {
            Some(Value::Period(period)) => (*period).max(1),
            _ => 1,
        }
    }

    /// The literal at `index` as a span, if there is one.
    pub fn span(&self, index: usize) -> Option<Span> {
        match self.values.get(index) {
            Some(Value::Span(span)) => Some(*span),
            _ => None,
        }
    }

    /// The literal at `index` as a number; NaN where the declaration has none there.
    pub fn number(&self, index: usize) -> f64 {
        match self.values.get(index) {
            Some(Value::Number(number)) => *number,
            _ => f64::NAN,
        }
    }
}
