//! Pure incremental indicators: a row of one key in, the values of that row out. No timely, no Arrow, no I/O, no
//! clock.
//!
//! An [`Indicator`] is the state of one key. [`States`] keeps one for each key and is what a node of a
//! dataflow calls, a batch at a time, as a [`Column`]. A [`Function`] declares an indicator to the user:
//! [`find`] it by name, [`check`](check()) the literals of the call, build the column.
//!
//! Adding an indicator is one new file, its `mod` line and its line in [`FUNCTIONS`]. A file reads: what it computes,
//! the declaration, the state. What several share is in `parts`.
//!
//! ```
//! use tapeflow::indicators::{Compat, Literal, check, find};
//!
//! let sma = find("sma").ok_or("no such function")?;
//! let arguments = check(sma, &[Literal::Integer(2)], Compat::Talib).map_err(|m| m.message)?;
//! let mut column = (sma.build)(&arguments);
//! let mut out = [Vec::new()];
//! // Three rows of key 0 and one of key 1.
//! column.update(&[0, 1, 0, 0], &[1, 2, 3, 4], &[&[1.0, 9.0, 3.0, 5.0]], &mut out);
//! assert!(out[0][0].is_nan() && out[0][1].is_nan());
//! assert_eq!(out[0][2..], [2.0, 4.0]);
//! # Ok::<(), String>(())
//! ```

mod check;
mod column;
mod compat;
mod function;
mod indicator;
mod parts;
mod span;
#[cfg(test)]
mod testing;

pub mod atr;
pub mod bollinger;
pub mod count;
pub mod ema;
pub mod lag;
pub mod macd;
pub mod max;
pub mod mean;
pub mod min;
pub mod momentum;
pub mod obv;
pub mod quantile;
pub mod roc;
pub mod rsi;
pub mod sma;
pub mod stddev;
pub mod stochastic;
pub mod sum;
pub mod vwap;
pub mod wma;

pub use check::{Literal, Mistake, check};
pub use column::{Column, States};
pub use compat::Compat;
pub use function::{Argument, ArgumentKind, Arguments, Function, MAX_ROWS, Value};
pub use indicator::{Indicator, LIMIT};
pub use parts::Sum as StableSum;
pub use span::Span;

/// Every function, by name.
pub const FUNCTIONS: &[&Function] = &[
    &atr::FUNCTION,
    &bollinger::FUNCTION,
    &count::FUNCTION,
    &ema::FUNCTION,
    &lag::FUNCTION,
    &macd::FUNCTION,
    &max::FUNCTION,
    &mean::FUNCTION,
    &min::FUNCTION,
    &momentum::FUNCTION,
    &obv::FUNCTION,
    &quantile::FUNCTION,
    &roc::FUNCTION,
    &rsi::FUNCTION,
    &sma::FUNCTION,
    &stddev::FUNCTION,
    &stochastic::FUNCTION,
    &sum::FUNCTION,
    &vwap::FUNCTION,
    &wma::FUNCTION,
];

/// The function of that name.
pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().copied().find(|function| function.name == name)
}
