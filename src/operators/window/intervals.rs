//! Which intervals of event time a row belongs to: half-open, `[start, end)`, in ns since 1970 UTC.

use std::fmt;
use std::time::Duration;

/// How event time is cut.
#[derive(Clone, Debug)]
pub enum Intervals {
    /// Intervals of `size` that begin every `slide`, counted from 1970 UTC.
    Sliding {
        /// How long each is, in ns.
        size: i64,
        /// How far they are apart, in ns: `size`, where they do not overlap.
        slide: i64,
    },
    /// Rows of a key less than `gap` apart belong together.
    Sessions {
        /// In ns.
        gap: i64,
    },
}

impl Intervals {
    /// Calls `each` with the intervals that hold `time`, the first ones first. A session is as long as one row alone
    /// makes it.
    #[inline]
    pub fn of(&self, time: i64, mut each: impl FnMut(i64, i64)) {
        match *self {
            Intervals::Sliding { size, slide } => {
                let last = time.saturating_sub(time.rem_euclid(slide));
                let mut start = last.saturating_sub((size - 1) / slide * slide);
                while start <= last {
                    if time < start.saturating_add(size) {
                        each(start, start.saturating_add(size));
                    }
                    start += slide;
                }
            }
            Intervals::Sessions { gap } => each(time, time.saturating_add(gap)),
        }
    }

    /// The interval behind the one that begins at `start`, where each has one.
    pub fn next(&self, start: i64) -> Option<(i64, i64)> {
        match *self {
            Intervals::Sliding { size, slide } => {
                let start = start.checked_add(slide)?;
                Some((start, start.checked_add(size)?))
            }
            Intervals::Sessions { .. } => None,
        }
    }

    /// Where the first interval begins that ends behind `watermark`: those before it have ended.
    pub fn open_from(&self, watermark: i64) -> i64 {
        match *self {
            Intervals::Sliding { size, slide } => {
                let ended = watermark.saturating_sub(size);
                ended.saturating_sub(ended.rem_euclid(slide)).saturating_add(slide)
            }
            Intervals::Sessions { gap } => watermark.saturating_sub(gap).saturating_add(1),
        }
    }

    /// Where an interval ends that begins at `time`.
    pub fn end_of(&self, time: i64) -> i64 {
        let (Intervals::Sliding { size: length, .. } | Intervals::Sessions { gap: length }) = *self;
        time.saturating_add(length)
    }

    /// Whether those of a key may grow and become one.
    pub fn merge(&self) -> bool {
        matches!(self, Intervals::Sessions { .. })
    }
}

impl fmt::Display for Intervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |ns: i64| humantime::format_duration(Duration::from_nanos(ns.unsigned_abs())).to_string();
        match *self {
            Intervals::Sliding { size, slide } if size == slide => write!(f, "intervals of {}", span(size)),
            Intervals::Sliding { size, slide } => write!(f, "intervals of {}, one every {}", span(size), span(slide)),
            Intervals::Sessions { gap } => write!(f, "sessions, at least {} apart", span(gap)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(intervals: &Intervals, time: i64) -> Vec<(i64, i64)> {
        let mut all = Vec::new();
        intervals.of(time, |start, end| all.push((start, end)));
        all
    }

    #[test]
    fn an_interval_holds_its_start_and_not_its_end() {
        let bars = Intervals::Sliding { size: 10, slide: 10 };
        assert_eq!(of(&bars, 19), [(10, 20)]);
        assert_eq!(of(&bars, 20), [(20, 30)]);
        assert_eq!(of(&bars, -1), [(-10, 0)], "also before 1970");
        assert_eq!((bars.open_from(19), bars.open_from(20), bars.open_from(21)), (10, 20, 20));
        assert_eq!(bars.next(10), Some((20, 30)));
    }

    #[test]
    fn hopping_intervals_overlap() {
        let hops = Intervals::Sliding { size: 25, slide: 10 };
        assert_eq!(of(&hops, 24), [(0, 25), (10, 35), (20, 45)]);
        assert_eq!(of(&hops, 25), [(10, 35), (20, 45)]);
        for watermark in -30..60 {
            let first = hops.open_from(watermark);
            assert!(first + 25 > watermark && first - 10 + 25 <= watermark, "{watermark}: {first}");
        }
    }

    #[test]
    fn a_row_alone_makes_a_session_of_one_gap() {
        let sessions = Intervals::Sessions { gap: 5 };
        assert_eq!(of(&sessions, 7), [(7, 12)]);
        assert_eq!(sessions.open_from(12), 8, "one that began at 7 has ended");
    }
}
