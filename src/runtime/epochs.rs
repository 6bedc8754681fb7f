//! The clock that cuts epochs.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
/// before the first epoch or the one named last, whatever the clock does. Where these are ahead of the clock, it goes on
/// half as fast until the clock has caught up.
pub struct EpochClock {
    last: Epoch,
    /// When that was named.
    since: Instant,
    length: u64,
}

impl EpochClock {
    /// A clock that starts at `start`.
    pub fn new(start: Epoch, length: Duration) -> Self {
        EpochClock { last: start, since: Instant::now(), length: (length.as_micros() as u64).max(1) }
    }

    /// The open epoch.
    pub fn now(&mut self) -> Epoch {
        let slow = self.last + self.since.elapsed().as_micros() as u64 / 2;
        let now = now().max(slow);
        let epoch = now - now % self.length;
        if epoch > self.last {
            (self.last, self.since) = (epoch, Instant::now());
        }
        self.last
    }

    /// How long it is until the next one opens.
    pub fn until_next(&self) -> Duration {
        let next = self.last - self.last % self.length + self.length;
        let slow = Duration::from_micros(2 * (next - self.last)).saturating_sub(self.since.elapsed());
        Duration::from_micros(next.saturating_sub(now())).min(slow).max(Duration::from_micros(100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_ahead_goes_on_until_it_is_not() {
        let length = Duration::from_millis(1);
        let start = now() + 60_000_000;
        let mut clock = EpochClock::new(start, length);
        assert_eq!(clock.now(), start);
        std::thread::sleep(Duration::from_millis(20));
        let later = clock.now();
        assert!(later >= start + 8_000 && later < start + 30_000_000, "{}", later - start);
        assert!(clock.until_next() <= 2 * length, "nobody waits for a minute");
        let mut behind = EpochClock::new(1, length);
        assert!(behind.now() > now() - 1_000_000 && behind.until_next() <= length);
    }
}
