//! The first and the last, by event time, then partition and offset.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use super::accumulator::{Answer, Place, State, States};
use super::function::{Aggregate, Empty, Planned, one};
use super::reversible;
use super::value::{Value, with_value};

/// `first(x)`
pub const FIRST: Aggregate = Aggregate {
    name: "first",
    signature: "first(x)",
    summary: "The value of the first row that has one: by event time, then source, partition and offset.",
    numbers: 0,
    plan: |kinds, _| plan(kinds, |kind| with_value!(kind, States::<First>(0.0, kind))),
    reversible: |kinds, _, _| reversible::first(kinds),
    empty: Empty::Last,
};

/// `last(x)`
pub const LAST: Aggregate = Aggregate {
    name: "last",
    signature: "last(x)",
    summary: "The value of the last row that has one: by event time, then source, partition and offset.",
    numbers: 0,
    plan: |kinds, _| plan(kinds, |kind| with_value!(kind, States::<Last>(0.0, kind))),
    reversible: |kinds, _, _| reversible::last(kinds),
    empty: Empty::Last,
};

fn plan(kinds: &[DataType], build: fn(&DataType) -> Box<dyn super::Accumulator>) -> Result<Planned, String> {
    let (held, output) = (one(kinds)?, kinds[0].clone());
    let kind = output.clone();
    Ok(Planned { arguments: vec![held], output, by_place: true, build: Arc::new(move || build(&kind)) })
}

type First<V> = At<V, Earliest>;
type Last<V> = At<V, Latest>;

/// Which of two places is kept.
trait Side: Clone + Default + Send {
    fn is_better(place: Place, than: Place) -> bool;
}

#[derive(Clone, Default)]
struct Earliest;
#[derive(Clone, Default)]
struct Latest;

impl Side for Earliest {
    #[inline]
    fn is_better(place: Place, than: Place) -> bool {
        place < than
    }
}

impl Side for Latest {
    #[inline]
    fn is_better(place: Place, than: Place) -> bool {
        place > than
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "V: Value")]
struct At<V, S> {
    at: Place,
    value: Option<V>,
    #[serde(skip)]
    side: PhantomData<S>,
}

impl<V, S> Default for At<V, S> {
    fn default() -> Self {
        At { at: Place::default(), value: None, side: PhantomData }
    }
}

impl<V: Value, S: Side> State for At<V, S> {
    type Input = V;
    type Output = V;

    #[inline]
    fn add(&mut self, column: &V::Column, row: usize, place: Place) {
        if self.value.is_none() || S::is_better(place, self.at) {
            self.at = place;
            self.value = Some(V::at(column, row));
        }
    }

    fn merge(&mut self, other: &Self) {
        if other.value.is_some() && (self.value.is_none() || S::is_better(other.at, self.at)) {
            *self = other.clone();
        }
    }

    fn result(&self, _: f64) -> Answer<V> {
        self.value.clone().into()
    }

    fn heap_bytes(&self) -> usize {
        self.value.as_ref().map_or(0, V::heap_bytes)
    }
}
