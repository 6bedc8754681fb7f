//! The last values of a series.

use std::mem;

use serde::{Deserialize, Serialize};

/// The last `period` values. Grows with what it is given, so that a key with few rows costs little.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ring {
    period: u32,
    next: u32,
    values: Vec<f64>,
}

impl Ring {
    /// An empty ring for `period` values, at least one.
    pub fn new(period: usize) -> Self {
        Self { period: u32::try_from(period).unwrap_or(u32::MAX).max(1), next: 0, values: Vec::new() }
    }

    /// Puts a value in and hands out the one it replaces, that of `period` pushes ago.
    #[inline]
    pub fn push(&mut self, value: f64) -> Option<f64> {
        if self.values.len() < self.period as usize {
            self.grow();
            self.values.push(value);
            return None;
        }
        let slot = self.values.get_mut(self.next as usize)?;
        self.next = if self.next + 1 == self.period { 0 } else { self.next + 1 };
        Some(mem::replace(slot, value))
    }

    // Doubles, but never beyond the period.
    fn grow(&mut self) {
        let len = self.values.len();
        if len == self.values.capacity() {
            self.values.reserve_exact(len.max(4).min(self.period as usize - len));
        }
    }

    /// The number of values it holds, `period` once full.
    #[inline]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether it holds `period` values.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.values.len() == self.period as usize
    }

    /// Whether all values were replaced since this was last so; [`iter`](Ring::iter) then goes from the oldest
    /// to the newest. The time to take sums afresh: it costs as much as one more addition a row, and a
    /// bad tick too large for any precision is forgotten once it has left.
    #[inline]
    pub fn has_turned(&self) -> bool {
        self.next == 0 && self.is_full()
    }

    /// The values, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = f64> {
        self.values.iter().copied()
    }

    /// Forgets all values.
    pub fn clear(&mut self) {
        self.values.clear();
        self.next = 0;
    }

    /// Bytes held on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.values.capacity() * size_of::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_out_period_pushes_later() {
        for period in 1..9 {
            let mut ring = Ring::new(period);
            for row in 0..50 {
                let expected = (row >= period).then(|| (row - period) as f64);
                assert_eq!(ring.push(row as f64), expected);
                assert_eq!(ring.len(), period.min(row + 1));
            }
            assert!(ring.heap_bytes() <= 8 * period.max(4));
        }
    }
}
