//! Where a rolling window stands.

use serde::{Deserialize, Serialize};

use crate::indicators::Span;

/// The end of a rolling window, which counts rows or follows event time. Either way a window is what lies in
/// (now - span, now], so that rows and time are one code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Clock {
    span: Span,
    now: i64,
}

impl Clock {
    /// Before the first row.
    pub fn new(span: Span) -> Self {
        let now = match span {
            Span::Rows(_) => 0,
            Span::Time(_) => i64::MIN,
        };
        Self { span, now }
    }

    /// Moves on to a row, never back: the position of the row.
    #[inline]
    pub fn tick(&mut self, time: i64) -> i64 {
        self.now = match self.span {
            Span::Rows(_) => self.now.saturating_add(1),
            Span::Time(_) => self.now.max(time),
        };
        self.now
    }

    /// Whether a row at this position is no longer in the window. The last row always is.
    #[inline]
    pub fn has_left(&self, at: i64) -> bool {
        self.now.saturating_sub(at) >= self.width()
    }

    /// Whether the window is full, which a window of time is from the first row.
    #[inline]
    pub fn is_warm(&self) -> bool {
        match self.span {
            Span::Rows(_) => self.now >= self.width(),
            Span::Time(_) => true,
        }
    }

    #[inline]
    fn width(&self) -> i64 {
        let width = match self.span {
            Span::Rows(rows) => i64::try_from(rows).unwrap_or(i64::MAX),
            Span::Time(nanos) => nanos,
        };
        width.max(1)
    }
}
