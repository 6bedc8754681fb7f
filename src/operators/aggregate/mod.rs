//! `aggregate`: one row for each group of rows, always as it stands: of all rows there ever were, or of those of the last
//! minutes of event time. `pivot` is the same with columns for each value of another column.
//!
//! A group is told of at the end of every epoch in which it has changed. Where rows may be taken back, or leave the
//! span, its aggregates are such that go back, too.

mod held;
mod pivot;
mod run;
mod tell;

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::formulas::Formulas;
use super::{BuildContext, Built, OperatorPlan, OperatorSpec, Stage};
use crate::aggregates::Rows;
use crate::error::Result;
use crate::sources::TIME;
use crate::spec::{
    At, Check, Edge, EdgeKind, Fields, Findings, Named, OP, OneOrMany, REVISION, Span, did_you_mean, nanoseconds,
};
pub use pivot::read as pivot;
use run::Aggregating;

/// Digits behind the point of floats that are summed and taken back, where none are given.
const SCALE: u64 = 12;
/// More would leave too few before the point.
const MOST_SCALE: u64 = 30;

/// What `aggregate` and `pivot` have in common.
struct GroupSpec {
    by: Option<At<OneOrMany<String>>>,
    over: Option<At<Duration>>,
    scale: At<u64>,
    span: Span,
}

impl GroupSpec {
    fn read(fields: &mut Fields<'_>) -> Self {
        let span = fields.span().clone();
        let scale = "digits behind the point with which floats are summed where rows are taken back; 12 by default";
        GroupSpec {
            by: fields
                .get("by", "the columns to group by; the key of the rows by default, [] for one group of all")
                .optional(),
            over: fields.get("over", "only rows of the last so much event time; else all there ever were").optional(),
            scale: fields.get("scale", scale).optional().unwrap_or_else(|| At::new(SCALE, span.clone())),
            span,
        }
    }

    /// The positions of the columns to group by.
    fn by(&self, input: &Edge, findings: &Findings) -> Option<Vec<usize>> {
        let Some(by) = &self.by else { return Some(input.key.clone()) };
        let position = |name: &At<String>| {
            let position = input.position(name);
            if position.is_none() {
                let near = did_you_mean(name, input.schema.fields().iter().map(|field| field.name().as_str()));
                let message =
                    format!("there is no column `{}`{near}; what is computed comes from a `select` before", name.value);
                findings.mistake(&name.span, message);
            }
            position
        };
        let positions: Vec<Option<usize>> = by.value.0.iter().map(position).collect();
        positions.into_iter().collect()
    }

    /// How the rows of `input` come and go.
    fn rows(&self, input: &Edge, findings: &Findings) -> Option<Rows> {
        if input.kind == EdgeKind::Changes && !input.retracts {
            let message = "these rows are replaced without a word of what they were: put a `latest` operator before";
            findings.mistake(&self.span, message);
            return None;
        }
        if self.over.is_none() && input.kind == EdgeKind::Append {
            return Some(Rows::Come);
        }
        if self.scale.value > MOST_SCALE {
            findings.mistake(&self.scale.span, format!("`scale` is a number of digits from 0 to {MOST_SCALE}"));
            return None;
        }
        Some(Rows::ComeAndGo(self.scale.value as i8))
    }

