//! The least and the greatest.

use std::cmp::Ordering;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use super::accumulator::{Answer, Place, State, States};
use super::function::{Aggregate, Empty, Planned, one};
use super::reversible;
use super::value::{Value, with_value};

/// `min(x)`
pub const MIN: Aggregate = Aggregate {
    name: "min",
    signature: "min(x)",
    summary: "The least value.",
    numbers: 0,
    plan: |kinds, _| plan(kinds, |kind| with_value!(kind, States::<Min>(0.0, kind))),
    reversible: |kinds, _, _| reversible::least(kinds),
    empty: Empty::Last,
};

/// `max(x)`
pub const MAX: Aggregate = Aggregate {
    name: "max",
    signature: "max(x)",
    summary: "The greatest value.",
    numbers: 0,
    plan: |kinds, _| plan(kinds, |kind| with_value!(kind, States::<Max>(0.0, kind))),
    reversible: |kinds, _, _| reversible::greatest(kinds),
    empty: Empty::Last,
};

fn plan(kinds: &[DataType], build: fn(&DataType) -> Box<dyn super::Accumulator>) -> Result<Planned, String> {
    let (held, output) = (one(kinds)?, kinds[0].clone());
    let kind = output.clone();
    Ok(Planned { arguments: vec![held], output, by_place: false, build: Arc::new(move || build(&kind)) })
}

type Min<V> = Extreme<V, Least>;
type Max<V> = Extreme<V, Greatest>;

/// Which of two values is kept.
trait Side: Clone + Default + Send {
    const BETTER: Ordering;
}

#[derive(Clone, Default)]
struct Least;
#[derive(Clone, Default)]
struct Greatest;

impl Side for Least {
    const BETTER: Ordering = Ordering::Less;
}

impl Side for Greatest {
    const BETTER: Ordering = Ordering::Greater;
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "V: Value")]
struct Extreme<V, S> {
    value: Option<V>,
    #[serde(skip)]
    side: PhantomData<S>,
}

impl<V, S> Default for Extreme<V, S> {
    fn default() -> Self {
        Extreme { value: None, side: PhantomData }
    }
}

impl<V: Value, S: Side> State for Extreme<V, S> {
    type Input = V;
    type Output = V;

    #[inline]
    fn add(&mut self, column: &V::Column, row: usize, _: Place) {
        if self.value.as_ref().is_none_or(|value| V::compare(column, row, value) == S::BETTER) {
            self.value = Some(V::at(column, row));
        }
    }

    fn merge(&mut self, other: &Self) {
        let Some(theirs) = &other.value else { return };
        if self.value.as_ref().is_none_or(|value| theirs.order(value) == S::BETTER) {
            self.value = Some(theirs.clone());
        }
    }

    fn result(&self, _: f64) -> Answer<V> {
        self.value.clone().into()
    }

    fn heap_bytes(&self) -> usize {
        self.value.as_ref().map_or(0, V::heap_bytes)
    }
}
