//! What is least, greatest, different or in the middle: of all values, with how often each is there.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use crate::aggregates::accumulator::{Accumulator, Answer, Place, State, States};
use crate::aggregates::function::{Planned, number, one};
use crate::aggregates::value::{Ordered, Value, with_value};
use crate::memory::like;

/// `min(x)`
pub fn least(kinds: &[DataType]) -> Result<Planned, String> {
    plan(kinds, kinds.first(), |kind| with_value!(kind, States::<Least>(0.0, kind)))
}

/// `max(x)`
pub fn greatest(kinds: &[DataType]) -> Result<Planned, String> {
    plan(kinds, kinds.first(), |kind| with_value!(kind, States::<Greatest>(0.0, kind)))
}

/// `count_distinct(x)`
pub fn distinct(kinds: &[DataType]) -> Result<Planned, String> {
    plan(kinds, Some(&DataType::Int64), |kind| with_value!(kind, States::<Different>(0.0, &DataType::Int64)))
}

/// `quantile(x, q)`
pub fn quantile(kinds: &[DataType], q: f64) -> Result<Planned, String> {
    number(kinds)?;
    let build = Arc::new(move || States::<Middle>::boxed(q, &DataType::Float64));
    Ok(Planned { arguments: vec![DataType::Float64], output: DataType::Float64, by_place: false, build })
}

fn plan(
    kinds: &[DataType],
    output: Option<&DataType>,
    build: fn(&DataType) -> Box<dyn Accumulator>,
) -> Result<Planned, String> {
    let held = one(kinds)?;
    let (kind, output) = (kinds[0].clone(), output.unwrap_or(&held).clone());
    Ok(Planned { arguments: vec![held], output, by_place: false, build: Arc::new(move || build(&kind)) })
}

type Least<V> = Bag<V, V, ReadLeast>;
type Greatest<V> = Bag<V, V, ReadGreatest>;
type Different<V> = Bag<V, i64, ReadDifferent>;
type Middle = Bag<f64, f64, ReadMiddle>;

/// Values, and how often each is there: less than not at all, while what takes it back has come before it.
type Counts<V> = BTreeMap<Ordered<V>, i64>;

/// What is read from a bag.
trait Read<V, O>: Clone + Default + Send {
    fn read(counts: &Counts<V>, parameter: f64) -> Option<O>;
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "V: Value")]
struct Bag<V: Value, O, R> {
    counts: Counts<V>,
    #[serde(skip)]
    read: PhantomData<(O, R)>,
}

impl<V: Value, O, R> Default for Bag<V, O, R> {
    fn default() -> Self {
        Bag { counts: BTreeMap::new(), read: PhantomData }
    }
}

impl<V: Value, O, R> Bag<V, O, R> {
    fn count(&mut self, value: V, more: i64) {
        let value = Ordered(value);
        let count = self.counts.entry(value.clone()).or_default();
        *count += more;
        if *count == 0 {
            self.counts.remove(&value);
        }
    }
}

impl<V: Value, O: Value, R: Read<V, O>> State for Bag<V, O, R> {
    type Input = V;
    type Output = O;
    const REVERSIBLE: bool = true;

    fn add(&mut self, column: &V::Column, row: usize, _: Place) {
        self.count(V::at(column, row), 1);
    }

    fn take_back(&mut self, column: &V::Column, row: usize, _: Place) {
        self.count(V::at(column, row), -1);
    }

    fn merge(&mut self, other: &Self) {
        other.counts.iter().for_each(|(value, count)| self.count(value.0.clone(), *count));
    }

    fn result(&self, parameter: f64) -> Answer<O> {
        R::read(&self.counts, parameter).into()
    }

    fn heap_bytes(&self) -> usize {
        like(self.counts.len(), self.counts.keys(), |value| size_of::<(V, i64)>() + value.0.heap_bytes())
    }
}

#[derive(Clone, Default)]
struct ReadLeast;

impl<V: Value> Read<V, V> for ReadLeast {
    fn read(counts: &Counts<V>, _: f64) -> Option<V> {
        counts.keys().next().map(|value| value.0.clone())
    }
}

#[derive(Clone, Default)]
struct ReadGreatest;

impl<V: Value> Read<V, V> for ReadGreatest {
    fn read(counts: &Counts<V>, _: f64) -> Option<V> {
        counts.keys().next_back().map(|value| value.0.clone())
    }
}

#[derive(Clone, Default)]
struct ReadDifferent;

impl<V: Value> Read<V, i64> for ReadDifferent {
    fn read(counts: &Counts<V>, _: f64) -> Option<i64> {
        Some(counts.len() as i64)
    }
}

#[derive(Clone, Default)]
struct ReadMiddle;

impl Read<f64, f64> for ReadMiddle {
    /// The value at `q * (n - 1)` of the n sorted values, between two by linear interpolation.
    fn read(counts: &Counts<f64>, q: f64) -> Option<f64> {
        let total: i64 = counts.values().sum();
        let at = q * total.checked_sub(1).filter(|most| *most >= 0)? as f64;
        let (low, high) = (nth(counts, at.floor() as i64)?, nth(counts, at.ceil() as i64)?);
        Some(low + (high - low) * (at - at.floor()))
    }
}

fn nth(counts: &Counts<f64>, at: i64) -> Option<f64> {
    let mut before = 0;
    counts
        .iter()
        .find(|(_, count)| {
            before += **count;
            at < before
        })
        .map(|(value, _)| value.0)
}
