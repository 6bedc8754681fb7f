//! `order = "event_time"`: holds a source's rows until its watermark has passed them, and sorts them by event time and
//! `seq`: for topics that are not keyed like the job.
//!
//! A row that comes later than a watermark tells takes the place of that watermark ([`ORDER`](crate::sources::ORDER)),
//! behind what has left already: so rows leave in one order, whatever was read when, and a place tells of all before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, TimestampNanosecondArray, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{SortColumn, concat_batches, filter_record_batch, lexsort_to_indices, take_record_batch};
use arrow::datatypes::TimestampNanosecondType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use xxhash_rust::xxh3::xxh3_64;

use super::{Operator, Output, StateKind};
use crate::batch::Rows;
use crate::error::Result;
use crate::keys::{KeyReader, group};
use crate::spec::Edge;
use crate::state::Draft;

/// Sorts rows by two of their columns.
#[derive(Clone)]
pub struct OrderPlan {
    /// Position of the order of event time.
    pub order: usize,
    /// Position of `seq`.
    pub seq: usize,
}

impl OrderPlan {
    /// The running operator, for rows of `edge` that come from the source at position `source` of the plan.
    pub fn build(&self, edge: &Edge, source: u16) -> Result<Box<dyn Operator>> {
        let keys = KeyReader::new(&edge.schema, &edge.key)?;
        let (state, stored) = (Self::state(edge), BTreeSet::new());
        Ok(Box::new(ByEventTime {
            plan: self.clone(),
            held: Vec::new(),
            passed: i64::MIN,
            source,
            keys,
            state,
            stored,
            snapshot: None,
        }))
    }

    /// What the state of rows of `edge` is.
    pub fn state(edge: &Edge) -> StateKind {
        StateKind { name: format!("rows {}", edge.schema), version: 1 }
    }

    /// Gives `rows` these places in the order of event time.
    pub fn put(&self, rows: &mut RecordBatch, order: Vec<i64>) -> Result<()> {
        let mut columns = rows.columns().to_vec();
        columns[self.order] = Arc::new(TimestampNanosecondArray::from(order));
        *rows = RecordBatch::try_new(rows.schema(), columns)?;
        Ok(())
    }
}

struct ByEventTime {
    plan: OrderPlan,
    held: Vec<Held>,
    /// The watermark: what is before it has left.
    passed: i64,
    source: u16,
    keys: KeyReader,
    state: StateKind,
    /// The key groups of which rows were held at the last checkpoint.
    stored: BTreeSet<u8>,
    snapshot: Option<Result<Draft>>,
}

/// Rows that wait, as they came.
struct Held {
    /// The first place among them: most batches wait whole.
    least: i64,
    rows: RecordBatch,
}

impl ByEventTime {
    fn hold(&mut self, rows: RecordBatch) {
        let least = self.order(&rows).iter().copied().min();
        self.held.extend(least.map(|least| Held { least, rows }));
    }

    fn order<'r>(&self, rows: &'r RecordBatch) -> &'r [i64] {
        rows.column(self.plan.order).as_primitive::<TimestampNanosecondType>().values()
    }

    /// Takes the rows before `time` out of those that wait.
    fn passed(&mut self, time: i64) -> Result<Vec<RecordBatch>> {
        let mut passed = Vec::new();
        for Held { least, rows } in std::mem::take(&mut self.held) {
            if least >= time {
                self.held.push(Held { least, rows });
                continue;
            }
            let before = BooleanBuffer::collect_bool(rows.num_rows(), |row| self.order(&rows)[row] < time);
            self.hold(filter_record_batch(&rows, &(!&before).into())?);
            passed.push(filter_record_batch(&rows, &before.into())?);
        }
        Ok(passed)
    }
}

impl Operator for ByEventTime {
    fn rows(&mut self, mut rows: Rows, _out: &mut Output) -> Result<()> {
        let order = self.order(&rows.data);
        // A reader that reads its source in parts may not know what the others have shown.
        if order.iter().any(|place| *place < self.passed) {
            let order = order.iter().map(|place| self.passed.max(*place)).collect();
            self.plan.put(&mut rows.data, order)?;
        }
        self.hold(rows.data);
        Ok(())
    }

    fn watermark(&mut self, time: i64, out: &mut Output) -> Result<i64> {
        self.passed = time;
        let passed = self.passed(time)?;
        let Some(first) = passed.first() else { return Ok(time) };
        let all = concat_batches(&first.schema(), &passed)?;
        let sort = |at: usize| SortColumn { values: Arc::clone(all.column(at)), options: None };
        let order = lexsort_to_indices(&[sort(self.plan.order), sort(self.plan.seq)], None)?;
        out.rows.push(Rows { data: take_record_batch(&all, &order)?, source: self.source });
        Ok(time)
    }

    fn state(&self) -> StateKind {
        self.state.clone()
    }

    fn begin_snapshot(&mut self, full: bool) {
        self.snapshot = Some(self.told(full));
    }

    fn snapshot(&mut self, _keys: usize) -> Result<Option<Draft>> {
        self.snapshot.take().transpose()
    }

    fn restore(&mut self, _key: &[u8], value: &[u8]) -> Result<()> {
        for rows in StreamReader::try_new(value, None)? {
            self.hold(rows?);
        }
        self.stored.extend(self.groups()?.into_keys());
        Ok(())
    }
}

