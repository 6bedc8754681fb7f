//! `order = "event_time"`: holds a source's rows until its watermark has passed them, and sorts them by event time and
//! `seq`: for topics that are not keyed like the job.
//!
//! A row that comes later than a watermark tells takes the place of that watermark ([`ORDER`](crate::sources::ORDER)),
//! behind what has left already: so rows leave in one order, whatever was read when, and a place tells of all before it.

use arrow::array::RecordBatch;

use super::held::{Held, with_places};
use super::{Operator, Output, StateKind};
use crate::batch::Rows;
use crate::error::Result;
use crate::keys::KeyReader;
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
        let held = Held::new(KeyReader::new(&edge.schema, &edge.key)?, vec![self.order, self.seq]);
        Ok(Box::new(ByEventTime { held, passed: i64::MIN, source, state: Self::state(edge), snapshot: None }))
    }

    /// What the state of rows of `edge` is.
    pub fn state(edge: &Edge) -> StateKind {
        StateKind { name: format!("rows {}", edge.schema), version: 1 }
    }

    /// Gives `rows` these places in the order of event time.
    pub fn put(&self, rows: &mut RecordBatch, order: Vec<i64>) -> Result<()> {
        *rows = with_places(rows, self.order, order)?;
        Ok(())
    }
}

struct ByEventTime {
    held: Held,
    /// The watermark: what is before it has left.
    passed: i64,
    source: u16,
    state: StateKind,
    snapshot: Option<Result<Draft>>,
}

impl Operator for ByEventTime {
    fn rows(&mut self, rows: Rows, _out: &mut Output) -> Result<()> {
        self.held.hold(rows.data, self.passed)
    }

    fn watermark(&mut self, time: i64, out: &mut Output) -> Result<i64> {
        self.passed = time;
        out.rows.extend(self.held.passed(time)?.map(|data| Rows { data, source: self.source }));
        Ok(time)
    }

    fn bytes(&self) -> usize {
        self.held.heap_bytes()
    }

    fn state(&self) -> StateKind {
        self.state.clone()
    }

    fn begin_snapshot(&mut self, full: bool) {
        let mut draft = Draft::new(full);
        self.snapshot = Some(self.held.tell(b"", &mut draft).map(|()| draft));
    }

    fn snapshot(&mut self, _keys: usize) -> Result<Option<Draft>> {
        self.snapshot.take().transpose()
    }

    fn restore(&mut self, _key: &[u8], value: &[u8]) -> Result<()> {
        self.held.restore(value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::spec::EdgeKind;
    use crate::state::Snapshot;
    use arrow::array::{AsArray, Int64Array, StringArray, TimestampNanosecondArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampNanosecondType};

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
