//! `distinct`: rows whose id came before are left out.
//!
//! Of each id the event time of its first row is kept. Rows of it are left out until event time has come `horizon` further:
//! by their own, or, of a row that comes late, by what its partition had come to before it. So it is the same rows that go
//! on, whenever ids are forgotten.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampNanosecondType;

use super::by::{Brought, Columns, columns_of};
use super::by_key::{ByKey, Kept};
use super::{BuildContext, Built, Operator, OperatorPlan, OperatorSpec, Output, Stage, StateKind};
use crate::batch::Rows;
use crate::error::Result;
use crate::memory::Heap;
use crate::sources::{ORDER, TIME};
use crate::spec::{At, Check, Edge, EdgeKind, Fields, OneOrMany, Span, nanoseconds};
use crate::state::{Draft, Reader};

struct DistinctSpec {
    id: At<OneOrMany<String>>,
    horizon: Option<At<Duration>>,
    span: Span,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn OperatorSpec> {
    let span = fields.span().clone();
    let horizon = "for how much event time after its first row an id is left out; for ever where it is not given";
    Box::new(DistinctSpec {
        id: fields
            .get("id", "an expression or a list: rows that have it in common are repeats of the first one")
            .required(),
        horizon: fields.get("horizon", horizon).optional(),
        span,
    })
}

impl OperatorSpec for DistinctSpec {
    fn plan(&self, name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<(Edge, Arc<dyn OperatorPlan>)> {
        let findings = check.findings;
        let before = findings.len();
        let time = input.position(TIME);
        match &self.horizon {
            Some(horizon) if time.is_none() => {
                findings.mistake(&horizon.span, "`horizon` needs event time, which these rows do not have");
            }
            Some(horizon) if horizon.is_zero() => {
                findings.mistake(&horizon.span, "with no `horizon` nothing is a repeat")
            }
            None if time.is_some() => {
                findings.warning(&self.span, "every id is remembered for ever: with horizon = \"1d\" for a day");
            }
            _ => {}
        }
        if input.kind == EdgeKind::Changes {
            let message = "these rows may be taken back, and are there once for each of their keys: `distinct` goes with rows \
                           that are only appended";
            findings.mistake(&self.span, message);
        }
        let mut columns = Columns::all(input);
        let id = columns_of(&self.id, name, input, &mut columns, findings)?;
        if findings.len() > before {
            return None;
        }
        let ids: Vec<String> = id.iter().map(|(_, text)| text.clone()).collect();
        let brought = Brought::new(input, columns, Some(id));
        let same = brought.edge.key == input.key;
        // Rows leave with the key that they came with, at the workers of their ids.
        let edge = Edge {
            schema: Arc::clone(&brought.edge.schema),
            placed: same,
            in_order: input.in_order && same,
            ..input.clone()
        };
        let horizon = self.horizon.as_ref().map(|span| nanoseconds(span.value));
        Some((edge, Arc::new(DistinctPlan { time: input.position(ORDER).or(time), brought, ids, horizon })))
    }
}

#[derive(Clone)]
struct DistinctPlan {
    brought: Brought,
    /// As they are written.
    ids: Vec<String>,
    /// Event time, or that of its order.
    time: Option<usize>,
    /// In ns.
    horizon: Option<i64>,
}

impl OperatorPlan for DistinctPlan {
    fn build(&self, _context: &BuildContext) -> Result<Built> {
        let edge = &self.brought.edge;
        let distinct = Distinct {
            firsts: ByKey::new(&edge.schema, &edge.key)?,
            leave: BTreeSet::new(),
            passed: i64::MIN,
            plan: self.clone(),
        };
        let last = Stage { name: "", input: edge.clone(), built: Built::Keyed(Box::new(distinct)) };
        Ok(Built::Staged(self.brought.stage().into_iter().chain([last]).collect()))
    }

