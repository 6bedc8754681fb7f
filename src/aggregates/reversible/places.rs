//! The first and the last, of values that are kept in the order of their places as long as they may be taken back.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use super::counted::Counted;
use crate::aggregates::accumulator::{Accumulator, Answer, Place, State, States};
use crate::aggregates::function::{Planned, one};
use crate::aggregates::value::{Value, with_value};
use crate::memory::like;

/// `first(x)`
pub fn first(kinds: &[DataType]) -> Result<Planned, String> {
    plan(kinds, |kind| with_value!(kind, States::<First>(0.0, kind)))
}

/// `last(x)`
pub fn last(kinds: &[DataType]) -> Result<Planned, String> {
    plan(kinds, |kind| with_value!(kind, States::<Last>(0.0, kind)))
}

fn plan(kinds: &[DataType], build: fn(&DataType) -> Box<dyn Accumulator>) -> Result<Planned, String> {
    let (held, output) = (one(kinds)?, kinds[0].clone());
    let kind = output.clone();
    Ok(Planned { arguments: vec![held], output, by_place: true, build: Arc::new(move || build(&kind)) })
}

type First<V> = Placed<V, Earliest>;
type Last<V> = Placed<V, Latest>;

/// The values of rows by their places.
type Values<V> = BTreeMap<Place, Counted<V>>;

/// Which end is read.
trait End: Clone + Default + Send {
    fn of<V>(values: &Values<V>) -> Option<(Place, &Counted<V>)>;
}

#[derive(Clone, Default)]
struct Earliest;

impl End for Earliest {
    fn of<V>(values: &Values<V>) -> Option<(Place, &Counted<V>)> {
        values.first_key_value().map(|(place, value)| (*place, value))
    }
}

#[derive(Clone, Default)]
struct Latest;

impl End for Latest {
    fn of<V>(values: &Values<V>) -> Option<(Place, &Counted<V>)> {
        values.last_key_value().map(|(place, value)| (*place, value))
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "V: Value")]
struct Placed<V: Value, E> {
    values: Values<V>,
    #[serde(skip)]
    end: PhantomData<E>,
}

impl<V: Value, E> Default for Placed<V, E> {
    fn default() -> Self {
        Placed { values: BTreeMap::new(), end: PhantomData }
    }
}

impl<V: Value, E> Placed<V, E> {
    fn count(&mut self, place: Place, value: V, more: i64) {
        let values = self.values.entry(place).or_default();
        values.add(value, more);
        if values.is_empty() {
            self.values.remove(&place);
        }
    }
}

impl<V: Value, E: End> State for Placed<V, E> {
    type Input = V;
    type Output = V;
    const REVERSIBLE: bool = true;

    fn add(&mut self, column: &V::Column, row: usize, place: Place) {
        self.count(place, V::at(column, row), 1);
    }

    fn take_back(&mut self, column: &V::Column, row: usize, place: Place) {
        self.count(place, V::at(column, row), -1);
    }

    fn settle(&mut self, time: i64) {
        let open = self.values.split_off(&Place::first_at(time));
        let settled = std::mem::replace(&mut self.values, open);
        // Of those that stay for good only the one at the end can ever be asked for.
        if let Some((place, value)) = E::of(&settled) {
            self.values.insert(place, value.clone());
        }
    }

    fn merge(&mut self, other: &Self) {
        for (place, values) in &other.values {
            values.each(|value, count| self.count(*place, value.clone(), count));
        }
    }

    fn result(&self, _: f64) -> Answer<V> {
        E::of(&self.values).and_then(|(_, values)| values.first().cloned()).into()
    }

    fn heap_bytes(&self) -> usize {
        let of = |values: &Counted<V>| size_of::<Place>() + values.heap_bytes(V::heap_bytes);
        like(self.values.len(), self.values.values(), of)
    }
}
