//! The expressions of an alert: SQL in which indicators may be called, and functions that only an alert has.
//!
//! Every such call becomes a column beside those of the row, and the expression an ordinary one over all of them. A
//! call may stand within another: its column is there first.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_sql::sqlparser::ast::{
    BinaryOperator, Expr as Sql, Function as SqlCall, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Spanned,
    Value, visit_expressions, visit_expressions_mut,
};

use crate::indicators::{self, Compat, Function, lag};
use crate::operators::calls::{Call, Checker, arguments_of};
use crate::spec::expression::{Parsed, Scalar, parse};
use crate::spec::{At, Findings};

/// The functions that only an alert has: how they are called, and what they tell.
pub const FUNCTIONS: &[(&str, &str)] = &[
    ("crosses_above(x, level)", "x is above the level and was not in the row before."),
    ("crosses_below(x, level)", "x is below the level and was not in the row before."),
    ("last_alert(x)", "x at the last alert of the key or, before any, at its first row that has an x."),
];

/// What of the last alert of a key is remembered.
pub struct Remembered {
    /// As it is written: the name of its column.
    pub name: String,
    /// The expression, as doubles.
    pub value: Scalar,
}

/// The columns that the expressions of an alert are made of.
pub struct Columns {
    /// The calls of indicators, each after those it is made of.
    pub calls: Vec<Call>,
    /// The columns that the series of each call are made of, and those that all calls make.
    pub stages: Vec<SchemaRef>,
    /// What is remembered.
    pub remembered: Vec<Remembered>,
    /// All columns.
    pub all: SchemaRef,
}

/// Reads expressions and collects the columns they need.
pub struct Reader<'a> {
    compat: Compat,
    findings: &'a Findings,
    calls: Vec<Call>,
    stages: Vec<SchemaRef>,
    schema: SchemaRef,
    remembered: Vec<Remembered>,
}

impl<'a> Reader<'a> {
    /// Of expressions over `rows`.
    pub fn new(rows: SchemaRef, compat: Compat, findings: &'a Findings) -> Self {
        let stages = vec![Arc::clone(&rows)];
        Reader { compat, findings, calls: Vec::new(), stages, schema: rows, remembered: Vec::new() }
    }

    /// The columns of all expressions that were read.
    pub fn columns(self) -> Columns {
        let remembered = self.remembered.iter().map(|remembered| remembered.name.as_str());
        let all = remembered.fold(self.schema, |schema, name| with_column(&schema, name));
        Columns { calls: self.calls, stages: self.stages, remembered: self.remembered, all }
    }

    /// The expression `text` over the columns that it turns out to need; what is wrong with its calls is noted.
    pub fn read(&mut self, text: &At<String>) -> Option<Parsed> {
        if self.stages[0].index_of(text).is_ok() {
            return Some(Parsed::column(text, text.span.clone()));
        }
        let parsed = parse(text, self.findings)?;
        let (mut sql, mut sound) = (parsed.sql.clone(), true);
        let _ = visit_expressions_mut(&mut sql, |part| {
            if let Sql::Function(call) = part
                && let Some(made) = self.make(&call.clone(), &parsed)
            {
                sound &= made.is_ok();
                // In place of what is wrong stands something that is not: it has been told.
                *part = made.unwrap_or_else(|Told| number("0"));
            }
            ControlFlow::<()>::Continue(())
        });
        sound.then(|| parsed.part(sql))
    }

    /// What stands for a call, where it is one of ours.
    fn make(&mut self, call: &SqlCall, parsed: &Parsed) -> Option<Result<Sql, Told>> {
        let name = call.name.to_string().to_lowercase();
        let made = match name.as_str() {
            "crosses_above" => self.crossing(call, parsed, (BinaryOperator::LtEq, BinaryOperator::Gt)),
            "crosses_below" => self.crossing(call, parsed, (BinaryOperator::GtEq, BinaryOperator::Lt)),
            "last_alert" => self.remember(call, parsed),
            name => self.indicator(indicators::find(name)?, call, parsed),
        };
        Some(made)
    }

