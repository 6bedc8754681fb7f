//! The greatest or least value of a rolling window.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Clock;
use crate::indicators::{Indicator, Span};

/// The greatest value of a rolling window.
pub type Highest = Extreme<true>;

/// The least value of a rolling window.
pub type Lowest = Extreme<false>;

/// The greatest or least value of a rolling window, in amortised constant time: a value that a later one beats
/// can never be the answer again and is dropped, so what is kept is sorted and the answer is its front.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Extreme<const GREATEST: bool> {
    clock: Clock,
    rows: VecDeque<(i64, f64)>,
}

impl<const GREATEST: bool> Extreme<GREATEST> {
    /// Before the first row.
    pub fn new(span: Span) -> Self {
        Self { clock: Clock::new(span), rows: VecDeque::new() }
    }

    /// Takes in a row; the extreme, once the window is full.
    #[inline]
    pub fn push(&mut self, time: i64, x: f64) -> Option<f64> {
        let now = self.clock.tick(time);
        while self.rows.pop_front_if(|(at, _)| self.clock.has_left(*at)).is_some() {}
        let beaten = |value: f64| if GREATEST { value <= x } else { value >= x };
        while self.rows.pop_back_if(|(_, value)| beaten(*value)).is_some() {}
        self.rows.push_back((now, x));
        let (_, extreme) = self.rows.front()?;
        self.clock.is_warm().then_some(*extreme)
    }

    /// Bytes held on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<(i64, f64)>()
    }
}

impl<const GREATEST: bool> Indicator<1, 1> for Extreme<GREATEST> {
    #[inline]
    fn feed(&mut self, time: i64, [x]: [f64; 1]) -> [f64; 1] {
        [self.push(time, x).unwrap_or(f64::NAN)]
    }

    fn heap_bytes(&self) -> usize {
        Extreme::heap_bytes(self)
    }
}
