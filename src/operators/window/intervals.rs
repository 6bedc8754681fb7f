//! Which intervals of event time a row belongs to: half-open, `[start, end)`, in ns since 1970 UTC.

use std::fmt;
use std::time::Duration;

use crate::calendars::{Found, Session, Sessions};

/// No exchange is open for longer.
const DAY: i64 = 86_400_000_000_000;

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
    /// Within the sessions of an exchange.
    Trading {
        /// Its name, and which hours.
        exchange: String,
        /// When it trades.
        sessions: Sessions,
        /// Intervals of this size, in ns, counted from the opening, the last one cut off by the close; or whole sessions.
        size: Option<i64>,
    },
}

/// Where a row belongs that comes in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// To intervals.
    There,
    /// To none: the exchange was closed.
    Outside,
    /// To none that is known: the calendar does not cover its year.
    NotCovered,
}

impl Intervals {
    /// Calls `each` with the intervals that hold `time`, the first ones first. A session is as long as one row alone
    /// makes it.
    #[inline]
    pub fn of(&self, time: i64, mut each: impl FnMut(i64, i64)) -> Belongs {
        match self {
            &Intervals::Sliding { size, slide } => {
                let last = time.saturating_sub(time.rem_euclid(slide));
                let mut start = last.saturating_sub((size - 1) / slide * slide);
                while start <= last {
                    if time < start.saturating_add(size) {
                        each(start, start.saturating_add(size));
                    }
                    start += slide;
                }
            }
            Intervals::Sessions { gap } => each(time, time.saturating_add(*gap)),
            Intervals::Trading { sessions, size, .. } => match sessions.at(time) {
                Found::In(session) => {
                    let (start, end) = part(session, *size, time);
                    each(start, end);
                }
                Found::Closed => return Belongs::Outside,
                Found::NotCovered => return Belongs::NotCovered,
            },
        }
        Belongs::There
    }

    /// The interval behind the one that begins at `start`, where each has one.
    pub fn next(&self, start: i64) -> Option<(i64, i64)> {
        match self {
            &Intervals::Sliding { size, slide } => {
                let start = start.checked_add(slide)?;
                Some((start, start.checked_add(size)?))
            }
            Intervals::Sessions { .. } => None,
            Intervals::Trading { sessions, size: None, .. } => {
                sessions.after(start).map(|session| (session.open, session.close))
            }
            Intervals::Trading { sessions, size: Some(size), .. } => match sessions.at(start) {
                // Between sessions there is nothing to fill.
                Found::In(session) if start + size < session.close => Some(part(session, Some(*size), start + size)),
                _ => None,
            },
        }
    }

    /// Where the first interval begins that ends behind `watermark`: those before it have ended.
    pub fn open_from(&self, watermark: i64) -> i64 {
        match self {
            &Intervals::Sliding { size, slide } => {
                let ended = watermark.saturating_sub(size);
                ended.saturating_sub(ended.rem_euclid(slide)).saturating_add(slide)
            }
            Intervals::Sessions { gap } => watermark.saturating_sub(*gap).saturating_add(1),
            Intervals::Trading { sessions, size, .. } => match sessions.at(watermark) {
                Found::In(session) => part(session, *size, watermark).0,
                _ => watermark,
            },
        }
    }

    /// How long an interval is at most, where it does not grow.
    pub fn longest(&self) -> i64 {
        match self {
            &Intervals::Sliding { size, .. } | &Intervals::Trading { size: Some(size), .. } => size,
            Intervals::Trading { size: None, .. } => DAY,
            Intervals::Sessions { .. } => 0,
        }
    }

    /// How far rows may be apart that belong together, where intervals grow and become one.
    pub fn gap(&self) -> Option<i64> {
        match self {
            Intervals::Sessions { gap } => Some(*gap),
            _ => None,
        }
    }

    /// The day, since 1970, of the session in which an interval begins, where there are sessions.
    pub fn date(&self, start: i64) -> Option<i32> {
        match self {
            Intervals::Trading { sessions, .. } => match sessions.at(start) {
                Found::In(session) => Some(session.date),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The part of a session, in parts of `size`, that holds `time`.
fn part(session: Session, size: Option<i64>, time: i64) -> (i64, i64) {
    let Some(size) = size else { return (session.open, session.close) };
    let start = time - (time - session.open).rem_euclid(size);
    (start, start.saturating_add(size).min(session.close))
}

impl fmt::Display for Intervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |ns: i64| humantime::format_duration(Duration::from_nanos(ns.unsigned_abs())).to_string();
        match self {
            Intervals::Trading { exchange, size: None, .. } => write!(f, "sessions of {exchange}"),
            Intervals::Trading { exchange, size: Some(size), .. } => {
                write!(f, "intervals of {} within sessions of {exchange}", span(*size))
            }
            Intervals::Sliding { size, slide } if size == slide => write!(f, "intervals of {}", span(*size)),
            Intervals::Sliding { size, slide } => write!(f, "intervals of {}, one every {}", span(*size), span(*slide)),
            Intervals::Sessions { gap } => write!(f, "sessions, at least {} apart", span(*gap)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendars::{Calendar, Hours};

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
    fn intervals_of_an_exchange_begin_at_its_opening_and_end_at_its_close() {
        let sessions = Calendar::named("XNYS").expect("there").sessions(Hours::Regular).expect("regular hours");
        let instant = |text: &str| {
            text.parse::<chrono::DateTime<chrono::Utc>>().expect("a time").timestamp_nanos_opt().expect("ns")
        };
        let hours = Intervals::Trading {
            exchange: "XNYS".to_string(),
            sessions: sessions.clone(),
            size: Some(3_600_000_000_000),
        };
        // In July New York is four hours behind UTC; on the 3rd it closed at 13:00, and on the 4th it did not open.
        let last = [(instant("2024-07-03T16:30:00Z"), instant("2024-07-03T17:00:00Z"))];
        assert_eq!(of(&hours, instant("2024-07-03T16:59:59Z")), last);
        assert_eq!(hours.of(instant("2024-07-03T17:00:00Z"), |_, _| ()), Belongs::Outside);
        assert_eq!(hours.of(instant("1950-01-03T17:00:00Z"), |_, _| ()), Belongs::NotCovered);
        assert_eq!(hours.next(last[0].0), None, "nothing is filled over night");
        assert_eq!(hours.open_from(instant("2024-07-03T15:00:00Z")), instant("2024-07-03T14:30:00Z"));
        let days = Intervals::Trading { exchange: "XNYS".to_string(), sessions, size: None };
        let third = (instant("2024-07-03T13:30:00Z"), instant("2024-07-03T17:00:00Z"));
        assert_eq!(of(&days, instant("2024-07-03T15:00:00Z")), [third]);
        let fifth = (instant("2024-07-05T13:30:00Z"), instant("2024-07-05T20:00:00Z"));
        assert_eq!((days.next(third.0), days.date(fifth.0)), (Some(fifth), Some(19_909)));
    }

    #[test]
    fn a_row_alone_makes_a_session_of_one_gap() {
        let sessions = Intervals::Sessions { gap: 5 };
        assert_eq!(of(&sessions, 7), [(7, 12)]);
        assert_eq!(sessions.open_from(12), 8, "one that began at 7 has ended");
    }
}
