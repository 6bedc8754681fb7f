//! Aggregates of rows that are taken back again: exact, and the same in whatever order rows come and go.
//!
//! Sums are integers of 256 bits, so that what was added can be taken away without a trace. What is least, greatest,
//! first or last is found in the values themselves, which are kept as long as they may be taken back.

mod arg;
mod bag;
mod counted;
mod exact;
mod places;
#[cfg(test)]
mod tests;

pub use arg::plan as arg;
pub use bag::{distinct, greatest, least, quantile};
pub use exact::{mean, moments, sum};
pub use places::{first, last};
