//! Aggregates of groups of rows: pure incremental maths, no timely, no I/O.
//!
//! Each is one state a group, kept for all open groups together in an [`Accumulator`]. To add one: its file, its `mod`
//! line, and its line in [`AGGREGATES`].

mod accumulator;
mod arg;
mod count;
mod distinct;
mod extreme;
mod function;
mod mean;
mod moments;
mod order;
mod quantile;
mod reversible;
mod sum;
mod value;

pub use accumulator::{Accumulator, Entries, Place};
pub use function::{Aggregate, Empty, Planned, Rows};

/// All there are, in the order of their names.
pub const AGGREGATES: &[&Aggregate] = &[
    &arg::MAX,
    &arg::MIN,
    &count::COUNT,
    &distinct::COUNT_DISTINCT,
    &order::FIRST,
    &order::LAST,
    &extreme::MAX,
    &mean::MEAN,
    &quantile::MEDIAN,
    &extreme::MIN,
    &quantile::QUANTILE,
    &moments::STDDEV,
    &moments::STDDEV_POP,
    &sum::SUM,
    &moments::VAR_POP,
    &moments::VARIANCE,
];

/// The aggregate of this name, or one that SQL knows it by.
pub fn find(name: &str) -> Option<&'static Aggregate> {
    let name = match name {
        "avg" => "mean",
        "max_by" => "arg_max",
        "min_by" => "arg_min",
        "first_value" => "first",
        "last_value" => "last",
        "stddev_samp" => "stddev",
        "var_samp" | "var" => "variance",
        "quantile_cont" | "percentile_cont" => "quantile",
        other => other,
    };
    AGGREGATES.iter().copied().find(|aggregate| aggregate.name == name)
}
