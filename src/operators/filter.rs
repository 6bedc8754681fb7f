//! `filter`: keeps the rows for which a condition is true.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::{filter_record_batch, prep_null_mask_filter};

use super::{BuildContext, Built, OperatorPlan, OperatorSpec, Output, Transform};
use crate::batch::Rows;
use crate::error::Result;
use crate::spec::expression::{Scalar, condition};
use crate::spec::{At, Check, DELETE, Edge, EdgeKind, Fields, OP, REPLACE, surviving};

struct FilterSpec {
    when: At<String>,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn OperatorSpec> {
    Box::new(FilterSpec {
        when: fields.get("when", "an expression; rows for which it is not true are left out").required(),
    })
}

impl OperatorSpec for FilterSpec {
    fn plan(&self, _name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<(Edge, Arc<dyn OperatorPlan>)> {
        let when = condition(&self.when, &input.schema, check.findings)?;
        let op = input.position(OP).filter(|_| input.kind == EdgeKind::Changes);
        Some((input.clone(), Arc::new(FilterPlan { when, op, retracts: input.retracts })))
    }
}

#[derive(Clone)]
struct FilterPlan {
    when: Scalar,
    /// What a row does to the one with its key, where rows are changes.
    op: Option<usize>,
    /// Whether a delete is one of a row that came as it is there.
    retracts: bool,
}

impl OperatorPlan for FilterPlan {
    fn build(&self, _context: &BuildContext) -> Result<Built> {
        Ok(Built::Stateless(Box::new(self.clone())))
    }

    fn details(&self) -> Vec<String> {
        vec![format!("when {:?}", self.when)]
    }
}

impl Transform for FilterPlan {
    fn rows(&mut self, rows: Rows, out: &mut Output) -> Result<()> {
        let Some((data, kept)) = surviving(rows.data, &mut out.refused, |data| self.when.evaluate(data))? else {
            return Ok(());
        };
        let kept = kept.as_boolean();
        // A condition that is null is not true.
        let kept = if kept.logical_null_count() > 0 { &prep_null_mask_filter(kept) } else { kept };
        let data = match self.op {
            None => filter_record_batch(&data, kept)?,
            Some(op) => filter_changes(&data, kept, op, self.retracts)?,
        };
        out.rows.push(Rows { data, source: rows.source });
        Ok(())
    }
}

/// The row that came through before may be replaced by one that does not: then it is deleted. So is one of which a delete
/// does not say what it was when it came.
pub fn filter_changes(data: &RecordBatch, kept: &BooleanArray, op: usize, retracts: bool) -> Result<RecordBatch> {
    let ops = data.column(op).as_string::<i32>();
    let is_turned_away = |row: usize| !kept.value(row) && ops.value(row) == REPLACE;
    let new_ops = (0..data.num_rows()).map(|row| if is_turned_away(row) { DELETE } else { ops.value(row) });
    let mut columns = data.columns().to_vec();
    columns[op] = Arc::new(StringArray::from_iter_values(new_ops));
    let is_gone = |row: usize| !retracts && ops.value(row) == DELETE;
    let goes_on = (0..data.num_rows()).map(|row| Some(kept.value(row) || is_turned_away(row) || is_gone(row)));
    let data = RecordBatch::try_new(data.schema(), columns)?;
    Ok(filter_record_batch(&data, &goes_on.collect::<BooleanArray>())?)
}
