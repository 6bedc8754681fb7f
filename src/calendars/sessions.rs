//! The sessions of an exchange, in order.

use std::ops::Range;
use std::sync::Arc;

/// An interval of trading: from `open` on, until before `close`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The day it belongs to, in days since 1970. It may open on the evening before.
    pub date: i32,
    /// In nanoseconds since 1970.
    pub open: i64,
    /// In nanoseconds since 1970.
    pub close: i64,
}

impl Session {
    /// Whether `time`, in nanoseconds since 1970, lies in it. Ask the session of the row before first: it mostly does.
    #[inline]
    pub fn contains(&self, time: i64) -> bool {
        (self.open..self.close).contains(&time)
    }
}

/// What an instant lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// This session.
    In(Session),
    /// None: the exchange is closed.
    Closed,
    /// A year that the calendar does not cover.
    NotCovered,
}

/// All sessions of a calendar: they rise and do not overlap. Clones share them.
#[derive(Clone, Debug)]
pub struct Sessions {
    list: Arc<[Session]>,
    covered: Range<i64>,
}

impl Sessions {
    /// Of sessions that rise and do not overlap; `covered` are the instants of which they tell all.
    pub(super) fn new(list: Vec<Session>, covered: Range<i64>) -> Self {
        Sessions { list: list.into(), covered }
    }

    /// What `time`, in nanoseconds since 1970, lies in.
    pub fn at(&self, time: i64) -> Found {
        let before = self.list[..self.opened(time)].last();
        match before {
            Some(session) if session.contains(time) => Found::In(*session),
            _ if self.covered.contains(&time) => Found::Closed,
            _ => Found::NotCovered,
        }
    }

    /// The first session that opens later than `time`, in nanoseconds since 1970.
    pub fn after(&self, time: i64) -> Option<Session> {
        self.list.get(self.opened(time)).copied()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.list.iter()
    }

    /// How many have opened by `time`.
    fn opened(&self, time: i64) -> usize {
        self.list.partition_point(|session| session.open <= time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_half_open() {
        let [first, second] = [Session { date: 0, open: 10, close: 20 }, Session { date: 1, open: 20, close: 30 }];
        let sessions = Sessions::new(vec![first, second], 5..40);
        let found = [4, 5, 9, 10, 19, 20, 29, 30, 39, 40].map(|time| sessions.at(time));
        let (one, two) = (Found::In(first), Found::In(second));
        use Found::{Closed, NotCovered};
        assert_eq!(found, [NotCovered, Closed, Closed, one, one, two, two, Closed, Closed, NotCovered]);
        assert_eq!(
            [i64::MIN, 9, 10, 19, 20, i64::MAX].map(|time| sessions.after(time)),
            [Some(first), Some(first), Some(second), Some(second), None, None]
        );
    }
}
