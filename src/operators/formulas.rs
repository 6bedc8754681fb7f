//! Columns that are made of aggregates: `sum(price * volume) / sum(volume)`.
//!
//! Each call of an aggregate is taken out of its expression, and what is left is an expression over the results.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, Float64Array, RecordBatch};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Float64Type, Schema, SchemaRef};
use datafusion_sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, DuplicateTreatment, Expr as Sql, Function as SqlCall, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, Spanned, Value, helpers::attached_token::AttachedToken, visit_expressions,
    visit_expressions_mut,
};

use crate::aggregates::{AGGREGATES, Accumulator, Aggregate, Empty, Planned, Rows, find};
use crate::error::{Error, Result};
use crate::formats::{ColumnType, type_name};
use crate::spec::expression::{Parsed, Scalar, compile, functions, is_function, parse};
use crate::spec::{At, Edge, Findings, Named, did_you_mean};

/// A call of an aggregate.
pub struct Call {
    arguments: Vec<Argument>,
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
    ///
    /// # Errors
    /// Where an expression fails, or a float is too great for the decimal that it is summed as.
    pub fn evaluate(&self, data: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.arguments.iter().map(|argument| argument.evaluate(data)).collect()
    }

    /// Whether rows can be taken back.
    pub fn is_reversible(&self) -> bool {
        self.build().is_reversible()
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

/// An argument of an aggregate.
#[derive(Clone)]
struct Argument {
    value: Scalar,
    /// Set for a float that is summed as a decimal: the digits behind its point.
    scale: Option<i8>,
}

impl Argument {
    /// `value`, for an aggregate that takes values of `kind`.
    fn new(value: Scalar, kind: &DataType) -> Argument {
        match kind {
            DataType::Decimal128(_, scale) if value.field().data_type().is_floating() => {
                Argument { value: value.cast(&DataType::Float64), scale: Some(*scale) }
            }
            kind => Argument { value: value.cast(kind), scale: None },
        }
    }

    fn evaluate(&self, data: &RecordBatch) -> Result<ArrayRef> {
        let values = self.value.evaluate(data)?;
        self.scale.map_or(Ok(Arc::clone(&values)), |scale| scaled(&values, scale))
    }
}

/// Floats as decimals of 38 digits, `scale` of them behind the point; what is no number is a null.
fn scaled(values: &ArrayRef, scale: i8) -> Result<ArrayRef> {
    let unit = 10_f64.powi(i32::from(scale));
    let decimal = |value: f64| {
        let scaled = (value * unit).round();
        if scaled.abs() < 1e38 {
            return Ok(scaled as i128);
        }
        Err(Error::run(format!("{value} is too great to be summed with {scale} digits behind the point: see `scale`")))
    };
    let floats = values.as_primitive::<Float64Type>().iter();
    let decimals = floats.map(|value| value.filter(|value| !value.is_nan()).map(decimal).transpose());
    let decimals = decimals.collect::<Result<Decimal128Array>>()?;
    Ok(Arc::new(decimals.with_precision_and_scale(DECIMAL128_MAX_PRECISION, scale)?))
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
    pub fn plan(
        columns: &At<Named<String>>,
        given: &[Field],
        input: &Edge,
        rows: Rows,
        findings: &Findings,
    ) -> Option<Formulas> {
        if columns.0.is_empty() {
            findings.mistake(&columns.span, "`columns` names no aggregate");
            return None;
        }
        let all: Vec<Column> = columns.0.iter().map(|(name, text)| Column::of_all(name, text)).collect();
        Formulas::of(&all, given, input, rows, findings)
    }

    /// Types these columns.
    pub fn of(
        columns: &[Column<'_>],
        given: &[Field],
        input: &Edge,
        rows: Rows,
        findings: &Findings,
    ) -> Option<Formulas> {
        let before = findings.len();
        let mut taken = Taken { input, rows, findings, names: Vec::new(), calls: Vec::new() };
        let rests: Vec<Option<Parsed>> = columns.iter().map(|column| taken.take_out(column)).collect();
        let Taken { names, calls, .. } = taken;
        let calls = calls.into_iter().collect::<Option<Vec<Call>>>()?;
        let mut fields = given.to_vec();
        fields.extend(names.iter().zip(&calls).map(|(name, call)| Field::new(name, call.output().clone(), true)));
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let typed = columns.iter().zip(rests).map(|(Column { name, text, .. }, rest)| {
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
            Some((scalar.field().clone().with_name(name).with_nullable(true), scalar))
        });
        let columns_typed = typed.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>()?;
        let texts = columns.iter().map(Column::to_string).collect();
        (findings.len() == before).then_some(Formulas { calls, columns: columns_typed, schema, texts })
    }

    /// Whether the places of rows are asked for.
    pub fn by_place(&self) -> bool {
        self.calls.iter().any(Call::by_place)
    }

    /// Those of `slots` of which every result fits its type; `refuse` is told of the others, and why.
    pub fn fitting(
        &self,
        accumulators: &[Box<dyn Accumulator>],
        mut slots: Vec<u32>,
        mut refuse: impl FnMut(u32, String) -> Result<()>,
    ) -> Result<Vec<u32>> {
        let results = &self.schema.fields()[self.schema.fields().len() - self.calls.len()..];
        for (accumulator, call) in accumulators.iter().zip(results) {
            while let Err(overflow) = accumulator.results(&slots) {
                let slot = slots.remove(overflow.at);
                refuse(slot, format!("{} is greater than {} holds", call.name(), type_name(call.data_type())))?;
            }
        }
        Ok(slots)
    }
}

/// What is no number, or none there is, is a null.
pub fn finite(column: ArrayRef) -> ArrayRef {
    match column.as_primitive_opt::<Float64Type>() {
        Some(floats) if floats.values().iter().any(|value| !value.is_finite()) => {
            let finite = floats.iter().map(|value| value.filter(|value| value.is_finite()));
            Arc::new(finite.collect::<Float64Array>())
        }
        _ => column,
    }
}

/// A column of groups, as written.
pub struct Column<'a> {
    /// Its name.
    pub name: String,
    /// An expression of aggregates.
    pub text: &'a At<String>,
    /// Of the rows for which this holds.
    pub only: Option<Sql>,
}

impl<'a> Column<'a> {
    fn of_all(name: &str, text: &'a At<String>) -> Self {
        Column { name: name.to_string(), text, only: None }
    }
}

impl std::fmt::Display for Column<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} = {}", self.name, self.text.value)?;
        self.only.as_ref().map_or(Ok(()), |only| write!(f, " where {only}"))
    }
}

