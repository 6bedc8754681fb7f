//! `select`: makes new rows of expressions.

use std::sync::Arc;

use super::{BuildContext, Built, OperatorPlan, OperatorSpec, Output, Transform};
use crate::batch::Rows;
use crate::error::Result;
use crate::spec::{At, Check, Edge, Fields, Projection, Select, surviving};

struct SelectSpec {
    select: At<Select>,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn OperatorSpec> {
    Box::new(SelectSpec { select: fields.get("select", "a list of names, or a table of expressions").required() })
}

impl OperatorSpec for SelectSpec {
    fn plan(&self, _name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<(Edge, Arc<dyn OperatorPlan>)> {
        let (edge, projection) = self.select.plan(input, check.findings)?;
        Some((edge, Arc::new(SelectPlan { projection })))
    }
}

#[derive(Clone)]
struct SelectPlan {
    projection: Projection,
}

impl OperatorPlan for SelectPlan {
    fn build(&self, _context: &BuildContext) -> Result<Built> {
        Ok(Built::Stateless(Box::new(self.clone())))
    }
}

impl Transform for SelectPlan {
    fn rows(&mut self, rows: Rows, out: &mut Output) -> Result<()> {
        if let Some((_, data)) = surviving(rows.data, &mut out.refused, |data| self.projection.apply(data))? {
            out.rows.push(Rows { data, source: rows.source });
        }
        Ok(())
    }
}
