//! The states of one aggregate for all groups, behind one dynamic call a batch.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::value::Value;
use crate::error::{Error, Result};
use crate::memory::of_vec;

/// Where a row stands among the others of its group: what `first` and `last` go by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Event time, in ns since 1970 UTC.
    pub time: i64,
    /// Position of the source in the plan.
    pub source: u16,
    /// Partition, then offset.
    pub at: i64,
}

impl Place {
    /// Before all places of this time.
    pub fn first_at(time: i64) -> Place {
        Place { time, source: 0, at: i64::MIN }
    }
}

/// Which rows of a batch go to which groups: row `rows[i]` to group `slots[i]`.
#[derive(Clone, Copy)]
pub struct Entries<'a> {
    /// Positions in the batch.
    pub rows: &'a [u32],
    /// The numbers of the groups.
    pub slots: &'a [u32],
    /// The place of each row of the batch; empty where no aggregate asks for it.
    pub places: &'a [Place],
}

impl Entries<'_> {
    /// Row, slot and place of each.
    #[inline]
    pub fn each(&self, mut each: impl FnMut(usize, usize, Place)) {
        for (row, slot) in self.rows.iter().zip(self.slots) {
            let place = self.places.get(*row as usize).copied().unwrap_or_default();
            each(*row as usize, *slot as usize, place);
        }
    }
}

/// One aggregate: a state for each group, which is known by a small dense number, its slot.
pub trait Accumulator: Send {
    /// Makes the state of `slot` that of no rows.
    fn clear(&mut self, slot: u32);
    /// Takes rows, whose arguments are `arguments`, of the types that were planned.
    fn update(&mut self, entries: Entries<'_>, arguments: &[ArrayRef]);
    /// Whether rows can be taken back.
    fn is_reversible(&self) -> bool {
        false
    }
    /// Takes rows back that were taken before, or are taken in the same epoch: only where it is reversible.
    fn take_back(&mut self, _entries: Entries<'_>, _arguments: &[ArrayRef]) {}
    /// No row of `slot` with an event time before `time` is taken back any more.
    fn settle(&mut self, _slot: u32, _time: i64) {}
    /// Makes the state of `into` that of `from`.
    fn copy(&mut self, from: u32, into: u32);
    /// Adds the rows of `from` to those of `into`.
    fn merge(&mut self, into: u32, from: u32);
    /// The results, of the type that was planned; null where there is none.
    ///
    /// # Errors
    /// Where a result does not fit its type: the position among `slots`, and why.
    fn results(&self, slots: &[u32]) -> std::result::Result<ArrayRef, Overflow>;
    /// Appends the state of a group.
    fn write(&self, slot: u32, out: &mut Vec<u8>);
    /// Puts back what [`write`](Self::write) has written; returns the bytes behind it.
    fn read<'b>(&mut self, slot: u32, bytes: &'b [u8]) -> Result<&'b [u8]>;
    /// An estimate of the memory held, in bytes.
    fn bytes(&self) -> usize;
}

/// A result that does not fit its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overflow {
    /// Which of the groups that were asked for.
    pub at: usize,
}

/// The state of one group.
pub trait State: Clone + Default + Serialize + DeserializeOwned + Send {
    /// What comes in.
    type Input: Value;
    /// What comes out.
    type Output: Value;
    /// Takes the value at `row`, which is not null.
    fn add(&mut self, column: &<Self::Input as Value>::Column, row: usize, place: Place);
    /// Whether [`take_back`](Self::take_back) does what it says.
    const REVERSIBLE: bool = false;
    /// Takes the value at `row` back; the order of rows and of what takes them back does not matter.
    fn take_back(&mut self, _column: &<Self::Input as Value>::Column, _row: usize, _place: Place) {}
    /// Nothing with an event time before `time` is taken back any more.
    fn settle(&mut self, _time: i64) {}
    /// Takes all that `other` has taken.
    fn merge(&mut self, other: &Self);
    /// The result; `parameter` is what was written out behind the argument (the share of a quantile).
    fn result(&self, parameter: f64) -> Answer<Self::Output>;
    /// Memory beside the struct itself, in bytes.
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// What a group comes to.
pub enum Answer<T> {
    /// A value.
    Is(T),
    /// None: there were no rows, or too few.
    Null,
    /// One that does not fit.
    TooGreat,
}

impl<T> From<Option<T>> for Answer<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Answer::Null, Answer::Is)
    }
}

