//! `indicators`: adds indicators, computed per key, to each row.

mod run;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_sql::sqlparser::ast::{
    Expr as Sql, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned, UnaryOperator, Value,
};

use run::Indicators;

use super::changes::Changes;
use super::{Built, OperatorPlan, OperatorSpec};
use crate::formats::type_name;
use crate::indicators::{self, ArgumentKind, Arguments, Compat, Function, Literal};
use crate::keys::{KeyIds, KeyReader};
use crate::sources::TIME;
use crate::spec::expression::{Parsed, Scalar, compile, parse};
use crate::spec::{At, Check, Edge, Fields, Findings, Named, did_you_mean};
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

words! {
    /// Whose conventions are followed where they differ.
    Dialect {
        /// TA-Lib.
        Talib = "talib",
        /// TradingView's Pine.
        Tradingview = "tradingview",
        /// pandas.
        Pandas = "pandas",
    }
}

/// The metadata key of a field whose first values of each key are null.
pub const NULL_UNTIL_WARM: &str = "tapeflow.null_until_warm";

struct IndicatorsSpec {
    columns: At<Named<String>>,
    emit: Emit,
    compat: Compat,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn OperatorSpec> {
    let columns = fields.get("columns", "a name and an indicator for each column that is added").required();
    let emit =
        fields.get("emit", "`warm`: rows for which all indicators have a value; `all`: every row").or(Emit::Warm);
    let dialect = fields.get("compat", "whose conventions are followed where they differ").or(Dialect::Talib);
    let compat = match dialect {
        Dialect::Talib => Compat::Talib,
        Dialect::Tradingview => Compat::Tradingview,
        Dialect::Pandas => Compat::Pandas,
    };
    Box::new(IndicatorsSpec { columns, emit, compat })
}

impl OperatorSpec for IndicatorsSpec {
    fn plan(&self, _name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<(Edge, Arc<dyn OperatorPlan>)> {
        if self.columns.0.is_empty() {
            check.findings.mistake(&self.columns.span, "`columns` names no indicator");
            return None;
        }
        let calls = self.columns.0.iter().map(|(name, text)| plan_call(name, text, self.compat, input, check.findings));
        let calls = calls.collect::<Vec<_>>().into_iter().collect::<Option<Vec<Call>>>()?;
        let schema = output_schema(input, &calls, &self.columns, self.emit, check.findings)?;
        let added = schema.fields().len() - input.schema.fields().len();
        let edge = Edge { schema: Arc::clone(&schema), visible: input.visible + added, placed: true, ..input.clone() };
        let edge = Edge { key: edge.key.iter().map(|at| after_insert(*at, input.visible, added)).collect(), ..edge };
        let plan = IndicatorsPlan {
            input: input.clone(),
            schema,
            calls: Arc::new(calls),
            time: input.position(TIME),
            emit: self.emit,
        };
        Some((edge, Arc::new(plan)))
    }
}

/// New columns stand after the visible ones, so hidden ones move.
fn after_insert(at: usize, visible: usize, added: usize) -> usize {
    if at < visible { at } else { at + added }
}

fn output_schema(
    input: &Edge,
    calls: &[Call],
    columns: &At<Named<String>>,
    emit: Emit,
    findings: &Findings,
) -> Option<SchemaRef> {
    let mut fields: Vec<Field> = input.schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    let hidden = fields.split_off(input.visible);
    let before = findings.len();
    for (call, (name, _)) in calls.iter().zip(&columns.0) {
        for suffix in call.function.outputs {
            let name_out = format!("{}{suffix}", name.value);
            if fields.iter().chain(&hidden).any(|field| *field.name() == name_out) {
                findings.mistake(&name.span, format!("there is a column `{name_out}` already"));
            }
            let mut field = Field::new(name_out, DataType::Float64, true);
            if emit == Emit::All {
                field.set_metadata([(NULL_UNTIL_WARM.to_string(), String::new())].into());
            }
            fields.push(field);
        }
    }
    fields.extend(hidden);
    (findings.len() == before).then(|| Arc::new(Schema::new(fields)))
}

/// One entry of `columns`: an indicator, its series and its other arguments.
struct Call {
    function: &'static Function,
    series: Vec<Scalar>,
    arguments: Arguments,
    text: String,
}

fn plan_call(name: &At<String>, text: &At<String>, compat: Compat, input: &Edge, findings: &Findings) -> Option<Call> {
    let parsed = parse(text, findings)?;
    let (function, arguments) = resolve(&parsed, name, findings)?;
    let wanted = function.arguments.iter().filter(|argument| matches!(argument.kind, ArgumentKind::Series)).count();
    if arguments.len() < wanted {
        findings.mistake(&text.span, format!("{} takes {}", function.name, signature(function)));
        return None;
    }
    let (series, rest) = arguments.split_at(wanted);
    let series: Vec<Option<Scalar>> =
        series.iter().map(|sql| series_of(&parsed.part((*sql).clone()), input, findings)).collect();
    let mut literals = Vec::new();
    for sql in rest {
        match literal(sql) {
            Some(value) => literals.push(value),
            None => {
                let message =
                    format!("`{sql}` must be written out as a number or a span like '5m': {}", signature(function));
                findings.mistake(&parsed.place(sql.span()), message);
                return None;
            }
        }
    }
    let arguments = indicators::check(function, &literals, compat).map_err(|mistake| {
        let place =
            mistake.argument.and_then(|at| rest.get(at)).map_or(text.span.clone(), |sql| parsed.place(sql.span()));
        findings.mistake(&place, mistake.message);
    });
    Some(Call {
        function,
        series: series.into_iter().collect::<Option<Vec<_>>>()?,
        arguments: arguments.ok()?,
        text: text.value.clone(),
    })
}

fn resolve<'a>(
    parsed: &'a Parsed,
    name: &At<String>,
    findings: &Findings,
) -> Option<(&'static Function, Vec<&'a Sql>)> {
    let Sql::Function(call) = &parsed.sql else {
        let message =
            format!("`{}` must be an indicator, like sma(price, 5); for other expressions use `select`", name.value);
        findings.mistake(parsed.span(), message);
        return None;
    };
    let called = call.name.to_string().to_lowercase();
    let Some(function) = indicators::find(&called) else {
        let near = did_you_mean(&called, indicators::FUNCTIONS.iter().map(|function| function.name));
        findings.mistake(&parsed.place(call.name.span()), format!("there is no indicator `{called}`{near}"));
        return None;
    };
    let FunctionArguments::List(list) = &call.args else {
        findings.mistake(parsed.span(), format!("{} takes {}", function.name, signature(function)));
        return None;
    };
    let plain = |argument: &'a FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(sql)) => Some(sql),
        _ => None,
    };
    let arguments: Option<Vec<&Sql>> = list.args.iter().map(plain).collect();
    if arguments.is_none() {
        findings.mistake(parsed.span(), format!("{} takes {}", function.name, signature(function)));
    }
    Some((function, arguments?))
}

