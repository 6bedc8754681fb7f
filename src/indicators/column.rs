//! The states of one indicator for all keys, behind one dynamic call a batch.

use std::array;

use serde::{Serialize, de::DeserializeOwned};

use super::Indicator;
use crate::memory::of_vec;

/// The states of one indicator for all keys, fed a batch at a time, so that the dispatch costs once a batch
/// and not once a row.
pub trait Column: Send {
    /// Feeds a batch of rows, in order.
    ///
    /// `ids[i]` is the dense id (0..) of row i's key, its state is created on first sight; `times[i]` its event
    /// time in nanoseconds since 1970 UTC; `inputs` holds one slice a series, nulls as NaN; `out` one Vec per
    /// output, to each of which `ids.len()` values are appended.
    ///
    /// There are as many inputs and outputs as the function declares, and as many times and inputs as ids:
    /// anything else is a mistake of the calling code.
    fn update(&mut self, ids: &[u32], times: &[i64], inputs: &[&[f64]], out: &mut [Vec<f64>]);

    /// Appends the state of one key as bytes; nothing where the key was never seen.
    fn snapshot(&self, id: u32, out: &mut Vec<u8>);

    /// Puts back the state of one key from the bytes of a snapshot, which must come from a column built with the
    /// same arguments, and returns the bytes behind them.
    fn restore<'b>(&mut self, id: u32, bytes: &'b [u8]) -> Result<&'b [u8], String>;

    /// Makes the state of one key that of no rows.
    fn clear(&mut self, id: u32);

    /// An estimate of the memory held, in bytes.
    fn bytes(&self) -> usize;
}

/// The one [`Column`] there is: a `Vec` of states, indexed by key id.
#[derive(Clone, Debug)]
pub struct States<T, const I: usize, const O: usize> {
    blank: T,
    states: Vec<T>,
}

impl<T: Indicator<I, O>, const I: usize, const O: usize> States<T, I, O> {
    /// No states yet; those to come start as `blank`.
    pub fn new(blank: T) -> Self {
        Self { blank, states: Vec::new() }
    }

    /// The same, boxed: what a [`Function`](super::Function) builds.
    pub fn boxed(blank: T) -> Box<dyn Column> {
        Box::new(Self::new(blank))
    }

    fn reach(&mut self, id: u32) {
        let needed = id as usize + 1;
        if self.states.len() < needed {
            self.states.resize(needed, self.blank.clone());
        }
    }
}

impl<T: Indicator<I, O>, const I: usize, const O: usize> Column for States<T, I, O> {
    fn update(&mut self, ids: &[u32], times: &[i64], inputs: &[&[f64]], out: &mut [Vec<f64>]) {
        let Some(&last) = ids.iter().max() else {
            return;
        };
        self.reach(last);
        let rows = ids.len();
        let times = &times[..rows];
        let inputs: [&[f64]; I] = array::from_fn(|series| &inputs[series][..rows]);
        let mut columns = out.iter_mut();
        let mut out: [&mut [f64]; O] = array::from_fn(|_| match columns.next() {
            Some(column) => {
                let start = column.len();
                column.resize(start + rows, f64::NAN);
                &mut column[start..]
            }
            None => &mut [],
        });
        for row in 0..rows {
            let x = array::from_fn(|series| inputs[series][row]);
            let y = self.states[ids[row] as usize].update(times[row], x);
            for (column, value) in out.iter_mut().zip(y) {
                column[row] = value;
            }
        }
    }

    fn snapshot(&self, id: u32, out: &mut Vec<u8>) {
        if let Some(state) = self.states.get(id as usize) {
            encode(state, out);
        }
    }

    fn restore<'b>(&mut self, id: u32, bytes: &'b [u8]) -> Result<&'b [u8], String> {
        let (state, rest) = decode(bytes)?;
        self.reach(id);
        self.states[id as usize] = state;
        Ok(rest)
    }

    fn clear(&mut self, id: u32) {
        self.reach(id);
        self.states[id as usize] = self.blank.clone();
    }

    fn bytes(&self) -> usize {
        of_vec(&self.states, T::heap_bytes)
    }
}

