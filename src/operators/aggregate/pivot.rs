//! `pivot`: columns for each value of another column.

use std::sync::Arc;

use datafusion_sql::sqlparser::ast::{BinaryOperator, CastKind, DataType, Expr as Sql, Value};

use super::GroupSpec;
use crate::operators::formulas::{Column, Formulas};
use crate::operators::{OperatorPlan, OperatorSpec};
use crate::spec::expression::parse;
use crate::spec::{At, Check, Edge, Fields, Findings, Named, OneOrMany, did_you_mean};

struct PivotSpec {
    group: GroupSpec,
    on: At<String>,
    values: At<OneOrMany<String>>,
    columns: At<Named<String>>,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn OperatorSpec> {
    Box::new(PivotSpec {
        group: GroupSpec::read(fields),
        on: fields.get("on", "an expression: each of its values has columns of its own").required(),
        values: fields.get("values", "the values that have columns, as text").required(),
        columns: fields
            .get(
                "columns",
                "a name and an expression of aggregates for each column; it becomes NAME_VALUE for each value",
            )
            .required(),
    })
}

impl OperatorSpec for PivotSpec {
    fn plan(&self, _name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<(Edge, Arc<dyn OperatorPlan>)> {
        self.group.plan(input, check, |given, rows| {
            self.check(input, check.findings)?;
            let columns = self.columns(check.findings)?;
            Formulas::of(&columns, given, input, rows, check.findings)
        })
    }
}

impl PivotSpec {
    fn check(&self, input: &Edge, findings: &Findings) -> Option<()> {
        let before = findings.len();
        if self.values.value.0.is_empty() {
            findings.mistake(&self.values.span, "`values` names no value");
        }
        for (at, value) in self.values.value.0.iter().enumerate() {
            if self.values.value.0[..at].iter().any(|other| other.value == value.value) {
                findings.mistake(&value.span, format!("`{}` stands twice", value.value));
            }
        }
        if self.columns.value.0.is_empty() {
            findings.mistake(&self.columns.span, "`columns` names no aggregate");
        }
        let is_name = self.on.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
        if is_name && input.position(&self.on).is_none() {
            let near = did_you_mean(&self.on, input.schema.fields().iter().map(|field| field.name().as_str()));
            findings.mistake(&self.on.span, format!("there is no column `{}`{near}", self.on.value));
        }
        (findings.len() == before).then_some(())
    }

    /// A column for each value, then for the next value.
    fn columns(&self, findings: &Findings) -> Option<Vec<Column<'_>>> {
        let on = parse(&self.on, findings)?.sql;
        let of = |value: &At<String>, name: &At<String>| format!("{}_{}", name.value, value.value);
        let columns = self.values.value.0.iter().flat_map(|value| {
            let only = is(&on, value);
            self.columns.value.0.iter().map(move |(name, text)| Column {
                name: of(value, name),
                text,
                only: Some(only.clone()),
            })
        });
        Some(columns.collect())
    }
}

/// `on = 'value'`, of the text of both.
fn is(on: &Sql, value: &str) -> Sql {
    let text = Sql::Cast {
        kind: CastKind::Cast,
        expr: Box::new(on.clone()),
        data_type: DataType::Text,
        array: false,
        format: None,
    };
    let value = Sql::value(Value::SingleQuotedString(value.to_string()));
    Sql::BinaryOp { left: Box::new(text), op: BinaryOperator::Eq, right: Box::new(value) }
}