    fn indicator(&mut self, function: &'static Function, call: &SqlCall, parsed: &Parsed) -> Result<Sql, Told> {
        let text = call.to_string();
        if self.calls.iter().any(|known| known.text == text) {
            return Ok(column(&text));
        }
        self.holds_nothing_remembered(call, parsed)?;
        if function.outputs.len() > 1 {
            let name = function.name;
            let message = format!(
                "`{name}` has several values; put an `indicators` node before, and name the column that is meant"
            );
            return Err(self.told(&parsed.place(call.span()), message));
        }
        let call = self.checker().check(function, call, parsed, &text).ok_or(Told)?;
        self.schema = with_column(&self.schema, &text);
        self.stages.push(Arc::clone(&self.schema));
        self.calls.push(call);
        Ok(column(&text))
    }

    /// `x` was on one side of the level, or at it, and is on the other.
    fn crossing(
        &mut self,
        call: &SqlCall,
        parsed: &Parsed,
        sides: (BinaryOperator, BinaryOperator),
    ) -> Result<Sql, Told> {
        let (x, level) = match arguments_of(call).as_deref() {
            Some([x, level]) => (nested(x), nested(level)),
            _ => return Err(self.told(&parsed.place(call.span()), format!("{} takes (x, level)", call.name))),
        };
        let difference = binary(x.clone(), BinaryOperator::Minus, level.clone());
        let before = SqlCall { name: vec![Ident::new(lag::FUNCTION.name)].into(), ..call.clone() };
        let before = with_arguments(before, [difference, number("1")]);
        let before = self.indicator(&lag::FUNCTION, &before, parsed)?;
        let was = binary(before, sides.0, number("0"));
        Ok(nested(&binary(was, BinaryOperator::And, binary(x, sides.1, level))))
    }

    fn remember(&mut self, call: &SqlCall, parsed: &Parsed) -> Result<Sql, Told> {
        let text = call.to_string();
        if self.remembered.iter().any(|known| known.name == text) {
            return Ok(column(&text));
        }
        self.holds_nothing_remembered(call, parsed)?;
        let value = match arguments_of(call).as_deref() {
            Some([x]) => self.checker().numbers(&parsed.part((*x).clone()), "last_alert"),
            _ => return Err(self.told(&parsed.place(call.span()), format!("{} takes (x)", call.name))),
        };
        self.remembered.push(Remembered { name: text.clone(), value: value.ok_or(Told)? });
        Ok(column(&text))
    }

    fn checker(&self) -> Checker<'_> {
        Checker { compat: self.compat, schema: &self.schema, findings: self.findings }
    }

    /// What an alert does depends on what is remembered: other columns are there before.
    fn holds_nothing_remembered(&self, call: &SqlCall, parsed: &Parsed) -> Result<(), Told> {
        let remembered = |part: &Sql| match part {
            Sql::Identifier(name) => self.remembered.iter().any(|remembered| remembered.name == name.value),
            _ => false,
        };
        let found = visit_expressions(call, |part| match remembered(part) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        });
        match found {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => {
                let message = format!("last_alert cannot stand within {}", call.name);
                Err(self.told(&parsed.place(call.span()), message))
            }
        }
    }

    fn told(&self, span: &crate::spec::Span, message: String) -> Told {
        self.findings.mistake(span, message);
        Told
    }
}

/// What is wrong was noted.
struct Told;

fn with_column(schema: &SchemaRef, name: &str) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone());
    let added = Field::new(name, DataType::Float64, true);
    Arc::new(Schema::new(fields.chain([added]).collect::<Vec<_>>()))
}

fn column(name: &str) -> Sql {
    Sql::Identifier(Ident::with_quote('"', name))
}

fn number(digits: &str) -> Sql {
    Sql::Value(Value::Number(digits.to_string(), false).into())
}

fn nested(sql: &Sql) -> Sql {
    Sql::Nested(Box::new(sql.clone()))
}

fn binary(left: Sql, op: BinaryOperator, right: Sql) -> Sql {
    Sql::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn with_arguments(mut call: SqlCall, arguments: [Sql; 2]) -> SqlCall {
    if let FunctionArguments::List(list) = &mut call.args {
        list.args = arguments.map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))).to_vec();
    }
    call
}