// The two functions that know the format of a snapshot: postcard's wire format, which is specified and stays as it is, and
// keeps every bit of a number.
fn encode<T: Serialize>(state: &T, out: &mut Vec<u8>) {
    // Memory can be written, and a state is a plain struct: neither fails.
    if let Ok(whole) = postcard::to_extend(state, std::mem::take(out)) {
        *out = whole;
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), String> {
    postcard::take_from_bytes(bytes).map_err(|error| format!("not a state of this indicator: {error}"))
}

#[cfg(test)]
mod tests {
    use crate::indicators::testing::{Row, calls, rows, same};

    #[test]
    fn interleaved_keys_do_not_meet() {
        let rows = rows(300);
        for call in calls() {
            let together = call.feed(call.build().as_mut(), &rows, 0, 3);
            for key in 0..3 {
                let own: Vec<Row> = rows.iter().skip(key).step_by(3).cloned().collect();
                for (row, expected) in call.run(&own).iter().enumerate() {
                    assert!(same(&together[3 * row + key], expected), "{} row {row}", call.text);
                }
            }
        }
    }

    #[test]
    fn a_snapshot_in_the_middle_changes_nothing() {
        let rows = rows(300);
        for call in calls() {
            let expected = call.feed(call.build().as_mut(), &rows, 0, 3);
            for cut in [1, 8, 50, 171] {
                let (mut before, mut after) = (call.build(), call.build());
                let mut found = call.feed(before.as_mut(), &rows[..cut], 0, 3);
                for id in 0..3 {
                    let mut bytes = Vec::new();
                    before.snapshot(id, &mut bytes);
                    if !bytes.is_empty() {
                        assert_eq!(after.restore(id, &bytes), Ok(&[][..]), "{}", call.text);
                    }
                }
                found.extend(call.feed(after.as_mut(), &rows[cut..], cut, 3));
                let bits =
                    |rows: &[Vec<f64>]| -> Vec<u64> { rows.iter().flatten().map(|value| value.to_bits()).collect() };
                assert_eq!(bits(&found), bits(&expected), "{} cut at {cut}", call.text);
            }
        }
    }

    #[test]
    fn a_row_with_a_null_is_skipped() {
        let rows = rows(300);
        for call in calls() {
            let mut holed = Vec::new();
            for (index, row) in rows.iter().enumerate() {
                let mut hole = row.clone();
                hole.x[index % call.series()] = [f64::NAN, f64::NEG_INFINITY, 1e101][index % 3];
                holed.extend([hole, row.clone()]);
            }
            let found = call.run(&holed);
            for (row, expected) in call.run(&rows).iter().enumerate() {
                assert!(found[2 * row].iter().all(|value| value.is_nan()), "{}", call.text);
                assert!(same(&found[2 * row + 1], expected), "{} row {row}", call.text);
            }
        }
    }

    #[test]
    fn the_first_complete_row_comes_after_the_warm_up() {
        let rows = rows(100);
        for call in calls() {
            let first = call.run(&rows).iter().position(|row| row.iter().all(|value| !value.is_nan()));
            assert_eq!(first, (call.function.warm_up)(&call.arguments).or(Some(0)), "{}", call.text);
        }
    }

    #[test]
    fn foreign_bytes_are_refused() {
        for call in calls() {
            let mut column = call.build();
            assert!(column.restore(0, b"").is_err(), "{}", call.text);
            assert!(column.restore(0, &[0xff; 7]).is_err(), "{}", call.text);
            let mut out = Vec::new();
            column.snapshot(0, &mut out);
            assert_eq!(out, b"");
        }
    }

    #[test]
    fn memory_is_counted() {
        for call in calls() {
            let mut column = call.build();
            call.feed(column.as_mut(), &rows(300), 0, 30);
            assert!((30 * 8..30 * 2_000).contains(&column.bytes()), "{}", call.text);
        }
    }
}
