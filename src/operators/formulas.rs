//! Columns that are made of aggregates: `sum(price * volume) / sum(volume)`.
//!
//! Each call of an aggregate is taken out of its expression, and what is left is an expression over the results.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_sql::sqlparser::ast::{
    CaseWhen, DuplicateTreatment, Expr as Sql, Function as SqlCall, FunctionArg, FunctionArgExpr, FunctionArguments,
    Ident, Spanned, Value, helpers::attached_token::AttachedToken, visit_expressions, visit_expressions_mut,
};

use crate::aggregates::{AGGREGATES, Accumulator, Aggregate, Empty, Planned, find};
use crate::error::Result;
use crate::formats::ColumnType;
use crate::spec::expression::{Parsed, Scalar, compile, functions, is_function, parse};
use crate::spec::{At, Edge, Findings, Named, did_you_mean};

/// A call of an aggregate.
pub struct Call {
    arguments: Vec<Scalar>,
    planned: Planned,
    /// What stands for it in a group that goes on from the one before it.
    pub empty: Empty,
}

impl Call {
    /// The running aggregate.
    pub fn build(&self) -> Box<dyn Accumulator> {
        (self.planned.build)()
    }

    /// The values of its arguments in the rows of a batch.
    pub fn evaluate(&self, data: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.arguments.iter().map(|argument| argument.evaluate(data)).collect()
    }

    /// The type of each of its arguments.
    pub fn argument_types(&self) -> &[DataType] {
        &self.planned.arguments
    }

    /// The type of its result.
    pub fn output(&self) -> &DataType {
        &self.planned.output
    }

    /// Whether it asks for the places of rows.
    pub fn by_place(&self) -> bool {
        self.planned.by_place
    }

    /// The last value of its first argument, where it is carried on.
    pub fn carried(&self) -> Option<Call> {
        let (argument, held) = (self.arguments.first()?.clone(), self.planned.arguments.first()?);
        let last = find("last")?;
        let planned = (last.plan)(std::slice::from_ref(held), &[]).ok()?;
        (self.empty == Empty::Last).then(|| Call { arguments: vec![argument], planned, empty: Empty::Last })
    }
}

/// Columns of groups, typed.
pub struct Formulas {
    /// The aggregates, each once.
    pub calls: Vec<Call>,
    /// What is computed from them: over rows of `schema`.
    pub columns: Vec<(Field, Scalar)>,
    /// What a group is known by, then the results of the aggregates.
    pub schema: SchemaRef,
    /// How they are written.
    pub texts: Vec<String>,
}

impl Formulas {
    /// Types `columns` of groups of rows of `input`, in which also `given` can be named: what a group is known by.
    pub fn plan(columns: &At<Named<String>>, given: &[Field], input: &Edge, findings: &Findings) -> Option<Formulas> {
        if columns.0.is_empty() {
            findings.mistake(&columns.span, "`columns` names no aggregate");
            return None;
        }
        let before = findings.len();
        let mut taken = Taken { input, findings, names: Vec::new(), calls: Vec::new() };
        let rests: Vec<Option<Parsed>> = columns.0.iter().map(|(_, text)| taken.take_out(text)).collect();
        let Taken { names, calls, .. } = taken;
        let calls = calls.into_iter().collect::<Option<Vec<Call>>>()?;
        let mut fields = given.to_vec();
        fields.extend(names.iter().zip(&calls).map(|(name, call)| Field::new(name, call.output().clone(), true)));
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let typed = columns.0.iter().zip(rests).map(|((name, text), rest)| {
            let rest = rest?;
            check_calls(&rest, findings)?;
            hint_at_bare_columns(&rest, &schema, input, findings)?;
            let scalar = compile(&rest, &schema, findings)?;
            if ColumnType::of(scalar.field()).is_none() {
                let message =
                    format!("`{}` is {}, which no column can hold; cast it", text.value, scalar.field().data_type());
                findings.mistake(&text.span, message);
                return None;
            }
            Some((scalar.field().clone().with_name(&name.value).with_nullable(true), scalar))
        });
        let columns_typed = typed.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>()?;
        let texts = columns.0.iter().map(|(name, text)| format!("{} = {}", name.value, text.value)).collect();
        (findings.len() == before).then_some(Formulas { calls, columns: columns_typed, schema, texts })
    }

    /// Whether the places of rows are asked for.
    pub fn by_place(&self) -> bool {
        self.calls.iter().any(Call::by_place)
    }
}

/// Takes calls out of expressions.
struct Taken<'a> {
    input: &'a Edge,
    findings: &'a Findings,
    names: Vec<String>,
    calls: Vec<Option<Call>>,
}

