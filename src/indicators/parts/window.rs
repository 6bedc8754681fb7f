//! The rows of a rolling window.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Clock;
use crate::indicators::Span;

/// The values of the rows in a rolling window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Window<V> {
    clock: Clock,
    rows: VecDeque<(i64, V)>,
    since: usize,
}

impl<V> Window<V> {
    /// Empty.
    pub fn new(span: Span) -> Self {
        Self { clock: Clock::new(span), rows: VecDeque::new(), since: 0 }
    }

    /// Takes in a row. [`pop`](Window::pop) then has to be called until it gives nothing.
    #[inline]
    pub fn push(&mut self, time: i64, value: V) {
        self.rows.push_back((self.clock.tick(time), value));
        self.since += 1;
    }

    /// Takes out a row that has left the window.
    #[inline]
    pub fn pop(&mut self) -> Option<V> {
        let (_, value) = self.rows.pop_front_if(|(at, _)| self.clock.has_left(*at))?;
        Some(value)
    }

    /// Whether the window is full, which a window of time is from the first row.
    #[inline]
    pub fn is_warm(&self) -> bool {
        self.clock.is_warm()
    }

    /// Whether all rows have come since this was last so: the time to take sums afresh, as a
    /// [`Ring`](super::Ring) does, at the cost of one more addition a row.
    #[inline]
    pub fn has_turned(&mut self) -> bool {
        let turned = self.since >= self.rows.len();
        if turned {
            self.since = 0;
        }
        turned
    }

    /// The values, from the oldest to the newest.
    pub fn iter(&self) -> impl Iterator<Item = &V> {
        self.rows.iter().map(|(_, value)| value)
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes held on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<(i64, V)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(span: Span, times: &[i64]) -> Vec<usize> {
        let mut window = Window::new(span);
        times
            .iter()
            .map(|&time| {
                window.push(time, time);
                while window.pop().is_some() {}
                window.len()
            })
            .collect()
    }

    #[test]
    fn the_window_is_open_to_the_left_and_closed_to_the_right() {
        assert_eq!(run(Span::Time(10), &[0, 9, 10, 10, 20, 35]), [1, 2, 2, 3, 1, 1]);
        assert_eq!(run(Span::Rows(3), &[0, 0, 0, 0, 0]), [1, 2, 3, 3, 3]);
    }

    #[test]
    fn a_row_that_comes_late_counts_as_now() {
        assert_eq!(run(Span::Time(10), &[100, 50, 109, 110, 0]), [1, 2, 3, 2, 3]);
        assert_eq!(run(Span::Time(i64::MAX), &[i64::MIN, i64::MAX]), [1, 1]);
    }
}