impl ByEventTime {
    fn told(&mut self, full: bool) -> Result<Draft> {
        let (groups, mut draft) = (self.groups()?, Draft::new(full));
        self.stored.iter().filter(|group| !groups.contains_key(group)).for_each(|group| draft.remove(*group, b""));
        self.stored = groups.keys().copied().collect();
        for (group, batches) in groups {
            let ipc = to_ipc(&batches)?;
            draft.put(group, b"", |value| value.extend_from_slice(&ipc));
        }
        Ok(draft)
    }

    /// The rows that wait, by the group of their key.
    fn groups(&self) -> Result<BTreeMap<u8, Vec<RecordBatch>>> {
        let mut groups: BTreeMap<u8, Vec<RecordBatch>> = BTreeMap::new();
        for Held { rows, .. } in &self.held {
            let mut indices: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
            self.keys.for_each(rows, |row, key| indices.entry(group(xxh3_64(key))).or_default().push(row as u32))?;
            for (group, indices) in indices {
                groups.entry(group).or_default().push(take_record_batch(rows, &UInt32Array::from(indices))?);
            }
        }
        Ok(groups)
    }
}

fn to_ipc(batches: &[RecordBatch]) -> Result<Vec<u8>> {
    let Some(first) = batches.first() else { return Ok(Vec::new()) };
    let mut writer = StreamWriter::try_new(Vec::new(), &first.schema())?;
    for batch in batches {
        writer.write(batch)?;
    }
    Ok(writer.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::EdgeKind;
    use crate::state::Snapshot;
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("time", DataType::Timestamp(TimeUnit::Nanosecond, None), false),
            Field::new("seq", DataType::Int64, false),
            Field::new("symbol", DataType::Utf8, false),
        ]))
    }

    fn build() -> Box<dyn Operator> {
        let edge = Edge {
            schema: schema(),
            visible: 3,
            key: vec![2],
            row_key: vec![1],
            kind: EdgeKind::Append,
            reach: 0,
            placed: false,
            retracts: false,
            in_order: true,
        };
        OrderPlan { order: 0, seq: 1 }.build(&edge, 7).expect("a key of text")
    }

    fn rows(rows: &[(i64, i64)]) -> Rows {
        let times = TimestampNanosecondArray::from_iter_values(rows.iter().map(|row| row.0));
        let seqs = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
        let symbols = StringArray::from_iter_values(rows.iter().map(|row| format!("S{}", row.1)));
        let columns: Vec<arrow::array::ArrayRef> = vec![Arc::new(times), Arc::new(seqs), Arc::new(symbols)];
        Rows { data: RecordBatch::try_new(schema(), columns).expect("rows"), source: 7 }
    }

    fn seqs(out: &Output) -> Vec<i64> {
        let of = |rows: &Rows| rows.data.column(1).as_primitive::<Int64Type>().values().to_vec();
        out.rows.iter().flat_map(of).collect()
    }

    #[test]
    fn rows_leave_in_order_of_event_time_once_the_watermark_has_passed() {
        let mut operator = build();
        let mut out = Output::default();
        operator.rows(rows(&[(30, 1), (10, 2)]), &mut out).expect("rows");
        operator.rows(rows(&[(20, 4), (20, 3)]), &mut out).expect("rows");
        operator.watermark(20, &mut out).expect("watermark");
        operator.watermark(20, &mut out).expect("watermark");
        operator.watermark(21, &mut out).expect("watermark");
        operator.watermark(i64::MAX, &mut out).expect("close");
        assert_eq!(seqs(&out), vec![2, 3, 4, 1]);
    }

    #[test]
    fn a_row_that_comes_too_late_leaves_behind_what_has_left() {
        let mut operator = build();
        let mut out = Output::default();
        operator.rows(rows(&[(10, 1), (30, 4)]), &mut out).expect("rows");
        operator.watermark(20, &mut out).expect("watermark");
        operator.rows(rows(&[(25, 5), (5, 9), (20, 2)]), &mut out).expect("rows");
        operator.watermark(i64::MAX, &mut out).expect("close");
        assert_eq!(seqs(&out), vec![1, 2, 9, 5, 4]);
        let order = |rows: &Rows| rows.data.column(0).as_primitive::<TimestampNanosecondType>().values().to_vec();
        assert_eq!(out.rows.iter().flat_map(order).collect::<Vec<_>>(), vec![10, 20, 20, 25, 30]);
    }

    #[test]
    fn rows_that_wait_are_part_of_the_state() {
        let (mut before, mut after) = (build(), build());
        let mut out = Output::default();
        before.rows(rows(&[(30, 1), (10, 2), (20, 3)]), &mut out).expect("rows");
        let mut state = BTreeMap::new();
        let mut store = |operator: &mut dyn Operator| {
            operator.begin_snapshot(false);
            let draft = operator.snapshot(1).expect("state").expect("at once");
            for (group, entries) in Snapshot::decode(&draft.encode("rows", 1)).expect("read").groups {
                entries.into_iter().for_each(|entry| drop(state.insert((group, entry.key), entry.value)));
            }
            state.clone()
        };
        for ((_, key), value) in store(before.as_mut()) {
            after.restore(&key, &value.expect("there")).expect("a state");
        }
        after.watermark(25, &mut out).expect("watermark");
        assert_eq!((seqs(&out), out.rows[0].source), (vec![2, 3], 7));
        let left: Vec<_> = store(after.as_mut()).into_values().flatten().collect();
        assert_eq!(left.len(), 1, "what has left is gone");
    }
}