impl Taken<'_> {
    /// What is left of an expression when each call in it is the name of a column.
    fn take_out(&mut self, text: &At<String>) -> Option<Parsed> {
        let parsed = parse(text, self.findings)?;
        let mut rest = parsed.sql.clone();
        let before = self.findings.len();
        let _ = visit_expressions_mut(&mut rest, |sql| {
            if let Sql::Function(call) = sql
                && let Some(aggregate) = find(&call.name.to_string().to_lowercase())
            {
                let name = sql.to_string();
                if !self.names.contains(&name) {
                    let Sql::Function(call) = &*sql else { return ControlFlow::<()>::Continue(()) };
                    let call = self.call(aggregate, call, &parsed);
                    self.names.push(name.clone());
                    self.calls.push(call);
                }
                *sql = Sql::Identifier(Ident::with_span(sql.span(), name));
            }
            ControlFlow::<()>::Continue(())
        });
        (self.findings.len() == before).then(|| parsed.part(rest))
    }

    fn call(&self, aggregate: &'static Aggregate, call: &SqlCall, parsed: &Parsed) -> Option<Call> {
        let place = parsed.place(call.name.span());
        let mistake = |message: String| self.findings.mistake(&place, message);
        let Some((mut sqls, distinct)) = arguments(call) else {
            mistake(format!("`{call}`: write {}", aggregate.signature));
            return None;
        };
        let aggregate = match (distinct, aggregate.name) {
            (false, _) => aggregate,
            (true, "count") => find("count_distinct")?,
            (true, name) => {
                mistake(format!("`distinct` is for count, not for {name}"));
                return None;
            }
        };
        let nested = sqls.iter().find(|sql| self.names.iter().any(|name| mentions(sql, name)));
        if nested.is_some() {
            mistake(format!("`{call}`: an aggregate stands in no other; compute the inner one in a node before"));
            return None;
        }
        let numbers = sqls.split_off(sqls.len().saturating_sub(aggregate.numbers));
        let numbers: Vec<f64> = numbers.iter().filter_map(number).collect();
        if let Some(condition) = &call.filter {
            let value = sqls.pop().unwrap_or_else(|| Sql::value(Value::Number("1".to_string(), false)));
            sqls.push(only_where(condition, value));
        }
        let typed = |sql: &Sql| compile(&parsed.part(sql.clone()), &self.input.schema, self.findings);
        let typed: Vec<Option<Scalar>> = sqls.iter().map(typed).collect();
        let typed = typed.into_iter().collect::<Option<Vec<Scalar>>>()?;
        let kinds: Vec<DataType> = typed.iter().map(|scalar| scalar.field().data_type().clone()).collect();
        match (aggregate.plan)(&kinds, &numbers) {
            Ok(planned) => {
                let arguments = typed.into_iter().zip(&planned.arguments).map(|(scalar, kind)| scalar.cast(kind));
                Some(Call { arguments: arguments.collect(), planned, empty: aggregate.empty })
            }
            Err(message) => {
                mistake(format!("`{call}`: {message}: {}", aggregate.signature));
                None
            }
        }
    }
}

/// The arguments of a call, and whether only different ones count.
fn arguments(call: &SqlCall) -> Option<(Vec<Sql>, bool)> {
    let FunctionArguments::List(list) = &call.args else { return None };
    let mut sqls = Vec::new();
    for argument in &list.args {
        match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(sql)) => sqls.push(sql.clone()),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if list.args.len() == 1 => {}
            _ => return None,
        }
    }
    let plain = call.over.is_none() && call.within_group.is_empty() && list.clauses.is_empty();
    plain.then_some((sqls, list.duplicate_treatment == Some(DuplicateTreatment::Distinct)))
}

/// `value` where `condition` holds.
fn only_where(condition: &Sql, value: Sql) -> Sql {
    Sql::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition: condition.clone(), result: value }],
        else_result: None,
    }
}

fn number(sql: &Sql) -> Option<f64> {
    match sql {
        Sql::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

fn mentions(sql: &Sql, name: &str) -> bool {
    let found = visit_expressions(sql, |part| match part {
        Sql::Identifier(ident) if ident.value == name => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// Whether all that is still called is a function of SQL.
fn check_calls(rest: &Parsed, findings: &Findings) -> Option<()> {
    let before = findings.len();
    let _ = visit_expressions(&rest.sql, |sql| {
        if let Sql::Function(call) = sql {
            let name = call.name.to_string().to_lowercase();
            if !is_function(&name) {
                let known = AGGREGATES.iter().map(|aggregate| aggregate.name).chain(functions());
                let near = did_you_mean(&name, known);
                let message = format!("there is no aggregate or function `{name}`{near}");
                findings.mistake(&rest.place(call.name.span()), message);
            }
        }
        ControlFlow::<()>::Continue(())
    });
    (findings.len() == before).then_some(())
}

/// A column of the rows, which has many values in a group.
fn hint_at_bare_columns(rest: &Parsed, group: &SchemaRef, input: &Edge, findings: &Findings) -> Option<()> {
    let before = findings.len();
    let _ = visit_expressions(&rest.sql, |sql| {
        if let Sql::Identifier(name) = sql
            && group.index_of(&name.value).is_err()
            && input.position(&name.value).is_some()
        {
            let column = &name.value;
            let message = format!(
                "`{column}` has many values here: write last({column}), max({column}) or another of {}",
                names()
            );
            findings.mistake(&rest.place(name.span), message);
        }
        ControlFlow::<()>::Continue(())
    });
    (findings.len() == before).then_some(())
}

fn names() -> String {
    AGGREGATES.iter().map(|aggregate| aggregate.name).collect::<Vec<_>>().join(", ")
}
