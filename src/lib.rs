//! tapeflow: a dataflow-graph stream processor for market data.
//!
//! The modules follow the path of a record:
//!
//! - [`spec`]: a dataflow file becomes a checked and typed plan;
//! - [`batch`], [`keys`]: what travels on every edge, and how it finds its worker;
//! - [`sources`], [`formats`]: where rows come from, and how bytes become columns;
//! - [`operators`], [`indicators`], [`aggregates`]: what happens to them;
//! - [`calendars`]: when exchanges trade;
//! - [`sinks`]: where they go; [`kafka`]: what everything that speaks to Kafka has in common;
//! - [`state`]: what outlives a process: snapshots, checkpoints, the store that keeps them;
//! - [`runtime`]: plans become timely dataflows and run, in one process or in a cluster;
//! - [`server`]: the control plane;
//! - [`tls`]: who is believed;
//! - [`memory`]: about how much of it state takes;
//! - [`config`], [`metrics`], [`error`], [`cli`]: what users see.
//!
//! ```
//! use tapeflow::spec::{Files, Format, Plan, explain};
//!
//! let file = r#"
//!     version = 1
//!     name = "example"
//!     [sources.ticks]
//!     type = "generator"
//!     [operators.means]
//!     type = "indicators"
//!     input = "ticks"
//!     columns = { sma_5 = "sma(price, 5)" }
//!     [sinks.out]
//!     type = "discard"
//!     input = "means"
//! "#;
//! let (plan, _spec, warnings) = Plan::of("example.toml".as_ref(), file, &Files::default())?;
//! assert!(warnings.list.is_empty());
//! assert!(explain(&plan, Format::Text).contains("sma_5"));
//! # Ok::<(), tapeflow::Error>(())
//! ```

pub mod aggregates;
pub mod batch;
pub mod calendars;
pub mod cli;
pub mod config;
pub mod error;
pub mod formats;
pub mod indicators;
pub mod kafka;
pub mod keys;
pub mod memory;
pub mod metrics;
pub mod operators;
pub mod runtime;
mod sabotage;
pub mod server;
pub mod sinks;
pub mod sources;
pub mod spec;
pub mod state;
pub mod tls;

pub use error::{Error, Result};
