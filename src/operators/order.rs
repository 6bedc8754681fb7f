//! `order = "event_time"`: holds a source's rows until its watermark has passed them, and sorts them by
//! (event time, `seq`): for topics that are not keyed like the job.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
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
    held: Vec<RecordBatch>,
    source: u16,
}

impl Operator for ByEventTime {
    fn rows(&mut self, rows: Rows, _out: &mut Output) -> Result<()> {
        self.source = rows.source;
        self.held.push(rows.data);
        Ok(())
    }

    fn watermark(&mut self, time: i64, out: &mut Output) -> Result<()> {
        let Some(first) = self.held.first() else { return Ok(()) };
        let all = concat_batches(&first.schema(), &self.held)?;
        let sort = |at: usize| SortColumn { values: Arc::clone(all.column(at)), options: None };
        let order = lexsort_to_indices(&[sort(self.plan.time), sort(self.plan.seq)], None)?;
        let sorted = take_record_batch(&all, &order)?;
        let times = sorted.column(self.plan.time).as_primitive::<TimestampNanosecondType>();
        let passed = times.values().partition_point(|event_time| *event_time < time);
        self.held.clear();
        if passed < sorted.num_rows() {
            self.held.push(sorted.slice(passed, sorted.num_rows() - passed));
        }
        if passed > 0 {
            out.rows.push(Rows { data: sorted.slice(0, passed), source: self.source });
        }
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
        operator.watermark(i64::MAX, &mut out).expect("close");
        let seqs: Vec<i64> = out
            .rows
            .iter()
            .flat_map(|rows| rows.data.column(1).as_primitive::<Int64Type>().values().to_vec())
            .collect();
        assert_eq!(seqs, vec![2, 3, 4, 1]);
    }
}
