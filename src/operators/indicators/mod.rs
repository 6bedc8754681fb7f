//! `indicators`: adds indicators, computed per key, to each row.

mod idle;
mod run;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion_sql::sqlparser::ast::{Expr as Sql, Spanned};

use idle::{Idle, IdlePlan};
use run::Indicators;

use super::calls::{Call, Checker, read_compat};
use super::changes::Changes;
use super::replay::Replay;
use super::{BuildContext, Built, OperatorPlan, OperatorSpec};
use crate::error::Result;
use crate::indicators::{self, Compat};
use crate::keys::{KeyIds, KeyReader};
use crate::sources::{ORDER, TIME};
use crate::spec::expression::parse;
use crate::spec::{At, Check, Edge, EdgeKind, Fields, Findings, Named, Span, did_you_mean, nanoseconds};
use crate::words;

words! {
    /// Which rows are emitted.
    Emit {
        /// Those for which all indicators have a value.
        Warm = "warm",
        /// All.
        All = "all",
    }
}

/// The metadata key of a field whose first values of each key are null.
pub const NULL_UNTIL_WARM: &str = "tapeflow.null_until_warm";

struct IndicatorsSpec {
    columns: At<Named<String>>,
    emit: Emit,
    compat: Compat,
    expire: Option<At<Duration>>,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn OperatorSpec> {
    let columns = fields.get("columns", "a name and an indicator for each column that is added").required();
    let emit =
        fields.get("emit", "`warm`: rows for which all indicators have a value; `all`: every row").or(Emit::Warm);
    let compat = read_compat(fields);
    let expire =
        fields.get("expire", "after how much event time without rows a key is forgotten, and begins anew").optional();
    Box::new(IndicatorsSpec { columns, emit, compat, expire })
}

impl OperatorSpec for IndicatorsSpec {
    fn plan(&self, _name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<(Edge, Arc<dyn OperatorPlan>)> {
        if self.columns.0.is_empty() {
            check.findings.mistake(&self.columns.span, "`columns` names no indicator");
            return None;
        }
        let calls = self.columns.0.iter().map(|(name, text)| plan_call(name, text, self.compat, input, check.findings));
        let calls = calls.collect::<Vec<_>>().into_iter().collect::<Option<Vec<Call>>>()?;
        let idle = self.idle(input, check.findings)?;
        let edge = input.with(self.added(&calls), check.findings)?;
        let plan = IndicatorsPlan {
            input: input.clone(),
            output: edge.clone(),
            schema: Arc::clone(&edge.schema),
            calls: Arc::new(calls),
            time: input.position(TIME),
            emit: self.emit,
            idle,
        };
        Some((edge, Arc::new(plan)))
    }
}

impl IndicatorsSpec {
    /// When keys are forgotten, if they are; nothing where they cannot be.
    #[expect(clippy::option_option, reason = "what could not be planned is not what was not asked for")]
    fn idle(&self, input: &Edge, findings: &Findings) -> Option<Option<IdlePlan>> {
        let Some(expire) = &self.expire else { return Some(None) };
        if input.kind == EdgeKind::Changes {
            findings.mistake(&expire.span, "`expire` goes with rows that are only appended: these may be revised");
            return None;
        }
        let Some(time) = input.position(TIME) else {
            findings.mistake(&expire.span, "`expire` needs event time, which these rows do not have");
            return None;
        };
        Some(Some(IdlePlan { expire: nanoseconds(expire.value), time, order: input.position(ORDER) }))
    }

    /// The columns that `calls` add, and where they are named.
    fn added(&self, calls: &[Call]) -> Vec<(Field, &Span)> {
        let mut added = Vec::new();
        for (call, (name, _)) in calls.iter().zip(&self.columns.0) {
            for suffix in call.function.outputs {
                let mut field = Field::new(format!("{}{suffix}", name.value), DataType::Float64, true);
                if self.emit == Emit::All {
                    field.set_metadata([(NULL_UNTIL_WARM.to_string(), String::new())].into());
                }
                added.push((field, &name.span));
            }
        }
        added
    }
}

/// One entry of `columns`: a name and a call.
fn plan_call(name: &At<String>, text: &At<String>, compat: Compat, input: &Edge, findings: &Findings) -> Option<Call> {
    let parsed = parse(text, findings)?;
    let Sql::Function(called) = &parsed.sql else {
        let message =
            format!("`{}` must be an indicator, like sma(price, 5); for other expressions use `select`", name.value);
        findings.mistake(parsed.span(), message);
        return None;
    };
    let wanted = called.name.to_string().to_lowercase();
    let Some(function) = indicators::find(&wanted) else {
        let near = did_you_mean(&wanted, indicators::FUNCTIONS.iter().map(|function| function.name));
        findings.mistake(&parsed.place(called.name.span()), format!("there is no indicator `{wanted}`{near}"));
        return None;
    };
    Checker { compat, schema: &input.schema, findings }.check(function, called, &parsed, text)
}

struct IndicatorsPlan {
    input: Edge,
    output: Edge,
    schema: SchemaRef,
    calls: Arc<Vec<Call>>,
    time: Option<usize>,
    emit: Emit,
    idle: Option<IdlePlan>,
}

impl OperatorPlan for IndicatorsPlan {
    fn build(&self, _context: &BuildContext) -> Result<Built> {
        let keys = KeyReader::new(&self.input.schema, &self.input.key)?;
        let states = self.calls.iter().map(Call::states).collect();
        let indicators = Indicators {
            keys,
            ids: KeyIds::default(),
            row_ids: Vec::new(),
            changes: Changes::default(),
            states,
            calls: Arc::clone(&self.calls),
            schema: Arc::clone(&self.schema),
            visible: self.input.visible,
            time: self.time,
            emit: self.emit,
            idle: self.idle.map(Idle::new),
        };
        Ok(Built::Keyed(match self.input.kind {
            EdgeKind::Append => Box::new(indicators),
            EdgeKind::Changes => Box::new(Replay::new(indicators, &self.input, &self.output)?),
        }))
    }

    fn details(&self) -> Vec<String> {
        let warm_up = |call: &Call| match (call.function.warm_up)(&call.arguments) {
            Some(rows) => format!("{}: warm after {rows} rows of a key", call.text),
            None => format!("{}: warm at the first row of a key", call.text),
        };
        let mut lines: Vec<String> = self.calls.iter().map(warm_up).collect();
        lines.push(format!("emits {} rows", self.emit));
        lines.extend(self.idle.map(|idle| {
            let expire = Duration::from_nanos(idle.expire.unsigned_abs());
            format!("forgets a key after {} without rows", humantime::format_duration(expire))
        }));
        lines
    }
}
