//! `latest`: the newest row of each key, told as a collection whose rows come and go.
//!
//! Of rows that are appended the newest one counts: by event time, then by source, partition and offset. Changes have
//! one row of each key as they are: here each is told so that what is replaced is taken back first.

mod run;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use super::by::{Brought, Columns, columns_of};
use super::moves::Moves;
use super::{BuildContext, Built, OperatorPlan, OperatorSpec, Stage};
use crate::error::Result;
use crate::sources::{ORDER, SEQ, TIME};
use crate::spec::{At, Check, Edge, EdgeKind, Fields, Findings, OP, OneOrMany, Span, nanoseconds};
use run::Latest;

struct LatestSpec {
    by: Option<At<OneOrMany<String>>>,
    expire: Option<At<Duration>>,
    span: Span,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn OperatorSpec> {
    let span = fields.span().clone();
    Box::new(LatestSpec {
        by: fields.get("by", "an expression or a list: of what there is one row; the key by default").optional(),
        expire: fields.get("expire", "after how much event time without rows a key is deleted").optional(),
        span,
    })
}

impl OperatorSpec for LatestSpec {
    fn plan(&self, name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<(Edge, Arc<dyn OperatorPlan>)> {
        let findings = check.findings;
        if let Some(expire) = self.expire.as_ref().filter(|_| input.position(TIME).is_none()) {
            findings.mistake(&expire.span, "`expire` needs event time, which these rows do not have");
        }
        let mut columns = Columns::all(input);
        let by = match &self.by {
            Some(by) => Some(columns_of(by, name, input, &mut columns, findings)?),
            None => None,
        };
        let brought = Brought::new(input, columns, by);
        if input.kind == EdgeKind::Changes && !has_the_same(&brought.edge.key, &input.row_key) {
            let names: Vec<_> =
                input.row_key.iter().map(|at| format!("\"{}\"", input.schema.field(*at).name())).collect();
            let message =
                format!("these rows may be taken back, and there is one for each {0}: by = [{0}]", names.join(", "));
            findings.mistake(self.by.as_ref().map_or(&self.span, |by| &by.span), message);
            return None;
        }
        let (edge, plan) = LatestPlan::new(brought, self.expire.as_ref().map(|span| span.value), &self.span, findings)?;
        Some((edge, Arc::new(plan)))
    }
}

fn has_the_same(some: &[usize], others: &[usize]) -> bool {
    some.len() == others.len() && some.iter().all(|at| others.contains(at))
}

/// `latest`, checked and typed.
#[derive(Clone)]
pub struct LatestPlan {
    brought: Brought,
    moves: Moves,
    /// The columns that rows are compared by, and kept with.
    shown: Vec<usize>,
    /// Event time, where there is.
    time: Option<usize>,
    /// Its order, where rows are appended: that of one that comes late is what its partition had come to.
    order: Option<usize>,
    seq: Option<usize>,
    /// What a row does, where rows are changes.
    op: Option<usize>,
    /// In ns.
    expire: Option<i64>,
}

impl LatestPlan {
    /// Of rows that come so; also as the first step of another operator, over changes that do not take back what they replace.
    pub fn new(
        brought: Brought,
        expire: Option<Duration>,
        at: &Span,
        findings: &Findings,
    ) -> Option<(Edge, LatestPlan)> {
        let input = &brought.edge;
        let moves = Moves::new(input, &[], at, findings)?;
        let is_change = input.kind == EdgeKind::Changes;
        let (time, expire) = (input.position(TIME), expire.map(nanoseconds));
        let is_hidden = |at: &usize| *at >= input.visible;
        let told = |columns: &[usize]| columns.iter().filter_map(|at| moves.position(*at)).collect::<Vec<_>>();
        let of_rows = if is_change { input.reach } else { i64::MAX };
        let edge = moves.edge(told(&input.key), told(&input.key), expire.unwrap_or(i64::MAX).min(of_rows));
        let plan = LatestPlan {
            shown: moves.taken().into_iter().filter(|at| Some(*at) != time.filter(is_hidden)).collect(),
            time,
            order: input.position(ORDER).filter(|_| !is_change),
            seq: input.position(SEQ).filter(|_| !is_change),
            op: input.position(OP).filter(|_| is_change),
            expire,
            moves,
            brought,
        };
        Some((edge, plan))
    }

    fn by(&self) -> String {
        let schema = &self.brought.edge.schema;
        self.brought.edge.key.iter().map(|at| schema.field(*at).name().as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl OperatorPlan for LatestPlan {
    fn build(&self, context: &BuildContext) -> Result<Built> {
        let latest = Built::Keyed(Box::new(Latest::new(self.clone(), context)?));
        let last = Stage { name: "", input: self.brought.edge.clone(), built: latest };
        Ok(Built::Staged(self.brought.stage().into_iter().chain([last]).collect()))
    }

    fn details(&self) -> Vec<String> {
        let mut lines = vec![format!("one row of each {}", self.by())];
        if let Some(expire) = self.expire {
            let span = humantime::format_duration(Duration::from_nanos(expire.unsigned_abs()));
            lines.push(format!("none after {span} without rows"));
        }
        lines
    }
}
