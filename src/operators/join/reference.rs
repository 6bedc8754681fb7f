//! The rows of a table by key, and from when on they hold.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, TimeUnit, TimestampNanosecondType};

use crate::error::Result;
use crate::formats::type_name;
use crate::keys::KeyReader;
use crate::sources::Whole;
use crate::spec::did_you_mean;

/// A table that rows are looked up in.
pub struct Reference {
    /// The rows of each key, by the instant from which they hold.
    of_key: HashMap<Vec<u8>, Vec<(i64, u32)>>,
    /// What rows get of it.
    columns: Vec<ArrayRef>,
}

impl Reference {
    /// Of `table`, known by the columns `key`, the `columns` that were made of it. What is wrong with it begins with the
    /// place.
    pub fn new(table: &Whole, key: &[usize], valid_from: Option<&str>, columns: Vec<ArrayRef>) -> Result<Self, String> {
        let since = match valid_from {
            Some(name) => instants(&table.rows, name)?,
            None => vec![i64::MIN; table.rows.num_rows()],
        };
        if let Some((row, at)) = first_null(&table.rows, key) {
            let schema = table.rows.schema();
            return Err(format!(", {}: it has no `{}`", table.place(row), schema.field(at).name()));
        }
        let broken = |error: arrow::error::ArrowError| format!(": {error}");
        let reader = KeyReader::new(&table.rows.schema(), key).map_err(broken)?;
        let mut of_key: HashMap<Vec<u8>, Vec<(i64, u32)>> = HashMap::new();
        let add = |row: usize, key: &[u8]| of_key.entry(key.to_vec()).or_default().push((since[row], row as u32));
        reader.for_each(&table.rows, add).map_err(broken)?;
        for rows in of_key.values_mut() {
            rows.sort_unstable();
        }
        let again =
            |rows: &Vec<(i64, u32)>| rows.windows(2).filter(|two| two[0].0 == two[1].0).map(|two| two[1].1).min();
        if let Some(row) = of_key.values().filter_map(again).min() {
            let hint = if valid_from.is_some() { ", from the same instant on" } else { "" };
            return Err(format!(", {}: this key is there already{hint}", table.place(row as usize)));
        }
        Ok(Reference { of_key, columns })
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.of_key.len()
    }

    /// The row of a key that holds at `time`.
    pub fn find(&self, key: &[u8], time: i64) -> Option<u32> {
        let rows = self.of_key.get(key)?;
        let after = rows.partition_point(|(since, _)| *since <= time);
        Some(rows[after.checked_sub(1)?].1)
    }

    /// The columns of these rows; nulls where there are none.
    pub fn columns(&self, rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
        self.columns.iter().map(|column| Ok(take(column, rows, None)?)).collect()
    }
}

/// The instants in a column, in ns; from the beginning where there is none.
fn instants(rows: &RecordBatch, name: &str) -> Result<Vec<i64>, String> {
    let schema = rows.schema();
    let Some((at, field)) = schema.column_with_name(name) else {
        let near = did_you_mean(name, schema.fields().iter().map(|field| field.name().as_str()));
        return Err(format!(": there is no column `{name}`{near}"));
    };
    if !matches!(field.data_type(), DataType::Timestamp(..) | DataType::Date32) {
        let kind = type_name(field.data_type());
        return Err(format!(": `{name}` is {kind} and no time: declare it with `schema`"));
    }
    let times = cast(rows.column(at), &DataType::Timestamp(TimeUnit::Nanosecond, None));
    let times = times.map_err(|error| format!(": `{name}`: {error}"))?;
    Ok(times.as_primitive::<TimestampNanosecondType>().iter().map(|time| time.unwrap_or(i64::MIN)).collect())
}

/// The first row without one of these columns, and which.
fn first_null(rows: &RecordBatch, columns: &[usize]) -> Option<(usize, usize)> {
    let null = |at: &usize| (0..rows.num_rows()).find(|row| rows.column(*at).is_null(*row)).map(|row| (row, *at));
    columns.iter().filter_map(null).min()
}
