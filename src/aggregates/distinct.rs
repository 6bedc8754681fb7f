//! How many different values: all of them are kept until their group ends.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use super::accumulator::{Answer, Place, State, States};
use super::function::{Aggregate, Empty, Planned, one};
use super::reversible;
use super::value::{Ordered, Value, with_value};
use crate::memory::like;

/// `count_distinct(x)`
pub const COUNT_DISTINCT: Aggregate = Aggregate {
    name: "count_distinct",
    signature: "count_distinct(x), count(distinct x)",
    summary: "How many different values there are: exact.",
    numbers: 0,
    plan: |kinds, _| {
        let (held, kind) = (one(kinds)?, kinds[0].clone());
        let output = DataType::Int64;
        let build = Arc::new(move || with_value!(&kind, States::<Distinct>(0.0, &DataType::Int64)));
        Ok(Planned { arguments: vec![held], output, by_place: false, build })
    },
    reversible: |kinds, _, _| reversible::distinct(kinds),
    empty: Empty::Zero,
};

#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "V: Value")]
struct Distinct<V: Value>(BTreeSet<Ordered<V>>);

impl<V: Value> Default for Distinct<V> {
    fn default() -> Self {
        Distinct(BTreeSet::new())
    }
}

impl<V: Value> State for Distinct<V> {
    type Input = V;
    type Output = i64;

    fn add(&mut self, column: &V::Column, row: usize, _: Place) {
        self.0.insert(Ordered(V::at(column, row)));
    }

    fn merge(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }

    fn result(&self, _: f64) -> Answer<i64> {
        Answer::Is(self.0.len() as i64)
    }

    fn heap_bytes(&self) -> usize {
        let of = |value: &Ordered<V>| size_of::<V>() + value.0.heap_bytes();
        like(self.0.len(), self.0.iter(), of)
    }
}