/// The [`Accumulator`] of aggregates of one argument: a `Vec` of states.
pub struct States<S: State> {
    states: Vec<S>,
    parameter: f64,
    output: DataType,
}

impl<S: State + 'static> States<S> {
    /// No groups yet; results are of the type `output`.
    pub fn boxed(parameter: f64, output: &DataType) -> Box<dyn Accumulator> {
        Box::new(States::<S> { states: Vec::new(), parameter, output: output.clone() })
    }
}

impl<S: State> States<S> {
    fn reach(&mut self, slot: u32) -> &mut S {
        let needed = slot as usize + 1;
        if self.states.len() < needed {
            self.states.resize(needed.next_power_of_two(), S::default());
        }
        &mut self.states[slot as usize]
    }

    /// Does something with the state of each row's group and the row, where it has a value.
    #[inline]
    fn each(
        &mut self,
        entries: Entries<'_>,
        arguments: &[ArrayRef],
        does: impl Fn(&mut S, &<S::Input as Value>::Column, usize, Place),
    ) {
        let Some(column) = arguments.first().and_then(S::Input::column) else { return };
        let nulls = column.nulls();
        let states = &mut self.states;
        entries.each(|row, slot, place| {
            if nulls.is_none_or(|nulls| nulls.is_valid(row)) && !S::Input::is_missing(column, row) {
                does(&mut states[slot], column, row, place);
            }
        });
    }
}

impl<S: State> Accumulator for States<S> {
    fn clear(&mut self, slot: u32) {
        *self.reach(slot) = S::default();
    }

    fn update(&mut self, entries: Entries<'_>, arguments: &[ArrayRef]) {
        self.each(entries, arguments, S::add);
    }

    fn is_reversible(&self) -> bool {
        S::REVERSIBLE
    }

    fn take_back(&mut self, entries: Entries<'_>, arguments: &[ArrayRef]) {
        self.each(entries, arguments, S::take_back);
    }

    fn settle(&mut self, slot: u32, time: i64) {
        self.reach(slot).settle(time);
    }

    fn copy(&mut self, from: u32, into: u32) {
        let state = self.reach(from).clone();
        *self.reach(into) = state;
    }

    fn merge(&mut self, into: u32, from: u32) {
        let other = std::mem::take(self.reach(from));
        self.reach(into).merge(&other);
    }

    fn results(&self, slots: &[u32]) -> std::result::Result<ArrayRef, Overflow> {
        let mut results = Vec::with_capacity(slots.len());
        for (at, slot) in slots.iter().enumerate() {
            match self.states[*slot as usize].result(self.parameter) {
                Answer::Is(value) => results.push(Some(value)),
                Answer::Null => results.push(None),
                Answer::TooGreat => return Err(Overflow { at }),
            }
        }
        Ok(S::Output::array(results, &self.output))
    }

    fn write(&self, slot: u32, out: &mut Vec<u8>) {
        encode(&self.states[slot as usize], out);
    }

    fn read<'b>(&mut self, slot: u32, bytes: &'b [u8]) -> Result<&'b [u8]> {
        let (state, rest) = decode(bytes)?;
        *self.reach(slot) = state;
        Ok(rest)
    }

    fn bytes(&self) -> usize {
        of_vec(&self.states, S::heap_bytes)
    }
}

/// Appends a state, in the wire format of postcard.
pub fn encode<T: Serialize>(state: &T, out: &mut Vec<u8>) {
    // Memory can be written, and a state is a plain struct: neither fails.
    if let Ok(whole) = postcard::to_extend(state, std::mem::take(out)) {
        *out = whole;
    }
}

/// Reads what [`encode`] has written, and returns the bytes behind it.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8])> {
    postcard::take_from_bytes(bytes).map_err(|error| Error::run(format!("not a state of this aggregate: {error}")))
}