/// Takes calls out of expressions.
struct Taken<'a> {
    input: &'a Edge,
    rows: Rows,
    findings: &'a Findings,
    names: Vec<String>,
    calls: Vec<Option<Call>>,
}

impl Taken<'_> {
    /// What is left of an expression when each call in it is the name of a column.
    fn take_out(&mut self, column: &Column<'_>) -> Option<Parsed> {
        let parsed = parse(column.text, self.findings)?;
        let mut rest = parsed.sql.clone();
        if let Some(only) = &column.only {
            restrict(&mut rest, only);
        }
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
        match aggregate.plan_for(self.rows, &kinds, &numbers) {
            Ok(planned) => {
                let arguments = typed.into_iter().zip(&planned.arguments);
                let arguments = arguments.map(|(scalar, kind)| Argument::new(scalar, kind));
                Some(Call { arguments: arguments.collect(), planned, empty: aggregate.empty })
            }
            Err(message) => {
                mistake(format!("`{call}`: {message}: {}", aggregate.signature));
                None
            }
        }
    }
}

/// Lets the aggregates of an expression see only the rows for which `only` holds, too.
fn restrict(sql: &mut Sql, only: &Sql) {
    let _ = visit_expressions_mut(sql, |sql| {
        if let Sql::Function(call) = sql
            && find(&call.name.to_string().to_lowercase()).is_some()
        {
            let both =
                |own: Box<Sql>| Sql::BinaryOp { left: own, op: BinaryOperator::And, right: Box::new(only.clone()) };
            call.filter = Some(Box::new(call.filter.take().map_or_else(|| only.clone(), both)));
        }
        ControlFlow::<()>::Continue(())
    });
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
