//! The dead letters of a source as rows: its further output `dead_letters`.
//!
//! They are kept where the job keeps its dead letters all the same: what a dataflow makes of them is its own affair,
//! and `tapeflow dead-letters` finds them there.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use arrow::array::{
    ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
    TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampNanosecondType};

use super::seq::SeqLayout;
use super::{SEQ, TIME};
use crate::error::Result;
use crate::formats::ColumnType;
use crate::sinks::dead_letters::{DeadLetter, Raw};
use crate::spec::{Edge, EdgeKind, Port};

/// The port by which they leave a source.
pub const LETTERS: usize = 1;

/// The visible columns, those of a [`DeadLetter`], and whether one may be missing.
const COLUMNS: &[(&str, ColumnType, bool)] = &[
    ("job", ColumnType::Text, false),
    ("node", ColumnType::Text, false),
    ("topic", ColumnType::Text, false),
    ("partition", ColumnType::Int, false),
    ("offset", ColumnType::Bigint, false),
    ("timestamp", ColumnType::Timestamp(TimeUnit::Millisecond), true),
    ("reason", ColumnType::Text, false),
    ("key", ColumnType::Text, true),
    ("payload", ColumnType::Text, true),
];

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let mut fields: Vec<Field> = COLUMNS.iter().map(|(name, kind, nullable)| kind.field(name, *nullable)).collect();
    fields.push(Field::new(SEQ, DataType::Int64, false));
    fields.push(Field::new(TIME, DataType::Timestamp(TimeUnit::Nanosecond, None), false));
    Arc::new(Schema::new(fields))
});

/// The further outputs of every source.
pub fn ports() -> Vec<Port> {
    let schema = Arc::clone(&SCHEMA);
    // They come from all partitions, and are of no key.
    let (key, kind) = (Vec::new(), EdgeKind::Append);
    let edge = Edge {
        schema,
        visible: COLUMNS.len(),
        key,
        row_key: Vec::new(),
        kind,
        reach: 0,
        placed: false,
        retracts: false,
        in_order: false,
    };
    vec![Port { name: "dead_letters", edge }]
}

/// The letters that a reader has written and that are not sent yet.
pub struct Letters {
    layout: SeqLayout,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    letters: Vec<(i64, DeadLetter)>,
    /// Of the last one: its record, and which of the letters of that record it was.
    last: Option<(i32, i64)>,
    row: u64,
}

impl Letters {
    /// Of a source whose rows are numbered by `layout`, as the letters are, too.
    pub fn new(layout: SeqLayout) -> Self {
        Letters { layout, waiting: Mutex::default() }
    }

    /// Adds one.
    pub fn push(&self, letter: DeadLetter) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let record = (letter.partition, letter.offset);
        // A message may hold several records that cannot be used.
        waiting.row = if waiting.last == Some(record) { waiting.row + 1 } else { 0 };
        waiting.last = Some(record);
        let row = waiting.row.min(self.layout.rows() - 1);
        let seq = self.layout.seq(letter.partition.max(0) as u64, letter.offset.max(0) as u64, row);
        waiting.letters.push((seq.unwrap_or_default(), letter));
    }

    /// Those that wait, as rows. A record without a timestamp of its own is of the time of the latest of `rows`, which
    /// were read with it, or of 1970.
    pub fn take(&self, rows: Option<&RecordBatch>) -> Result<Option<RecordBatch>> {
        let letters = std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner).letters);
        if letters.is_empty() {
            return Ok(None);
        }
        let latest = rows.and_then(latest).unwrap_or(0);
        let text = |of: fn(&DeadLetter) -> &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(letters.iter().map(|(_, letter)| of(letter))))
        };
        let raw = |of: fn(&DeadLetter) -> &Option<Raw>| -> ArrayRef {
            Arc::new(letters.iter().map(|(_, letter)| of(letter).as_ref().map(Raw::to_string)).collect::<StringArray>())
        };
        let time = |letter: &DeadLetter| letter.timestamp.map_or(latest, |ms| ms.saturating_mul(1_000_000));
        let each = || letters.iter().map(|(_, letter)| letter);
        let columns: Vec<ArrayRef> = vec![
            text(|letter| &letter.job),
            text(|letter| &letter.node),
            text(|letter| &letter.topic),
            Arc::new(Int32Array::from_iter_values(each().map(|letter| letter.partition))),
            Arc::new(Int64Array::from_iter_values(each().map(|letter| letter.offset))),
            Arc::new(each().map(|letter| letter.timestamp).collect::<TimestampMillisecondArray>()),
            text(|letter| &letter.reason),
            raw(|letter| &letter.key),
            raw(|letter| &letter.payload),
            Arc::new(Int64Array::from_iter_values(letters.iter().map(|(seq, _)| *seq))),
            Arc::new(TimestampNanosecondArray::from_iter_values(each().map(time))),
        ];
        Ok(Some(RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?))
    }
}

/// The greatest event time of rows of a source.
fn latest(rows: &RecordBatch) -> Option<i64> {
    let times = rows.column_by_name(TIME)?.as_primitive_opt::<TimestampNanosecondType>()?;
    times.values().iter().copied().max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::json_line;

    fn letter(offset: i64, timestamp: Option<i64>, payload: Option<&[u8]>) -> DeadLetter {
        DeadLetter {
            job: "j".to_string(),
            node: "ticks".to_string(),
            topic: "t".to_string(),
            partition: 2,
            offset,
            timestamp,
            reason: "it is wrong".to_string(),
            key: None,
            payload: payload.map(Raw::of),
        }
    }

    #[test]
    fn letters_become_rows_that_can_be_told_apart() {
        let letters = Letters::new(SeqLayout::topic(true));
        assert!(letters.take(None).expect("nothing").is_none());
        letters.push(letter(5, Some(1), Some(b"\xff")));
        letters.push(letter(5, Some(1), Some(b"text")));
        letters.push(letter(6, None, None));
        let rows = letters.take(None).expect("rows").expect("three");
        let line = "{\"job\":\"j\",\"node\":\"ticks\",\"topic\":\"t\",\"partition\":2,\"offset\":5,";
        assert!(json_line(&rows, 0).starts_with(line), "{}", json_line(&rows, 0));
        assert!(json_line(&rows, 0).contains("\"payload\":\"0xff\"") && json_line(&rows, 1).contains("\"text\""));
        let seqs = rows.column_by_name(SEQ).expect("seq").as_primitive::<arrow::datatypes::Int64Type>();
        assert!(seqs.values().is_sorted_by(|one, other| one < other), "{seqs:?}");
        let times = rows.column_by_name(TIME).expect("time").as_primitive::<TimestampNanosecondType>();
        assert_eq!(times.values()[..], [1_000_000, 1_000_000, 0]);
        letters.push(letter(7, None, None));
        let later = letters.take(Some(&rows)).expect("rows").expect("one");
        assert_eq!(latest(&later), Some(1_000_000), "as late as what was read with it");
    }
}
