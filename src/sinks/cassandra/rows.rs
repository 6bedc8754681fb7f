//! Rows as the server takes them: the values bound to a statement of the table, one after the other.

use std::ops::Range;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::TimestampNanosecondType;
use bytes::Bytes;
use chrono::{DateTime, Datelike};
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;
use xxhash_rust::xxh3::xxh3_64;

use super::cells::{Cells, canonical, cells, day, put, put_null, put_unset, read};
use super::table::{Bucket, Column, Table, Values};
use crate::batch::Epoch;
use crate::error::{Error, Result};
use crate::sinks::progress::OnItsWay;
use crate::spec::{DELETE, Projection};

/// What the server takes as a key, in bytes.
const KEY_BYTES: usize = 65_535;
/// The longest time to live: 20 years.
pub const LONGEST_TTL: Duration = Duration::from_secs(20 * 365 * 86_400);
const DAY: i64 = 86_400_000_000_000;

/// A row, encoded.
#[derive(Clone, Debug)]
pub struct Row {
    /// The values.
    pub bytes: Bytes,
    /// Its epoch.
    pub epoch: Epoch,
    /// A hash of its partition key.
    pub partition: u64,
    /// Whether the row with its key is removed rather than written.
    pub delete: bool,
    key: Range<u32>,
}

impl Row {
    /// A row without a key, for tests.
    #[cfg(test)]
    pub fn of(bytes: Bytes, epoch: Epoch, partition: u64) -> Row {
        Row { bytes, epoch, partition, delete: false, key: 0..0 }
    }

    /// The primary key.
    pub fn key(&self) -> Bytes {
        self.bytes.slice(self.key.start as usize..self.key.end as usize)
    }
}

impl OnItsWay for Row {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn bytes(&self) -> usize {
        self.bytes.len() + size_of::<Row>()
    }
}

