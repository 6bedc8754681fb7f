//! The right rows that left rows may still ask for, by key.

use std::rc::Rc;

use crate::aggregates::Place;
use crate::error::{Error, Result};
use crate::memory::{Heap, of_vec};

/// A right row: where it stands among the others, and its columns in Arrow's row format.
struct Row {
    place: Place,
    columns: Rc<[u8]>,
}

/// Right rows, as far as event time has come to them.
pub struct Known {
    /// By the number of a key, in the order of their places.
    of_key: Vec<Vec<Row>>,
    /// How much older than a left row they may be, in ns.
    tolerance: Option<i64>,
    /// Up to where all keys were freed of rows that are too old.
    forgotten: i64,
}

impl Known {
    /// None yet.
    pub fn new(tolerance: Option<i64>) -> Self {
        Known { of_key: Vec::new(), tolerance, forgotten: i64::MIN }
    }

    /// An estimate of the memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        of_vec(&self.of_key, |rows| of_vec(rows, |row| row.columns.heap_bytes()))
    }

    /// There are so many keys.
    pub fn reach(&mut self, keys: usize) {
        self.of_key.resize_with(keys, Vec::new);
    }

    /// Event time has come to `now`, and with it to this row. Of the others of its key those are forgotten that no left row
    /// of `now` or later finds.
    pub fn learn(&mut self, key: u32, place: Place, columns: &[u8], now: i64) {
        let rows = &mut self.of_key[key as usize];
        let at = rows.partition_point(|row| row.place <= place);
        rows.insert(at, Row { place, columns: columns.into() });
        let keep = match self.tolerance {
            None => rows.len() - 1,
            Some(tolerance) => rows.partition_point(|row| row.place.time < now.saturating_sub(tolerance)),
        };
        rows.drain(..keep);
    }

    /// The last row of a key up to `time`, for a left row to which event time has come by `now`.
    pub fn find(&self, key: u32, time: i64, now: i64) -> Option<Rc<[u8]>> {
        let rows = &self.of_key[key as usize];
        let found = rows.iter().rev().find(|row| row.place.time <= time)?;
        // What is older may have been forgotten: whether it was depends on what was read together.
        let oldest = self.tolerance.map_or(i64::MIN, |tolerance| now.saturating_sub(tolerance));
        (found.place.time >= oldest).then(|| Rc::clone(&found.columns))
    }

    /// The keys that have rows which no left row of `now` or later finds: to be forgotten. They are looked for once every
    /// `tolerance`, as every key is looked at.
    pub fn outdated(&mut self, now: i64) -> Vec<u32> {
        let Some(tolerance) = self.tolerance else { return Vec::new() };
        let oldest = now.saturating_sub(tolerance);
        if oldest < self.forgotten.saturating_add(tolerance) {
            return Vec::new();
        }
        self.forgotten = oldest;
        let is_outdated = |key: &u32| self.of_key[*key as usize].first().is_some_and(|row| row.place.time < oldest);
        (0..self.of_key.len() as u32).filter(is_outdated).collect()
    }

    /// Whether there are no rows of a key.
    pub fn is_empty(&self, key: u32) -> bool {
        self.of_key[key as usize].is_empty()
    }

    /// Forgets what [`outdated`](Self::outdated) has found.
    pub fn forget(&mut self, keys: &[u32], now: i64) {
        let Some(tolerance) = self.tolerance else { return };
        let oldest = now.saturating_sub(tolerance);
        for key in keys {
            let rows = &mut self.of_key[*key as usize];
            rows.retain(|row| row.place.time >= oldest);
            rows.shrink_to_fit();
        }
    }

    /// Appends the rows of a key.
    pub fn write(&self, key: u32, out: &mut Vec<u8>) {
        let rows: Vec<(Place, &[u8])> =
            self.of_key[key as usize].iter().map(|row| (row.place, row.columns.as_ref())).collect();
        // Memory can be written: this does not fail.
        if let Ok(whole) = postcard::to_extend(&rows, std::mem::take(out)) {
            *out = whole;
        }
    }

    /// Puts back what [`write`](Self::write) has written.
    pub fn read(&mut self, key: u32, bytes: &[u8]) -> Result<()> {
        let rows: Vec<(Place, Vec<u8>)> =
            postcard::from_bytes(bytes).map_err(|error| Error::run(format!("not the rows of a key: {error}")))?;
        let row = |(place, columns): (Place, Vec<u8>)| Row { place, columns: columns.into() };
        self.of_key[key as usize] = rows.into_iter().map(row).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(tolerance: Option<i64>, rows: &[(i64, i64, &str)]) -> Known {
        let mut known = Known::new(tolerance);
        known.reach(1);
        for (time, now, name) in rows {
            known.learn(0, Place { time: *time, source: 0, at: 0 }, name.as_bytes(), *now);
        }
        known
    }

    fn find(known: &Known, time: i64, now: i64) -> Option<String> {
        known.find(0, time, now).map(|row| String::from_utf8(row.to_vec()).expect("text"))
    }

    #[test]
    fn the_newest_row_up_to_a_time_is_found_and_of_equal_ones_the_last() {
        let known = known(Some(10), &[(5, 5, "a"), (7, 7, "b"), (7, 7, "c"), (9, 9, "d")]);
        let found = [4, 5, 6, 7, 8, 9, 20].map(|time| find(&known, time, 9));
        let expected = [None, Some("a"), Some("a"), Some("c"), Some("c"), Some("d"), Some("d")];
        assert_eq!(found, expected.map(|name| name.map(str::to_string)));
    }

    #[test]
    fn without_a_tolerance_only_the_newest_is_known() {
        let mut known = known(None, &[(5, 5, "a"), (9, 9, "b"), (7, 10, "late")]);
        assert_eq!((find(&known, 8, 10), find(&known, 1_000_000, 1_000_000)), (None, Some("b".to_string())));
        assert_eq!((known.outdated(i64::MAX), known.of_key[0].len()), (Vec::new(), 1));
        known.forget(&[], i64::MAX);
    }

    #[test]
    fn what_is_too_old_is_not_found_whether_it_was_forgotten_or_not() {
        let mut known = known(Some(10), &[(5, 5, "a"), (8, 8, "b")]);
        assert_eq!((find(&known, 15, 15), find(&known, 7, 16)), (Some("b".to_string()), None));
        assert_eq!(find(&known, 19, 19), None);
        let outdated = known.outdated(18);
        assert_eq!(outdated, [0]);
        known.forget(&outdated, 18);
        assert_eq!((known.of_key[0].len(), find(&known, 18, 18)), (1, Some("b".to_string())));
        assert_eq!(known.outdated(19), Vec::<u32>::new(), "not so soon again");
        assert_eq!(known.outdated(28), [0]);
    }

    #[test]
    fn rows_are_written_and_read() {
        let known = known(Some(10), &[(5, 5, "a"), (8, 8, "b")]);
        let (mut bytes, mut other) = (Vec::new(), Known::new(Some(10)));
        known.write(0, &mut bytes);
        other.reach(1);
        other.read(0, &bytes).expect("rows");
        assert_eq!((find(&other, 7, 8), find(&other, 8, 8)), (Some("a".to_string()), Some("b".to_string())));
        assert!(other.read(0, b"\xff").is_err());
    }
}
