//! The kinds of values that aggregates work on. Every type of a column is held as one of them.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A value in a state.
pub trait Value: Clone + PartialEq + Serialize + DeserializeOwned + Send + 'static {
    /// A column of such values.
    type Column: Array + 'static;
    /// The column behind `array`.
    fn column(array: &ArrayRef) -> Option<&Self::Column>;
    /// The value at `row`.
    fn at(column: &Self::Column, row: usize) -> Self;
    /// Whether the value at `row` counts as a null.
    fn is_missing(_column: &Self::Column, _row: usize) -> bool {
        false
    }
    /// How the value at `row` compares with `other`.
    fn compare(column: &Self::Column, row: usize, other: &Self) -> Ordering;
    /// How it compares with `other`.
    fn order(&self, other: &Self) -> Ordering;
    /// A column of the type `kind`, which is held as such values.
    fn array(values: Vec<Option<Self>>, kind: &DataType) -> ArrayRef;
    /// Memory beside the value itself, in bytes.
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl Value for f64 {
    type Column = Float64Array;

    fn column(array: &ArrayRef) -> Option<&Float64Array> {
        array.as_primitive_opt::<Float64Type>()
    }

    #[inline]
    fn at(column: &Float64Array, row: usize) -> f64 {
        column.values()[row]
    }

    #[inline]
    fn is_missing(column: &Float64Array, row: usize) -> bool {
        column.values()[row].is_nan()
    }

    #[inline]
    fn compare(column: &Float64Array, row: usize, other: &f64) -> Ordering {
        column.values()[row].total_cmp(other)
    }

    #[inline]
    fn order(&self, other: &f64) -> Ordering {
        self.total_cmp(other)
    }

    fn array(values: Vec<Option<f64>>, kind: &DataType) -> ArrayRef {
        // What is no number is a null here as everywhere.
        let values = values.into_iter().map(|value| value.filter(|value| !value.is_nan()));
        back(Arc::new(Float64Array::from_iter(values)), kind)
    }
}

impl Value for i64 {
    type Column = Int64Array;

    fn column(array: &ArrayRef) -> Option<&Int64Array> {
        array.as_primitive_opt::<Int64Type>()
    }

    #[inline]
    fn at(column: &Int64Array, row: usize) -> i64 {
        column.values()[row]
    }

    #[inline]
    fn compare(column: &Int64Array, row: usize, other: &i64) -> Ordering {
        column.values()[row].cmp(other)
    }

    #[inline]
    fn order(&self, other: &i64) -> Ordering {
        self.cmp(other)
    }

    fn array(values: Vec<Option<i64>>, kind: &DataType) -> ArrayRef {
        back(Arc::new(Int64Array::from_iter(values)), kind)
    }
}

impl Value for i128 {
    type Column = Decimal128Array;

    fn column(array: &ArrayRef) -> Option<&Decimal128Array> {
        array.as_primitive_opt::<Decimal128Type>()
    }

    #[inline]
    fn at(column: &Decimal128Array, row: usize) -> i128 {
        column.values()[row]
    }

    #[inline]
    fn compare(column: &Decimal128Array, row: usize, other: &i128) -> Ordering {
        column.values()[row].cmp(other)
    }

    #[inline]
    fn order(&self, other: &i128) -> Ordering {
        self.cmp(other)
    }

    fn array(values: Vec<Option<i128>>, kind: &DataType) -> ArrayRef {
        Arc::new(Decimal128Array::from_iter(values).with_data_type(kind.clone()))
    }
}

impl Value for String {
    type Column = StringArray;

    fn column(array: &ArrayRef) -> Option<&StringArray> {
        array.as_string_opt::<i32>()
    }

    fn at(column: &StringArray, row: usize) -> String {
        column.value(row).to_string()
    }

    fn compare(column: &StringArray, row: usize, other: &String) -> Ordering {
        column.value(row).cmp(other.as_str())
    }

    #[inline]
    fn order(&self, other: &String) -> Ordering {
        self.cmp(other)
    }

    fn array(values: Vec<Option<String>>, _kind: &DataType) -> ArrayRef {
        Arc::new(StringArray::from_iter(values))
    }

    fn heap_bytes(&self) -> usize {
        self.capacity()
    }
}

/// Values in the order of [`Value::order`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "V: Value")]
pub struct Ordered<V>(pub V);

impl<V: Value> PartialEq for Ordered<V> {
    fn eq(&self, other: &Self) -> bool {
        self.0.order(&other.0).is_eq()
    }
}

impl<V: Value> Eq for Ordered<V> {}

impl<V: Value> PartialOrd for Ordered<V> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<V: Value> Ord for Ordered<V> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.order(&other.0)
    }
}

/// The type that holds values of `kind` while they are aggregated; none where they cannot be.
pub fn held_as(kind: &DataType) -> Option<DataType> {
    Some(match kind {
        DataType::Float32 | DataType::Float64 => DataType::Float64,
        DataType::Boolean | DataType::Int32 | DataType::Int64 => DataType::Int64,
        DataType::Date32 | DataType::Time32(_) | DataType::Time64(_) | DataType::Timestamp(..) => DataType::Int64,
        DataType::Decimal128(..) | DataType::Utf8 => kind.clone(),
        _ => return None,
    })
}

/// `column`, of a type that held values of `kind`, cast back.
fn back(column: ArrayRef, kind: &DataType) -> ArrayRef {
    let through = match kind {
        // Days and short times are integers of 32 bits.
        DataType::Date32 | DataType::Time32(_) => cast(&column, &DataType::Int32),
        _ => Ok(column),
    };
    let nulls = |length: usize| arrow::array::new_null_array(kind, length);
    // What was cast there can be cast back.
    through.map_or_else(|_| nulls(0), |column| cast(&column, kind).unwrap_or_else(|_| nulls(column.len())))
}

/// Calls a generic function with the kind of value that holds `$kind`.
macro_rules! with_value {
    ($kind:expr, $call:ident :: < $state:ident > ( $($argument:expr),* )) => {
        match $crate::aggregates::value::held_as($kind) {
            Some(arrow::datatypes::DataType::Float64) => $call::<$state<f64>>::boxed($($argument),*),
            Some(arrow::datatypes::DataType::Int64) => $call::<$state<i64>>::boxed($($argument),*),
            Some(arrow::datatypes::DataType::Decimal128(..)) => $call::<$state<i128>>::boxed($($argument),*),
            _ => $call::<$state<String>>::boxed($($argument),*),
        }
    };
}
pub(crate) use with_value;