impl SerializeRow for Row {
    fn serialize(&self, _: &RowSerializationContext<'_>, writer: &mut RowWriter<'_>) -> Result<(), SerializationError> {
        for value in read(&self.bytes) {
            let cell = writer.make_cell_writer();
            match value {
                None => cell.set_unset(),
                Some(None) => cell.set_null(),
                Some(Some(value)) => cell.set_value(value).map_err(SerializationError::new)?,
            };
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Rows of a batch, encoded.
pub struct Encoded {
    /// The rows, in order.
    pub rows: Vec<Row>,
    /// How many were left out because the table does not keep rows as old as they are.
    pub expired: u64,
}

/// Encodes rows for one table.
#[derive(Clone)]
pub struct Encoder {
    /// How the written rows are made.
    pub projection: Projection,
    /// The table.
    pub table: Table,
    /// Where event time stands, in the rows that come in.
    pub time: Option<usize>,
    /// Where it stands what a row does, in the rows that come in, where they are changes: of those a null is
    /// written, of others it leaves what is there.
    pub changes: Option<usize>,
    /// How long the table keeps a row, from its event time on.
    pub ttl: Option<Duration>,
}

impl Encoder {
    /// Encodes all rows of `data`; `now` is in ns since 1970. Fails where one cannot be written, and says why.
    pub fn encode(&self, epoch: Epoch, data: &RecordBatch, now: i64) -> Result<Encoded> {
        let rows = self.projection.apply(data)?;
        let times = match self.time {
            Some(at) => &data.column(at).as_primitive::<TimestampNanosecondType>().values()[..],
            None => &[],
        };
        let arrays = self.arrays(&rows)?;
        let columns = self.columns(&arrays, times)?;
        let operations: Option<&StringArray> = self.changes.map(|at| data.column(at).as_string());
        let time_left = |row: usize| self.ttl.map(|ttl| remaining(ttl, times[row], now));
        let mut out = Vec::with_capacity(rows.num_rows() * columns.len() * 12);
        let mut encoded = Vec::with_capacity(rows.num_rows());
        for row in 0..rows.num_rows() {
            let ttl = time_left(row);
            if ttl == Some(None) {
                continue;
            }
            let delete = operations.is_some_and(|operations| operations.value(row) == DELETE);
            encoded.push(match delete {
                true => self.put_delete(row, epoch, &columns, &mut out)?,
                false => self.put_insert(row, epoch, ttl.flatten(), &columns, &mut out)?,
            });
        }
        let bytes = Bytes::from(out);
        let cut = |Place { row, partition, key, delete }: Place| Row {
            partition: xxh3_64(&bytes[key.start..partition]),
            key: (key.start - row.start) as u32..(key.end - row.start) as u32,
            bytes: bytes.slice(row),
            epoch,
            delete,
        };
        let expired = (rows.num_rows() - encoded.len()) as u64;
        Ok(Encoded { rows: encoded.into_iter().map(cut).collect(), expired })
    }

    /// The values of each column of the table, where they stand in the rows.
    fn arrays(&self, rows: &RecordBatch) -> Result<Vec<Option<ArrayRef>>> {
        let array = |column: &Column| match column.values {
            Values::Column(at) => {
                canonical(rows.column(at), column.kind).map(Some).map_err(|error| in_column(&column.name, &error))
            }
            Values::Bucket(_) => Ok(None),
        };
        self.table.columns.iter().map(array).collect()
    }

    fn columns<'a>(&'a self, arrays: &'a [Option<ArrayRef>], times: &'a [i64]) -> Result<Vec<ToWrite<'a>>> {
        let column = |(column, array): (&'a Column, &'a Option<ArrayRef>)| {
            let cells = match (array, column.values) {
                (Some(array), _) => cells(array, column.kind)?,
                (None, Values::Bucket(bucket)) => bucket_cells(bucket, times),
                (None, Values::Column(_)) => return Err(in_column(&column.name, &"it has no values")),
            };
            let nulls = array.as_ref().filter(|array| array.null_count() > 0);
            Ok(ToWrite { name: &column.name, nulls, cells })
        };
        self.table.columns.iter().zip(arrays).map(column).collect()
    }

    /// The values of the statement that writes a row.
    fn put_insert(
        &self,
        row: usize,
        epoch: Epoch,
        ttl: Option<i32>,
        columns: &[ToWrite<'_>],
        out: &mut Vec<u8>,
    ) -> Result<Place> {
        let begin = out.len();
        let (partition, key) = self.put_key(row, columns, out)?;
        for column in &columns[self.table.key()..] {
            match column.is_null(row) {
                false => column.put(row, out)?,
                true if self.changes.is_some() => put_null(out),
                true => put_unset(out),
            }
        }
        put(out, &(epoch as i64).to_be_bytes());
        ttl.into_iter().for_each(|ttl| put(out, &ttl.to_be_bytes()));
        Ok(Place { row: begin..out.len(), key: begin..key, partition, delete: false })
    }

    /// The values of the statement that removes one.
    fn put_delete(&self, row: usize, epoch: Epoch, columns: &[ToWrite<'_>], out: &mut Vec<u8>) -> Result<Place> {
        let begin = out.len();
        put(out, &(epoch as i64).to_be_bytes());
        let key_begin = out.len();
        let (partition, key) = self.put_key(row, columns, out)?;
        Ok(Place { row: begin..key, key: key_begin..key, partition, delete: true })
    }

    /// Writes the primary key; returns where the partition key and the whole of it end.
    fn put_key(&self, row: usize, columns: &[ToWrite<'_>], out: &mut Vec<u8>) -> Result<(usize, usize)> {
        let begin = out.len();
        let (partition, clustering) = columns[..self.table.key()].split_at(self.table.partition);
        partition.iter().try_for_each(|column| column.put_key(row, out))?;
        let partition_end = out.len();
        // The server takes no empty key.
        if partition.len() == 1 && partition_end - begin == size_of::<i32>() {
            return Err(in_column(partition[0].name, &"it is empty, and it is the partition key"));
        }
        clustering.iter().try_for_each(|column| column.put_key(row, out))?;
        let end = out.len();
        if (partition_end - begin).max(end - partition_end) > KEY_BYTES {
            return Err(Error::run(format!("its key is longer than {KEY_BYTES} bytes")));
        }
        Ok((partition_end, end))
    }
}

/// Where an encoded row and its parts are.
struct Place {
    row: Range<usize>,
    key: Range<usize>,
    /// The end of the partition key, with which the key begins.
    partition: usize,
    delete: bool,
}

struct ToWrite<'a> {
    name: &'a str,
    /// Set where there are some.
    nulls: Option<&'a ArrayRef>,
    cells: Cells<'a>,
}

impl ToWrite<'_> {
    fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|array| array.is_null(row))
    }

    fn put_key(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if self.is_null(row) {
            return Err(in_column(self.name, &"it is null, and it is part of the primary key"));
        }
        self.put(row, out)
    }

    fn put(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        (self.cells)(row, out).map_err(|error| in_column(self.name, &error))
    }
}

fn in_column(name: &str, error: &dyn std::fmt::Display) -> Error {
    Error::run(format!("column `{name}`: {error}"))
}

fn bucket_cells(bucket: Bucket, times: &[i64]) -> Cells<'_> {
    Box::new(move |row, out| {
        let days = times[row].div_euclid(DAY);
        match bucket {
            Bucket::Day => put(out, &day(days)),
            Bucket::Month => put(out, &month(days).to_be_bytes()),
        }
        Ok(())
    })
}

/// 202601 for a day of January 2026.
fn month(days: i64) -> i32 {
    DateTime::from_timestamp(days * 86_400, 0).map_or(0, |time| time.year() * 100 + time.month() as i32)
}

