//! The clock that cuts epochs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};

use crate::batch::Epoch;

/// Microseconds since 1970 UTC.
pub fn now() -> Epoch {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_micros() as Epoch)
}

/// An instant, in microseconds since 1970 UTC, as text.
pub fn rfc3339(instant: Epoch) -> String {
    DateTime::from_timestamp_micros(instant as i64).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Names the epoch that is open now: the clock, rounded down to a multiple of the epoch's length, and never
/// before the first epoch or the one named last, whatever the clock does.
pub struct EpochClock {
    last: Epoch,
    length: u64,
}

impl EpochClock {
    /// A clock that starts at `start`.
    pub fn new(start: Epoch, length: Duration) -> Self {
        EpochClock { last: start, length: (length.as_micros() as u64).max(1) }
    }

    /// The open epoch.
    pub fn now(&mut self) -> Epoch {
        let now = now();
        self.last = self.last.max(now - now % self.length);
        self.last
    }
}

/// How long it is until the epoch after `epoch` opens.
pub fn until_next(epoch: Epoch, length: Duration) -> Duration {
    let next = Duration::from_micros(epoch) + length;
    next.saturating_sub(Duration::from_micros(now())).max(Duration::from_micros(100))
}
