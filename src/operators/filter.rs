//! `filter`: keeps the rows for which a condition is true.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::{filter_record_batch, prep_null_mask_filter};

use super::{Built, OperatorPlan, OperatorSpec, Output, Transform};
use crate::batch::Rows;
use crate::error::Result;
use crate::spec::expression::{Scalar, condition};
use crate::spec::{At, Check, Edge, Fields, surviving};

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
        Some((input.clone(), Arc::new(FilterPlan { when })))
    }
}

#[derive(Clone)]
struct FilterPlan {
    when: Scalar,
}

impl OperatorPlan for FilterPlan {
    fn build(&self) -> Built {
        Built::Stateless(Box::new(self.clone()))
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
        out.rows.push(Rows { data: filter_record_batch(&data, kept)?, source: rows.source });
        Ok(())
    }
}
