//! What every indicator is: state of one key, fed a row at a time.

use serde::{Serialize, de::DeserializeOwned};

/// The largest magnitude taken in. No price or size comes near, and below it no square, product or sum over
/// a window can overflow, so that no row can leave an infinity behind in a state.
pub const LIMIT: f64 = 1e100;

/// A pure, incremental indicator of one key, from `I` input series to `O` output series.
///
/// An implementation writes [`feed`](Indicator::feed); callers call [`update`](Indicator::update).
pub trait Indicator<const I: usize, const O: usize>: Clone + Send + Serialize + DeserializeOwned + 'static {
    /// Takes in one row whose inputs are finite and within [`LIMIT`]. `time` is event time in nanoseconds
    /// since 1970 UTC; `x` the inputs. Outputs are NaN until warm.
    fn feed(&mut self, time: i64, x: [f64; I]) -> [f64; O];

    /// Feeds one row. `time` is event time in nanoseconds since 1970 UTC; `x` the inputs (a null is NaN).
    /// Outputs are NaN until warm. A row with an input that is not finite, or beyond [`LIMIT`], is skipped:
    /// the state stays, the outputs are NaN.
    #[inline]
    fn update(&mut self, time: i64, x: [f64; I]) -> [f64; O] {
        // Written so that NaN fails the comparison too.
        if x.iter().all(|value| value.abs() <= LIMIT) { self.feed(time, x) } else { [f64::NAN; O] }
    }

    /// Bytes held on the heap, beside the size of the state itself.
    fn heap_bytes(&self) -> usize {
        0
    }
}
