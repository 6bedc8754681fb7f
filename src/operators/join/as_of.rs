//! `kind = "as_of"`: each left row with the right row of its key that was the newest when it happened.
//!
//! The rows of both sides wait until event time has passed their places on both, and are then taken in that order, the
//! right ones first: what a left row finds does not depend on what was read when. A row that comes late has the place that
//! its partition had come to by then ([`ORDER`]): a right one is found from there on, a left one finds what is known there.
//! A bar is found from its end on; what a bar itself finds is what was there when it began.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::columns::widened;
use super::{JoinSpec, run::AsOf};
use crate::error::Result;
use crate::operators::{BuildContext, Built, OperatorPlan};
use crate::sources::{ORDER, SEQ, TIME};
use crate::spec::expression::Scalar;
use crate::spec::{Check, Edge, EdgeKind, Projection, Span, nanoseconds};

/// A join by event time, checked and typed.
pub struct AsOfPlan {
    /// The columns of the input rows by which they belong together.
    on: [Vec<usize>; 2],
    pub left: SidePlan,
    /// What is made of right rows: the columns for left ones, and what is needed to find them.
    pub projection: Projection,
    pub right: SidePlan,
    /// How many columns of right rows get into left ones, and behind which column.
    pub count: usize,
    pub visible: usize,
    /// How much older the right row may be, in ns.
    pub tolerance: Option<i64>,
    /// Whether left rows without one stay.
    pub outer: bool,
    pub output: SchemaRef,
    details: Vec<String>,
    pub state: String,
}

/// Where things stand in the rows of a side while they are held.
pub struct SidePlan {
    /// The columns of the rows, and their source behind them.
    pub schema: SchemaRef,
    pub key: Vec<usize>,
    pub time: usize,
    pub order: usize,
    pub seq: usize,
    pub source: usize,
}

impl SidePlan {
    fn new(rows: &Schema, key: Vec<usize>) -> Option<Self> {
        let source = Field::new("_source", DataType::UInt16, false);
        let fields = rows.fields().iter().map(|field| field.as_ref().clone()).chain([source]);
        let last = |name: &str| rows.fields().iter().rposition(|field| field.name() == name);
        Some(SidePlan {
            key,
            time: last(TIME)?,
            order: last(ORDER)?,
            seq: last(SEQ)?,
            source: rows.fields().len(),
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        })
    }
}

impl JoinSpec {
    /// Checks and types it for rows of both sides.
    pub(super) fn as_of(
        &self,
        left: &Edge,
        right: (&Edge, &Span),
        on: [Vec<usize>; 2],
        check: &Check<'_>,
    ) -> Option<(Edge, Arc<dyn OperatorPlan>)> {
        let (right, place) = right;
        for (edge, span) in [(left, &self.left.span), (right, place)] {
            let is_timed = [TIME, ORDER, SEQ].iter().all(|name| edge.position(name).is_some());
            if edge.kind != EdgeKind::Append || !is_timed {
                let message = "`as_of` takes rows with event time that are only appended, and these are not; `latest` joins \
                               rows that may be replaced and taken back";
                check.findings.mistake(span, message);
            }
        }
        let columns = self.naming(place).plan(left, right, &on[1], check)?;
        let edge = widened(left, &columns, place, check.findings)?;
        let count = columns.len();
        let needed = on[1].iter().copied().chain([TIME, ORDER, SEQ].iter().filter_map(|name| right.position(name)));
        let needed = needed.map(|at| (right.schema.field(at).clone(), Scalar::column(&right.schema, at)));
        let projection = Projection::new(columns.into_iter().chain(needed).collect());
        let key = (count..count + on[1].len()).collect();
        let tolerance = self.tolerance.as_ref().map(|tolerance| nanoseconds(tolerance.value));
        let of_right = SidePlan::new(projection.schema(), key)?;
        let of_left = SidePlan::new(&left.schema, on[0].clone())?;
        // Rows are where the key of the join is; that of the left rows may be another one.
        let placed = left.key == on[0];
        let edge = Edge { placed, in_order: placed, ..edge };
        let plan = AsOfPlan {
            state: format!("join as_of {} {:?} {}", of_left.schema, tolerance, of_right.schema),
            details: self.on_details(left, right, &on, &self.age()),
            left: of_left,
            right: of_right,
            projection,
            count,
            visible: left.visible,
            tolerance,
            outer: self.outer.as_ref().is_none_or(|outer| outer.value),
            output: Arc::clone(&edge.schema),
            on,
        };
        Some((edge, Arc::new(Planned(Arc::new(plan)))))
    }
}

struct Planned(Arc<AsOfPlan>);

impl OperatorPlan for Planned {
    fn build(&self, context: &BuildContext) -> Result<Built> {
        Ok(Built::Keyed(Box::new(AsOf::new(&self.0, context)?)))
    }

    fn sides(&self) -> Option<[Vec<usize>; 2]> {
        Some(self.0.on.clone())
    }

    fn appends_by_time(&self) -> bool {
        true
    }

    fn details(&self) -> Vec<String> {
        self.0.details.clone()
    }
}
