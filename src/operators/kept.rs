//! The rows themselves, where they may be replaced or taken back: what the others of their interval come to is then
//! computed anew, as if the wrong row had never been.

use std::collections::BTreeMap;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use serde::{Deserialize, Serialize};

use crate::aggregates::Place;
use crate::error::{Error, Result};
use crate::memory::Heap;

/// A row: event time, then what it is known by.
type Id = (i64, Box<[u8]>);

/// What is kept of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Where it stands among the others.
    pub place: Place,
    /// How many corrections it has seen.
    pub revision: u64,
    /// How far event time had come when it came, where that is past it: intervals that had ended are without it.
    pub come: i64,
    /// The arguments of the aggregates, in Arrow's row format.
    pub values: Box<[u8]>,
}

impl Heap for Row {
    fn heap_bytes(&self) -> usize {
        self.values.heap_bytes()
    }
}

/// Rows by key.
pub struct Kept {
    converter: RowConverter,
    of_key: Vec<BTreeMap<Id, Row>>,
}

impl Kept {
    /// Rows with arguments of these types.
    pub fn new(kinds: &[DataType]) -> Result<Self> {
        let fields = kinds.iter().map(|kind| SortField::new(kind.clone())).collect();
        Ok(Kept { converter: RowConverter::new(fields)?, of_key: Vec::new() })
    }

    /// The bytes of the arguments of each row.
    pub fn encode(&self, arguments: &[ArrayRef]) -> Result<arrow::row::Rows> {
        Ok(self.converter.convert_columns(arguments)?)
    }

    /// Keeps a row; returns the one that it replaces.
    pub fn put(&mut self, key: u32, time: i64, id: &[u8], row: Row) -> Option<Row> {
        if self.of_key.len() <= key as usize {
            self.of_key.resize_with(key as usize + 1, BTreeMap::new);
        }
        self.of_key[key as usize].insert((time, id.into()), row)
    }

    /// Takes a row back.
    pub fn take(&mut self, key: u32, time: i64, id: &[u8]) -> Option<Row> {
        self.of_key.get_mut(key as usize)?.remove(&(time, id.into()))
    }

    /// The event time of the first row of a key.
    pub fn first(&self, key: u32) -> Option<i64> {
        self.of_key.get(key as usize)?.first_key_value().map(|((time, _), _)| *time)
    }

    /// Forgets the rows of a key before `time`.
    pub fn forget(&mut self, key: u32, time: i64) {
        if let Some(rows) = self.of_key.get_mut(key as usize) {
            *rows = rows.split_off(&(time, Box::default()));
        }
    }

    /// The rows of a key in `[start, end)` that came before event time had come to `closed`: their places, their arguments
    /// and the sum of their revisions.
    pub fn within(&self, key: u32, (start, end): (i64, i64), closed: i64) -> Result<(Vec<Place>, Vec<ArrayRef>, u64)> {
        let (from, to) = ((start, Box::default()), (end, Box::default()));
        let rows = self.of_key.get(key as usize).map(|rows| rows.range(from..to));
        let rows: Vec<&Row> = rows.into_iter().flatten().map(|(_, row)| row).filter(|row| row.come < closed).collect();
        let parser = self.converter.parser();
        let arguments = self.converter.convert_rows(rows.iter().map(|row| parser.parse(&row.values)))?;
        Ok((rows.iter().map(|row| row.place).collect(), arguments, rows.iter().map(|row| row.revision).sum()))
    }

    /// An estimate of the memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.of_key.heap_bytes()
    }

    /// Appends the rows of a key.
    pub fn write(&self, key: u32, out: &mut Vec<u8>) {
        let none = BTreeMap::new();
        let rows: Vec<(&Id, &Row)> = self.of_key.get(key as usize).unwrap_or(&none).iter().collect();
        // Memory can be written: this does not fail.
        if let Ok(whole) = postcard::to_extend(&rows, std::mem::take(out)) {
            *out = whole;
        }
    }

    /// Puts back what [`write`](Self::write) has written; returns the bytes behind it.
    pub fn read<'b>(&mut self, key: u32, bytes: &'b [u8]) -> Result<&'b [u8]> {
        let read = postcard::take_from_bytes::<Vec<(Id, Row)>>(bytes);
        let (rows, rest) = read.map_err(|error| Error::run(format!("not the rows of a key: {error}")))?;
        if self.of_key.len() <= key as usize {
            self.of_key.resize_with(key as usize + 1, BTreeMap::new);
        }
        self.of_key[key as usize] = rows.into_iter().collect();
        Ok(rest)
    }
}
