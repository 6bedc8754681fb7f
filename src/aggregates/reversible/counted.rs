//! What stands at one place: one value, unless what takes it back, or takes its place, has come first.

use serde::{Deserialize, Serialize};

/// Values, and how often each is there: less than not at all, while what takes it back has come before it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counted<V>(Vec<(V, i64)>);

impl<V> Default for Counted<V> {
    fn default() -> Self {
        Counted(Vec::new())
    }
}

impl<V: PartialEq> Counted<V> {
    /// Counts a value so many times more.
    pub fn add(&mut self, value: V, more: i64) {
        match self.0.iter_mut().find(|(other, _)| *other == value) {
            Some((_, count)) => *count += more,
            None => self.0.push((value, more)),
        }
        self.0.retain(|(_, count)| *count != 0);
    }
}

impl<V> Counted<V> {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first that is there.
    pub fn first(&self) -> Option<&V> {
        self.0.iter().find(|(_, count)| *count > 0).map(|(value, _)| value)
    }

    /// Every value and its count.
    pub fn each(&self, mut each: impl FnMut(&V, i64)) {
        self.0.iter().for_each(|(value, count)| each(value, *count));
    }

    /// Memory, in bytes, of values that hold so much beside themselves.
    pub fn heap_bytes(&self, of: impl Fn(&V) -> usize) -> usize {
        self.0.capacity() * size_of::<(V, i64)>() + self.0.iter().map(|(value, _)| of(value)).sum::<usize>()
    }
}
