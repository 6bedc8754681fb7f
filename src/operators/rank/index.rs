//! The rows of all groups, in order: a trace of differential dataflow, as a data structure.
//!
//! It is a stack of sorted batches, each about half as long as the one below. What an epoch changes is one more batch, and
//! some merging, so that a change costs the logarithm of all rows; the first rows of a group are read off the fronts of
//! the batches. Rows that came and went stay until they meet in a merge, and are stepped over.

use std::rc::Rc;

use differential_dataflow::consolidation::consolidate_updates;
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use differential_dataflow::trace::{Builder, Cursor, Description, Trace, TraceReader};
use timely::dataflow::operators::generic::OperatorInfo;
use timely::progress::Antichain;

use super::place::Place;

/// Where a row stands in its group, and the number of the row.
type Standing = (Place, u32);

/// The standings of rows, by the numbers of their groups.
pub struct Index {
    trace: ValSpine<u32, Standing, u64, i64>,
    /// What is not sealed yet.
    updates: Vec<((u32, Standing), u64, i64)>,
    /// How many batches were sealed: the time of the trace.
    sealed: u64,
}

impl Default for Index {
    fn default() -> Self {
        // The trace is in no dataflow.
        let nowhere = OperatorInfo::new(0, 0, Rc::new([]));
        Index { trace: Trace::new(nowhere, None, None), updates: Vec::new(), sealed: 0 }
    }
}

impl Index {
    /// A row stands there now.
    pub fn put(&mut self, group: u32, place: Place, row: u32) {
        self.updates.push(((group, (place, row)), self.sealed, 1));
    }

    /// A row stands there no more.
    pub fn take(&mut self, group: u32, place: Place, row: u32) {
        self.updates.push(((group, (place, row)), self.sealed, -1));
    }

    /// What was put and taken until now is what is read from now on.
    pub fn seal(&mut self) {
        consolidate_updates(&mut self.updates);
        if self.updates.is_empty() {
            return;
        }
        let (lower, upper) = (Antichain::from_elem(self.sealed), Antichain::from_elem(self.sealed + 1));
        let description = Description::new(lower, upper.clone(), Antichain::from_elem(0));
        self.trace.insert(ValBuilder::seal(&mut vec![std::mem::take(&mut self.updates)], description));
        self.sealed += 1;
        // Nobody asks for what was: times may become one, and batches too.
        self.trace.set_logical_compaction(upper.borrow());
        self.trace.set_physical_compaction(upper.borrow());
    }

    /// Calls `each` with the numbers of the first rows, `most` at most, of each of `groups`, which rise.
    pub fn firsts(&mut self, groups: &[u32], most: usize, mut each: impl FnMut(u32, Vec<u32>)) {
        let (mut cursor, batches) = self.trace.cursor();
        for group in groups {
            let mut rows = Vec::new();
            cursor.seek_key(&batches, group);
            while cursor.get_key(&batches) == Some(group)
                && rows.len() < most
                && let Some((_, row)) = cursor.get_val(&batches)
            {
                let mut count = 0;
                cursor.map_times(&batches, |_, diff| count += *diff);
                if count > 0 {
                    rows.push(*row);
                }
                cursor.step_val(&batches);
            }
            each(*group, rows);
        }
    }

    /// About the memory held, in bytes: places may have more behind them.
    pub fn heap_bytes(&self) -> usize {
        (self.len() + self.updates.capacity()) * size_of::<((u32, Standing), u64, i64)>()
    }

    /// How many updates it holds.
    fn len(&self) -> usize {
        let mut len = 0;
        self.trace.map_batches(|batch| len += differential_dataflow::trace::BatchReader::len(batch));
        len
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn the_first_rows_are_those_of_a_sorted_set_and_what_is_gone_leaves_the_memory() {
        let mut rng = StdRng::seed_from_u64(17);
        let (mut index, mut all) = (Index::default(), BTreeSet::new());
        let place = |number: u64| Place::from([number.to_be_bytes(), 7u64.to_be_bytes()].concat().as_slice());
        let mut most = 0;
        for epoch in 0..2000 {
            // Now and then a group loses all its first rows.
            let many = if epoch % 100 == 99 { 300 } else { 20 };
            for _ in 0..rng.random_range(0..many) {
                let (group, number, row) = (rng.random_range(0..4), rng.random_range(0..50), rng.random_range(0..100));
                match all.remove(&(group, number, row)) {
                    true => index.take(group, place(number), row),
                    false => {
                        all.insert((group, number, row));
                        index.put(group, place(number), row);
                    }
                }
            }
            index.seal();
            index.firsts(&[0, 2, 3, 9], 5, |group, rows| {
                let of_group = all.range((group, 0, 0)..(group + 1, 0, 0)).map(|(_, _, row)| *row);
                assert_eq!(rows, of_group.take(5).collect::<Vec<_>>(), "group {group} in epoch {epoch}");
            });
            most = most.max(all.len());
        }
        assert!(index.len() < 4 * most, "{} updates of at most {most} rows", index.len());
    }
}
