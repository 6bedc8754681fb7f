//! Operators: what happens to rows between sources and sinks, one file each.
//!
//! An operator is pure (rows and marks in, rows out; no timely, no I/O, no clock) and is run by the one
//! driver in [`keyed`]. To add one: its file, its `mod` line, and its line in [`KINDS`].

mod aggregate;
mod alert;
mod by;
mod by_key;
mod calls;
pub mod changes;
pub mod corrections;
mod distinct;
pub mod epochs;
pub mod exchange;
mod filter;
mod formulas;
pub mod gate;
mod held;
mod indicators;
mod join;
mod kept;
pub mod keyed;
mod latest;
mod moves;
pub mod order;
mod places;
pub mod ports;
mod rank;
mod replay;
mod select;
pub mod settings;
mod size;
pub mod state;
#[cfg(test)]
mod testing;
pub mod watermarks;
mod window;

pub use alert::FUNCTIONS as ALERT_FUNCTIONS;
pub use calls::signature;
pub use indicators::NULL_UNTIL_WARM;
pub use settings::Settable;

use std::sync::Arc;

use crate::batch::Rows;
use crate::error::{Error, Result};
use crate::sources::lanes::Lanes;
use crate::spec::{At, Check, Edge, Fields, Port, Refused};
use crate::state::Draft;

