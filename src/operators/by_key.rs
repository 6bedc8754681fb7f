//! What an operator keeps of each key, how checkpoints are told of it, and how keys go of which nothing is kept.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::changes::Changes;
use crate::error::Result;
use crate::keys::{KeyIds, KeyReader};
use crate::memory::Heap;
use crate::state::Draft;

/// What is kept of a key.
pub trait Kept: Default + Heap {
    /// Whether there is nothing to keep.
    fn is_gone(&self) -> bool;
    /// Appends what a checkpoint has to hold.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads what [`write`](Self::write) has written.
    fn read(bytes: &[u8]) -> Result<Self>;
}

/// A `T` for each key, by the number of the key.
pub struct ByKey<T> {
    reader: KeyReader,
    ids: KeyIds,
    kept: Vec<T>,
    changes: Changes,
}

impl<T: Kept> ByKey<T> {
    /// Nothing yet, of keys made of the columns `key` of rows of `schema`.
    pub fn new(schema: &Schema, key: &[usize]) -> Result<Self> {
        let (ids, changes) = (KeyIds::default(), Changes::default());
        Ok(ByKey { reader: KeyReader::new(schema, key)?, ids, kept: Vec::new(), changes })
    }

    /// The number of the key of each row. What is new is to be kept, or to be freed by the end of the epoch.
    pub fn numbers(&mut self, data: &RecordBatch) -> Result<Vec<u32>> {
        let (ids, mut numbers) = (&mut self.ids, Vec::with_capacity(data.num_rows()));
        self.reader.for_each(data, |_, key| numbers.push(ids.id(key)))?;
        self.kept.resize_with(ids.len(), T::default);
        Ok(numbers)
    }

    /// What is kept of these keys is about to change.
    pub fn touch(&mut self, numbers: &[u32]) {
        let kept = &self.kept;
        self.changes.touch(&self.ids, numbers, |id, value| kept[id as usize].write(value));
    }

    /// What is kept of a key.
    #[inline]
    pub fn at(&self, number: u32) -> &T {
        &self.kept[number as usize]
    }

    /// What is kept of a key, to be changed: where a checkpoint holds it, once it was touched.
    #[inline]
    pub fn at_mut(&mut self, number: u32) -> &mut T {
        &mut self.kept[number as usize]
    }

    /// Lets go of those of these keys, which were touched, and each is named once, of which nothing is kept.
    pub fn free(&mut self, numbers: &[u32]) {
        for number in numbers {
            if self.kept[*number as usize].is_gone() {
                self.changes.forget(&mut self.ids, *number);
                self.kept[*number as usize] = T::default();
            }
        }
    }

    /// See [`Operator::begin_snapshot`](super::Operator::begin_snapshot).
    pub fn begin_snapshot(&mut self, full: bool) {
        self.changes.begin(&self.ids, full);
    }

    /// See [`Operator::snapshot`](super::Operator::snapshot).
    pub fn snapshot(&mut self, keys: usize) -> Option<Draft> {
        let kept = &self.kept;
        self.changes.tell(&self.ids, keys, |id, value| kept[id as usize].write(value))
    }

    /// An estimate of the memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.ids.heap_bytes() + self.kept.heap_bytes()
    }

    /// Puts back what is kept of a key; returns its number.
    pub fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<u32> {
        let number = self.changes.put_back(&mut self.ids, key);
        self.kept.resize_with(self.ids.len(), T::default);
        self.kept[number as usize] = T::read(value)?;
        Ok(number)
    }
}