/// `rsi(x, period)`.
pub fn signature(function: &Function) -> String {
    let show = |argument: &indicators::Argument| match argument.default {
        Some(default) if !default.is_empty() => format!("{} = {default}", argument.name),
        Some(_) => format!("[{}]", argument.name),
        None => argument.name.to_string(),
    };
    format!("{}({})", function.name, function.arguments.iter().map(show).collect::<Vec<_>>().join(", "))
}

fn series_of(parsed: &Parsed, input: &Edge, findings: &Findings) -> Option<Scalar> {
    let scalar = compile(parsed, &input.schema, findings)?;
    let kind = scalar.field().data_type().clone();
    if !kind.is_numeric() {
        findings.mistake(
            &parsed.place(parsed.sql.span()),
            format!("`{}` is {}, and an indicator needs numbers", parsed.sql, type_name(&kind)),
        );
        return None;
    }
    Some(scalar.cast(&DataType::Float64))
}

fn literal(sql: &Sql) -> Option<Literal> {
    match sql {
        Sql::Value(value) => match &value.value {
            Value::Number(text, _) => match text.parse::<i64>() {
                Ok(integer) => Some(Literal::Integer(integer)),
                Err(_) => text.parse().ok().map(Literal::Float),
            },
            Value::SingleQuotedString(text) => Some(Literal::Text(text.clone())),
            _ => None,
        },
        Sql::UnaryOp { op: UnaryOperator::Minus, expr } => match literal(expr)? {
            Literal::Integer(integer) => Some(Literal::Integer(-integer)),
            Literal::Float(float) => Some(Literal::Float(-float)),
            Literal::Text(_) => None,
        },
        _ => None,
    }
}

struct IndicatorsPlan {
    input: Edge,
    schema: SchemaRef,
    calls: Arc<Vec<Call>>,
    time: Option<usize>,
    emit: Emit,
}

impl OperatorPlan for IndicatorsPlan {
    fn build(&self) -> Built {
        let keys = KeyReader::new(&self.input.schema, &self.input.key);
        let states = self.calls.iter().map(|call| (call.function.build)(&call.arguments)).collect();
        Built::Keyed(Box::new(Indicators {
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
        }))
    }

    fn details(&self) -> Vec<String> {
        let warm_up = |call: &Call| match (call.function.warm_up)(&call.arguments) {
            Some(rows) => format!("{}: warm after {rows} rows of a key", call.text),
            None => format!("{}: warm at the first row of a key", call.text),
        };
        let mut lines: Vec<String> = self.calls.iter().map(warm_up).collect();
        lines.push(format!("emits {} rows", self.emit));
        lines
    }
}
