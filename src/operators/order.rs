//! `order = "event_time"`: holds a source's rows until its watermark has passed them, and sorts them by
//! (event time, `seq`): for topics that are not keyed like the job.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{SortColumn, concat_batches, filter_record_batch, lexsort_to_indices, take_record_batch};
use arrow::datatypes::TimestampNanosecondType;

use super::{Operator, OperatorPlan, Output, Routing};
use crate::batch::Rows;
use crate::error::Result;

/// Sorts rows whose event time stands in column `time` and whose `seq` in `seq`.
#[derive(Clone)]
pub struct OrderPlan {
    /// Position of event time.
    pub time: usize,
    /// Position of `seq`.
    pub seq: usize,
}

impl OperatorPlan for OrderPlan {
    fn routing(&self) -> Routing {
        Routing::ByKey
    }

    fn build(&self) -> Box<dyn Operator> {
        Box::new(ByEventTime { plan: self.clone(), held: Vec::new(), source: 0 })
    }
}

struct ByEventTime {
    plan: OrderPlan,
    held: Vec<Held>,
    source: u16,
}

/// Rows that wait, as they came.
struct Held {
    /// The least event time among them: most batches wait whole.
    least: i64,
    rows: RecordBatch,
}

impl ByEventTime {
    fn hold(&mut self, rows: RecordBatch) {
        let least = self.times(&rows).iter().copied().min();
        self.held.extend(least.map(|least| Held { least, rows }));
    }

    fn times<'r>(&self, rows: &'r RecordBatch) -> &'r [i64] {
        rows.column(self.plan.time).as_primitive::<TimestampNanosecondType>().values()
    }

    /// Takes the rows before `time` out of those that wait.
    fn passed(&mut self, time: i64) -> Result<Vec<RecordBatch>> {
        let mut passed = Vec::new();
        for Held { least, rows } in std::mem::take(&mut self.held) {
            if least >= time {
                self.held.push(Held { least, rows });
                continue;
            }
            let before = BooleanBuffer::collect_bool(rows.num_rows(), |row| self.times(&rows)[row] < time);
            self.hold(filter_record_batch(&rows, &(!&before).into())?);
            passed.push(filter_record_batch(&rows, &before.into())?);
        }
        Ok(passed)
    }
}

impl Operator for ByEventTime {
    fn rows(&mut self, rows: Rows, _out: &mut Output) -> Result<()> {
        self.source = rows.source;
        self.hold(rows.data);
        Ok(())
    }

    fn watermark(&mut self, time: i64, out: &mut Output) -> Result<()> {
        let passed = self.passed(time)?;
        let Some(first) = passed.first() else { return Ok(()) };
        let all = concat_batches(&first.schema(), &passed)?;
        let sort = |at: usize| SortColumn { values: Arc::clone(all.column(at)), options: None };
        let order = lexsort_to_indices(&[sort(self.plan.time), sort(self.plan.seq)], None)?;
        out.rows.push(Rows { data: take_record_batch(&all, &order)?, source: self.source });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, TimestampNanosecondArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};

    fn rows(rows: &[(i64, i64)]) -> Rows {
        let schema = Arc::new(Schema::new(vec![
            Field::new("time", DataType::Timestamp(TimeUnit::Nanosecond, None), false),
            Field::new("seq", DataType::Int64, false),
        ]));
        let times = TimestampNanosecondArray::from_iter_values(rows.iter().map(|row| row.0));
        let seqs = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
        Rows { data: RecordBatch::try_new(schema, vec![Arc::new(times), Arc::new(seqs)]).expect("rows"), source: 0 }
    }

    #[test]
    fn rows_leave_in_order_of_event_time_once_the_watermark_has_passed() {
        let mut operator = OrderPlan { time: 0, seq: 1 }.build();
        let mut out = Output::default();
        operator.rows(rows(&[(30, 1), (10, 2)]), &mut out).expect("rows");
        operator.rows(rows(&[(20, 4), (20, 3)]), &mut out).expect("rows");
        operator.watermark(20, &mut out).expect("watermark");
        operator.watermark(20, &mut out).expect("watermark");
        operator.watermark(21, &mut out).expect("watermark");
        operator.watermark(i64::MAX, &mut out).expect("close");
        let seqs: Vec<i64> = out
            .rows
            .iter()
            .flat_map(|rows| rows.data.column(1).as_primitive::<Int64Type>().values().to_vec())
            .collect();
        assert_eq!(seqs, vec![2, 3, 4, 1]);
    }
}