/// Name, one line of help, and how it is read.
#[expect(clippy::type_complexity, reason = "a table, read by its column names above")]
pub const KINDS: &[(&str, &str, fn(&mut Fields<'_>) -> Box<dyn OperatorSpec>)] = &[
    ("aggregate", "keeps what the rows of each group come to: for all time, or over a span of it", aggregate::read),
    ("alert", "tells of rows for which a condition becomes true", alert::read),
    ("distinct", "leaves out rows whose id came before", distinct::read),
    ("filter", "keeps the rows for which a condition is true", filter::read),
    ("indicators", "adds indicators, computed per key, to each row", indicators::read),
    ("join", "adds columns of the rows of another node, or of a table", join::read),
    ("latest", "keeps the newest row of each key", latest::read),
    (
        "pivot",
        "makes a column of each value that another column has: aggregates of the rows that have it",
        aggregate::pivot,
    ),
    ("rank", "keeps the first rows of each group in an order", rank::read),
    ("select", "makes new rows of expressions", select::read),
    ("window", "makes one row of all rows of a key in an interval of event time", window::read),
];

/// The left side of an operator, and the only one of most.
pub const LEFT: usize = 0;
/// The right side of a join.
pub const RIGHT: usize = 1;

/// An operator, as written.
pub trait OperatorSpec: Send + Sync {
    /// The nodes whose rows it takes, where they are not its `input`: that on its left side, and that on its right side if
    /// there is one.
    fn sides(&self) -> Option<Vec<At<String>>> {
        None
    }
    /// Checks and types it for rows of `input`; mistakes go to the findings.
    fn plan(&self, name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<(Edge, Arc<dyn OperatorPlan>)>;
    /// Likewise, for rows on two sides.
    fn join(&self, _left: &Edge, _right: &Edge, _check: &Check<'_>) -> Option<(Edge, Arc<dyn OperatorPlan>)> {
        None
    }
}

/// An operator, checked and typed.
pub trait OperatorPlan: Send + Sync {
    /// The running operator, on one worker.
    fn build(&self, context: &BuildContext) -> Result<Built>;
    /// By which columns the rows of its left and of its right side are brought together, where it has two.
    fn sides(&self) -> Option<[Vec<usize>; 2]> {
        None
    }
    /// Whether its rows are appended in an order of their own, [`ORDER`](crate::sources::ORDER) and then `seq`, rather than
    /// that of the rows it takes.
    fn appends_by_time(&self) -> bool {
        false
    }
    /// Whether a row whose place in that order is behind its event time has come late; else it may be known by where it
    /// begins and be told where it ends.
    fn shows_lateness(&self) -> bool {
        true
    }
    /// What can be set of it while its job runs, if something can.
    fn settable(&self) -> Option<&dyn Settable> {
        None
    }
    /// Its further outputs: the first one is port 1.
    fn ports(&self) -> Vec<Port> {
        Vec::new()
    }
    /// Lines for `explain`.
    fn details(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Where an operator runs.
#[derive(Clone, Debug, Default)]
pub struct BuildContext {
    /// The position of its node in the plan.
    pub node: u16,
    /// Where rows stand in the sources of the job.
    pub lanes: Arc<Lanes>,
}

/// A running operator, on one worker.
pub enum Built {
    /// Takes rows wherever they are, in any order of epochs: it keeps no state.
    Stateless(Box<dyn Transform>),
    /// Takes rows at the worker that owns their key, epochs in order, and its state is kept in checkpoints.
    Keyed(Box<dyn Operator>),
    /// Is made of several, one behind the other.
    Staged(Vec<Stage>),
}

/// One of several operators that together are a node.
pub struct Stage {
    /// What it is called behind the name of the node and a point; nothing for the last one, which is the node.
    pub name: &'static str,
    /// The rows that it takes, and the key by which it takes them.
    pub input: Edge,
    /// The operator.
    pub built: Built,
}

impl Stage {
    /// What it is called, and its state is kept under, as part of `node`.
    pub fn name_in(&self, node: &str) -> String {
        if self.name.is_empty() { node.to_string() } else { format!("{node}.{}", self.name) }
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
    /// How many rows came too late.
    pub late: u64,
    /// How many were of a time at which the exchange is closed.
    pub outside: u64,
    /// How many cancelled or corrected trades that are not there.
    pub unmatched: u64,
    /// How many were left out because their id had come before.
    pub repeats: u64,
    /// Rows on which an expression failed.
    pub refused: Vec<Refused>,
}

/// An operator without state.
pub trait Transform {
    /// Takes rows, at least one.
    fn rows(&mut self, rows: Rows, out: &mut Output) -> Result<()>;
}

/// An operator with state. What it keeps between rows is part of every checkpoint: there is no default for that, so that
/// it cannot be forgotten.
pub trait Operator {
    /// Takes rows, at least one, in order; of an operator with two sides, those of the left one.
    fn rows(&mut self, rows: Rows, out: &mut Output) -> Result<()>;
    /// Likewise those of the right side: in each epoch they come behind those of the left one.
    fn right(&mut self, _rows: Rows, _out: &mut Output) -> Result<()> {
        Err(Error::run("rows have come on a side that it does not have"))
    }
    /// Event time has passed `time` (ns since 1970 UTC) upstream of one side, [`LEFT`] or [`RIGHT`].
    fn side_passed(&mut self, _side: usize, _time: i64) {}
    /// Event time has passed `time` (ns since 1970 UTC) everywhere upstream. Returns up to where it has passed behind this
    /// operator: no row with an earlier event time is appended any more.
    fn watermark(&mut self, time: i64, _out: &mut Output) -> Result<i64> {
        Ok(time)
    }
    /// All rows of an epoch have come: what is told of once an epoch is told now. There is a first one, on every worker, before
    /// any row comes.
    fn end_of_epoch(&mut self, _out: &mut Output) -> Result<()> {
        Ok(())
    }
    /// Something of its node is set: what comes from now on is taken by it. Checked before.
    fn set(&mut self, _text: &str) -> Result<()> {
        Ok(())
    }
    /// About how many bytes of memory its state takes. It is asked now and then, by the worker: samples of it must do.
    fn bytes(&self) -> usize;
    /// What its state is called, and the version of its format.
    fn state(&self) -> StateKind;
    /// Begins to tell of every key whose state has changed since this was called last, or was put back, or of all keys if
    /// `full`: as it is now, whatever rows come meanwhile. [`changes::Changes`] does that.
    fn begin_snapshot(&mut self, full: bool);
    /// Goes on with it, for about so many keys; all of it, once, when it is complete.
    fn snapshot(&mut self, keys: usize) -> Result<Option<Draft>>;
    /// Puts back the state of one key, from what a snapshot of the same kind of state holds.
    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<()>;
}

/// What the bytes of a state mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateKind {
    /// Its name; with what it depends on, such as the arguments of indicators.
    pub name: String,
    /// The version of its format.
    pub version: u16,
}
