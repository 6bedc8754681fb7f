//! Operators: what happens to rows between sources and sinks, one file each.
//!
//! An operator is pure (rows and marks in, rows out; no timely, no I/O, no clock) and is run by the one
//! driver in [`keyed`]. To add one: its file, its `mod` line, and its line in [`KINDS`].

pub mod exchange;
mod filter;
mod indicators;
pub mod keyed;
pub mod order;
pub mod ports;
mod select;
pub mod watermarks;

pub use indicators::{NULL_UNTIL_WARM, signature};

use std::sync::Arc;

use crate::batch::Rows;
use crate::error::Result;
use crate::spec::{Check, Edge, Fields, Port, Refused};

/// Name, one line of help, and how it is read.
#[expect(clippy::type_complexity, reason = "a table, read by its column names above")]
pub const KINDS: &[(&str, &str, fn(&mut Fields<'_>) -> Box<dyn OperatorSpec>)] = &[
    ("filter", "keeps the rows for which a condition is true", filter::read),
    ("indicators", "adds indicators, computed per key, to each row", indicators::read),
    ("select", "makes new rows of expressions", select::read),
];

/// An operator, as written.
pub trait OperatorSpec: Send + Sync {
    /// Checks and types it for rows of `input`; mistakes go to the findings.
    fn plan(&self, input: &Edge, check: &Check<'_>) -> Option<(Edge, Arc<dyn OperatorPlan>)>;
}

/// Where an operator takes its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// Wherever they are, in any order of epochs: it keeps no state.
    Anywhere,
    /// At the worker that owns their key, epochs in order.
    ByKey,
}

/// An operator, checked and typed.
pub trait OperatorPlan: Send + Sync {
    /// Where it takes its rows.
    fn routing(&self) -> Routing;
    /// The running operator; this cannot fail.
    fn build(&self) -> Box<dyn Operator>;
    /// Its further outputs: the first one is port 1.
    fn ports(&self) -> Vec<Port> {
        Vec::new()
    }
    /// Lines for `explain`.
    fn details(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What an operator has made of its input.
#[derive(Default)]
pub struct Output {
    /// Rows, in order.
    pub rows: Vec<Rows>,
    /// Rows of further outputs, and their ports; what nobody reads is thrown away.
    pub further: Vec<(usize, Rows)>,
    /// How many rows were kept back because not all of the operator was warm.
    pub held_back: u64,
    /// Rows on which an expression failed.
    pub refused: Vec<Refused>,
}

/// A running operator, on one worker.
pub trait Operator {
    /// Takes rows, at least one, in order.
    fn rows(&mut self, rows: Rows, out: &mut Output) -> Result<()>;
    /// Event time has passed `time` (ns since 1970 UTC) everywhere upstream.
    fn watermark(&mut self, _time: i64, _out: &mut Output) -> Result<()> {
        Ok(())
    }
}