    fn details(&self) -> Vec<String> {
        let horizon = self.horizon.map_or("for ever".to_string(), |horizon| {
            format!("for {}", humantime::format_duration(Duration::from_nanos(horizon.unsigned_abs())))
        });
        vec![format!("one row of each {}, {horizon}", self.ids.join(", "))]
    }
}

/// The ids of one worker.
struct Distinct {
    plan: DistinctPlan,
    firsts: ByKey<First>,
    /// When ids are forgotten; of some another row has gone on since.
    leave: BTreeSet<(i64, u32)>,
    /// The watermark.
    passed: i64,
}

/// When the row of an id came that went on.
#[derive(Clone, Copy, Default)]
struct First(Option<i64>);

impl Heap for First {
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl Kept for First {
    fn is_gone(&self) -> bool {
        self.0.is_none()
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.0.into_iter().for_each(|time| out.extend_from_slice(&time.to_le_bytes()));
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        Ok(First(Some(Reader(bytes).u64()? as i64)))
    }
}

impl Operator for Distinct {
    fn rows(&mut self, rows: Rows, out: &mut Output) -> Result<()> {
        let ids = self.firsts.numbers(&rows.data)?;
        let times = self.plan.time.map(|at| rows.data.column(at).as_primitive::<TimestampNanosecondType>().values());
        let goes_on = |(row, id): (usize, &u32)| self.goes_on(*id, times.map_or(0, |times| times[row]));
        let goes_on: BooleanArray = ids.iter().enumerate().map(goes_on).map(Some).collect();
        let first = goes_on.true_count();
        out.repeats += (ids.len() - first) as u64;
        let data = if first == ids.len() { rows.data } else { filter_record_batch(&rows.data, &goes_on)? };
        out.rows.push(Rows { data, source: rows.source });
        Ok(())
    }

    fn watermark(&mut self, time: i64, _out: &mut Output) -> Result<i64> {
        // Where all has ended nothing is forgotten any more.
        self.passed = if time == i64::MAX { self.passed } else { time };
        Ok(time)
    }

    fn end_of_epoch(&mut self, _out: &mut Output) -> Result<()> {
        while let Some((time, id)) = self.leave.first().copied().filter(|(time, _)| *time <= self.passed) {
            self.leave.pop_first();
            if self.firsts.at(id).0.is_some_and(|first| self.plan.left(first) == Some(time)) {
                self.firsts.touch(&[id]);
                *self.firsts.at_mut(id) = First(None);
                self.firsts.free(&[id]);
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.firsts.heap_bytes() + self.leave.heap_bytes()
    }

    fn state(&self) -> StateKind {
        let schema = &self.plan.brought.edge.schema;
        let kinds = self.plan.brought.edge.key.iter().map(|at| schema.field(*at).data_type().to_string());
        let kinds: Vec<String> = kinds.collect();
        StateKind { name: format!("distinct {}: {}", self.plan.ids.join(", "), kinds.join(", ")), version: 1 }
    }

    fn begin_snapshot(&mut self, full: bool) {
        self.firsts.begin_snapshot(full);
    }

    fn snapshot(&mut self, keys: usize) -> Result<Option<Draft>> {
        Ok(self.firsts.snapshot(keys))
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let id = self.firsts.restore(key, value)?;
        let left = self.firsts.at(id).0.and_then(|first| self.plan.left(first));
        self.leave.extend(left.map(|time| (time, id)));
        Ok(())
    }
}

impl DistinctPlan {
    /// When an id is forgotten whose first row came at `first`.
    fn left(&self, first: i64) -> Option<i64> {
        self.horizon.map(|horizon| first.saturating_add(horizon))
    }
}

impl Distinct {
    /// Whether a row that came at `time` is no repeat.
    fn goes_on(&mut self, id: u32, time: i64) -> bool {
        let known = self.firsts.at(id).0;
        if known.is_some_and(|first| self.plan.left(first).is_none_or(|left| time < left)) {
            return false;
        }
        self.firsts.touch(&[id]);
        *self.firsts.at_mut(id) = First(Some(time));
        self.leave.extend(self.plan.left(time).map(|time| (time, id)));
        true
    }
}