/// How many seconds a row of this event time is still kept; none where it would be gone already.
fn remaining(ttl: Duration, time: i64, now: i64) -> Option<i32> {
    let left = ttl.as_nanos() as i128 - (i128::from(now) - i128::from(time));
    let seconds = (left.min(LONGEST_TTL.as_nanos() as i128) + 999_999_999) / 1_000_000_000;
    (left > 0).then_some(seconds as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::cassandra::table::Order;
    use crate::sinks::cassandra::types::CqlType;
    use crate::spec::expression::Scalar;
    use arrow::array::Float64Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;

    #[test]
    fn a_month_is_that_of_utc() {
        for (day, expected) in [(0, 197_001), (20_453, 202_512), (20_454, 202_601), (-1, 196_912)] {
            assert_eq!(month(day), expected);
        }
    }

    #[test]
    fn a_row_lives_for_what_is_left_of_its_time() {
        let (hour, second) = (Duration::from_secs(3600), 1_000_000_000);
        let now = 1_767_225_600 * second;
        for (age, expected) in
            [(0, Some(3600)), (3599 * second, Some(1)), (3600 * second, None), (-60 * second, Some(3660))]
        {
            assert_eq!(remaining(hour, now - age, now), expected);
        }
        assert_eq!(remaining(LONGEST_TTL, now + second, now), Some(LONGEST_TTL.as_secs() as i32));
    }

    /// Rows of (`__op`, `k`, `c`, `v`), written into a table of the last three.
    fn encode(changes: bool, rows: &[(&str, &str, &str, Option<f64>)]) -> Result<Vec<Row>> {
        let names = ["__op", "k", "c", "v"];
        let kind = |name: &str| if name == "v" { DataType::Float64 } else { DataType::Utf8 };
        let schema = Arc::new(Schema::new(names.map(|name| Field::new(name, kind(name), true)).to_vec()));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.2))),
            Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.3))),
        ];
        let written = (1..4).map(|at| (schema.field(at).clone(), Scalar::column(&schema, at))).collect();
        let column = |at: usize, kind| Column { name: names[at + 1].to_string(), kind, values: Values::Column(at) };
        let table = Table {
            keyspace: "ks".to_string(),
            name: "t".to_string(),
            columns: vec![column(0, CqlType::Text), column(1, CqlType::Text), column(2, CqlType::Double)],
            partition: 1,
            clustering: vec![Some(Order::Ascending)],
            expires: false,
        };
        let changes = changes.then_some(0);
        let encoder = Encoder { projection: Projection::new(written), table, time: None, changes, ttl: None };
        let data = RecordBatch::try_new(schema, columns)?;
        Ok(encoder.encode(77, &data, 0)?.rows)
    }

    fn values(row: &Row) -> Vec<Option<Option<Vec<u8>>>> {
        read(&row.bytes).map(|value| value.map(|value| value.map(<[u8]>::to_vec))).collect()
    }

    #[test]
    fn a_row_is_its_values_and_its_epoch() -> Result<()> {
        let rows = encode(false, &[("", "A", "x", Some(1.5)), ("", "A", "y", None), ("", "B", "x", None)])?;
        let text = |text: &str| Some(Some(text.as_bytes().to_vec()));
        let epoch = Some(Some(77i64.to_be_bytes().to_vec()));
        assert_eq!(values(&rows[0]), [text("A"), text("x"), Some(Some(1.5f64.to_be_bytes().to_vec())), epoch.clone()]);
        assert_eq!(values(&rows[1]), [text("A"), text("y"), None, epoch]);
        assert_eq!((rows[0].partition, rows[0].partition == rows[2].partition), (rows[1].partition, false));
        assert!(rows[0].key() != rows[1].key() && rows[0].key() != rows[2].key());
        Ok(())
    }

    #[test]
    fn of_changes_a_null_is_written_and_a_row_removed() -> Result<()> {
        let rows = encode(true, &[("replace", "A", "x", None), ("delete", "A", "x", None)])?;
        let text = |text: &str| Some(Some(text.as_bytes().to_vec()));
        let epoch = Some(Some(77i64.to_be_bytes().to_vec()));
        assert_eq!(values(&rows[0]), [text("A"), text("x"), Some(None), epoch.clone()]);
        assert_eq!(values(&rows[1]), [epoch, text("A"), text("x")]);
        assert_eq!((rows[0].key(), rows[0].partition), (rows[1].key(), rows[1].partition));
        assert!(rows[1].delete && !rows[0].delete);
        Ok(())
    }

    #[test]
    fn a_key_is_not_empty_and_not_too_long() {
        let reason = |key: &str, clustering: &str| encode(false, &[("", key, clustering, None)]).map(drop);
        assert!(reason("A", "").is_ok());
        let empty = reason("", "x").expect_err("an empty key").to_string();
        assert_eq!(empty, "column `k`: it is empty, and it is the partition key");
        assert!(reason("A", &"x".repeat(70_000)).expect_err("a long key").to_string().contains("longer than"));
    }
}