    /// Checks and types it; `formulas` types the columns.
    fn plan(
        &self,
        input: &Edge,
        check: &Check<'_>,
        formulas: impl FnOnce(&[Field], Rows) -> Option<Formulas>,
    ) -> Option<(Edge, Arc<dyn OperatorPlan>)> {
        let findings = check.findings;
        let by = self.by(input, findings);
        if let (Some(over), None) = (&self.over, input.position(TIME)) {
            findings.mistake(&over.span, "`over` goes by event time, which these rows do not have");
        }
        if let Some(over) = self.over.as_ref().filter(|over| over.value.is_zero()) {
            findings.mistake(&over.span, "`over` is a span of time, like \"5m\"");
        }
        let (by, rows) = (by?, self.rows(input, findings)?);
        let given: Vec<Field> = by.iter().map(|at| input.schema.field(*at).clone().with_nullable(true)).collect();
        let formulas = formulas(&given, rows)?;
        if formulas.by_place() && input.position(TIME).is_none() {
            findings
                .mistake(&self.span, "first, last, arg_min and arg_max need event time, which these rows do not have");
        }
        let output = self.output(&given, &formulas, findings)?;
        let edge = Edge {
            visible: output.fields().len(),
            key: (0..by.len()).collect(),
            row_key: (0..by.len()).collect(),
            kind: EdgeKind::Changes,
            reach: input.reach,
            placed: true,
            retracts: false,
            in_order: true,
            schema: Arc::clone(&output),
        };
        let is_change = input.kind == EdgeKind::Changes;
        let plan = AggregatePlan {
            over: self.over.as_ref().map(|over| nanoseconds(over.value)),
            by_place: formulas.by_place(),
            op: input.position(OP).filter(|_| is_change),
            revision: input.position(REVISION).filter(|_| is_change),
            input: Edge { placed: input.placed && by == input.key, key: by, in_order: true, ..input.clone() },
            output,
            formulas,
        };
        Some((edge, Arc::new(Planned(Arc::new(plan)))))
    }

    fn output(&self, given: &[Field], formulas: &Formulas, findings: &Findings) -> Option<SchemaRef> {
        let columns = formulas.columns.iter().map(|(field, _)| field.clone());
        let fields: Vec<Field> = given.iter().cloned().chain(columns).chain(further_columns()).collect();
        let before = findings.len();
        for (at, field) in fields.iter().enumerate() {
            if fields[..at].iter().any(|other| other.name() == field.name()) {
                findings.mistake(&self.span, format!("there are two columns `{}`", field.name()));
            }
        }
        (findings.len() == before).then(|| Arc::new(Schema::new(fields)))
    }
}

/// The columns behind those of the user.
fn further_columns() -> [Field; 2] {
    [Field::new(REVISION, DataType::Int64, false), Field::new(OP, DataType::Utf8, false)]
}

struct AggregateSpec {
    group: GroupSpec,
    columns: At<Named<String>>,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn OperatorSpec> {
    let columns = "a name and an expression of aggregates for each column, added to those of `by`";
    Box::new(AggregateSpec { group: GroupSpec::read(fields), columns: fields.get("columns", columns).required() })
}

impl OperatorSpec for AggregateSpec {
    fn plan(&self, _name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<(Edge, Arc<dyn OperatorPlan>)> {
        let formulas = |given: &[Field], rows| Formulas::plan(&self.columns, given, input, rows, check.findings);
        self.group.plan(input, check, formulas)
    }
}

/// Groups, checked and typed.
pub struct AggregatePlan {
    /// How rows come in: grouped.
    input: Edge,
    /// How long rows count, in ns of event time, if not for ever.
    over: Option<i64>,
    by_place: bool,
    /// Where rows say that they are taken back, if they may be.
    op: Option<usize>,
    revision: Option<usize>,
    /// Group, columns, revision and change.
    output: SchemaRef,
    formulas: Formulas,
}

impl AggregatePlan {
    /// Whether rows leave their groups again.
    fn is_reversible(&self) -> bool {
        self.over.is_some() || self.op.is_some()
    }
}

struct Planned(Arc<AggregatePlan>);

impl OperatorPlan for Planned {
    fn build(&self, context: &BuildContext) -> Result<Built> {
        let built = Built::Keyed(Box::new(Aggregating::new(&self.0, context)?));
        Ok(Built::Staged(vec![Stage { name: "", input: self.0.input.clone(), built }]))
    }

    fn details(&self) -> Vec<String> {
        let names: Vec<&str> =
            self.0.input.key.iter().map(|at| self.0.input.schema.field(*at).name().as_str()).collect();
        let by = if names.is_empty() { "one group of all".to_string() } else { format!("by {}", names.join(", ")) };
        let span = self.0.over.map_or("of all time".to_string(), |over| {
            format!("over {}", humantime::format_duration(Duration::from_nanos(over as u64)))
        });
        [format!("{by}, {span}")].into_iter().chain(self.0.formulas.texts.iter().cloned()).collect()
    }
}
