//! What an aggregate says of itself, and how a call of it is typed.

use std::sync::Arc;

use arrow::datatypes::DataType;

use super::Accumulator;
use super::value::held_as;
use crate::formats::type_name;

/// What stands for an aggregate where a window without rows goes on from the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// The last value that its argument had.
    Last,
    /// Zero.
    Zero,
    /// Nothing.
    Null,
}

/// A call that is typed, or what is wrong with it.
pub type Typed = Result<Planned, String>;

/// An aggregate.
pub struct Aggregate {
    /// Its name.
    pub name: &'static str,
    /// How it is written.
    pub signature: &'static str,
    /// A line of help.
    pub summary: &'static str,
    /// How many numbers are written out behind its arguments.
    pub numbers: usize,
    /// Types a call with arguments of these types and these numbers behind them; else says what is wrong.
    pub plan: fn(&[DataType], &[f64]) -> Typed,
    /// The same where rows are taken back again; floats are summed as decimals with so many digits behind the point.
    pub reversible: fn(&[DataType], &[f64], i8) -> Typed,
    /// What it is of no rows, carried on.
    pub empty: Empty,
}

/// A call of an aggregate, typed.
#[derive(Clone)]
pub struct Planned {
    /// What its arguments are cast to.
    pub arguments: Vec<DataType>,
    /// The type of the result.
    pub output: DataType,
    /// Whether it asks for the places of rows.
    pub by_place: bool,
    /// Makes the running aggregate.
    pub build: Arc<dyn Fn() -> Box<dyn Accumulator> + Send + Sync>,
}

/// How the rows of groups come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// They only come.
    Come,
    /// They are taken back, too: floats are summed as decimals with so many digits behind the point.
    ComeAndGo(i8),
}

impl Aggregate {
    /// Types a call with arguments of these types and these numbers behind them; else says what is wrong.
    pub fn plan_for(&self, rows: Rows, kinds: &[DataType], numbers: &[f64]) -> Result<Planned, String> {
        match rows {
            Rows::Come => (self.plan)(kinds, numbers),
            Rows::ComeAndGo(scale) => (self.reversible)(kinds, numbers, scale),
        }
    }
}

/// What holds the one argument of a call, of any type.
pub fn one(kinds: &[DataType]) -> Result<DataType, String> {
    match kinds {
        [kind] => held_as(kind).ok_or_else(|| format!("it takes no {}", type_name(kind))),
        _ => Err(format!("it takes one argument, not {}", kinds.len())),
    }
}

/// What holds the one argument of a call, which must be a number.
pub fn number(kinds: &[DataType]) -> Result<DataType, String> {
    match kinds {
        [kind] if kind.is_numeric() => one(kinds),
        [kind] => Err(format!("it takes a number, not {}", type_name(kind))),
        _ => one(kinds),
    }
}
