//! Calls of indicators in expressions: checked against their declarations, and computed a batch at a time.

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, Float64Type, SchemaRef, TimestampNanosecondType};
use datafusion_sql::sqlparser::ast::{
    Expr as Sql, Function as SqlCall, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned, UnaryOperator, Value,
};

use crate::error::Result;
use crate::formats::type_name;
use crate::indicators::{self, Arguments, Column, Compat, Function, Literal};
use crate::spec::expression::{Parsed, Scalar, compile};
use crate::spec::{Fields, Findings};
use crate::words;

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

/// Reads `compat`.
pub fn read_compat(fields: &mut Fields<'_>) -> Compat {
    let dialect = fields.get("compat", "whose conventions are followed where they differ").or(Dialect::Talib);
    match dialect {
        Dialect::Talib => Compat::Talib,
        Dialect::Tradingview => Compat::Tradingview,
        Dialect::Pandas => Compat::Pandas,
    }
}

/// An indicator, its series and its other arguments.
pub struct Call {
    /// What is called.
    pub function: &'static Function,
    /// Its series, as doubles.
    pub series: Vec<Scalar>,
    /// Its literals.
    pub arguments: Arguments,
    /// As it is written.
    pub text: String,
}

/// What calls are checked with.
pub struct Checker<'a> {
    /// Whose conventions hold.
    pub compat: Compat,
    /// The columns that series are made of.
    pub schema: &'a SchemaRef,
    /// Where mistakes go.
    pub findings: &'a Findings,
}

impl Checker<'_> {
    /// The call of `function` that `called` in `parsed` is.
    pub fn check(&self, function: &'static Function, called: &SqlCall, parsed: &Parsed, text: &str) -> Option<Call> {
        let wanted = function.series().count();
        let Some(given) = arguments_of(called).filter(|given| given.len() >= wanted) else {
            self.findings.mistake(parsed.span(), format!("{} takes {}", function.name, signature(function)));
            return None;
        };
        let (series, rest) = given.split_at(wanted);
        let series: Vec<Option<Scalar>> =
            series.iter().map(|sql| self.numbers(&parsed.part((*sql).clone()), "an indicator")).collect();
        let mut literals = Vec::new();
        for sql in rest {
            match literal(sql) {
                Some(value) => literals.push(value),
                None => {
                    let message =
                        format!("`{sql}` must be written out as a number or a span like '5m': {}", signature(function));
                    self.findings.mistake(&parsed.place(sql.span()), message);
                    return None;
                }
            }
        }
        let arguments = indicators::check(function, &literals, self.compat).map_err(|mistake| {
            let place = mistake
                .argument
                .and_then(|at| rest.get(at))
                .map_or(parsed.span().clone(), |sql| parsed.place(sql.span()));
            self.findings.mistake(&place, mistake.message);
        });
        let series = series.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Call { function, series, arguments: arguments.ok()?, text: text.to_string() })
    }

    /// An expression of numbers, as doubles.
    pub fn numbers(&self, parsed: &Parsed, who: &str) -> Option<Scalar> {
        let scalar = compile(parsed, self.schema, self.findings)?;
        let kind = scalar.field().data_type();
        if !kind.is_numeric() {
            let message = format!("`{}` is {}, and {who} needs numbers", parsed.sql, type_name(kind));
            self.findings.mistake(&parsed.place(parsed.sql.span()), message);
            return None;
        }
        Some(scalar.cast(&DataType::Float64))
    }
}

/// The arguments of a call, where they are plain expressions and nothing else is said.
pub fn arguments_of(call: &SqlCall) -> Option<Vec<&Sql>> {
    let FunctionArguments::List(list) = &call.args else { return None };
    let more = call.over.is_some() || call.filter.is_some() || !call.within_group.is_empty();
    if more || list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
        return None;
    }
    let plain = |argument| match argument {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref sql)) => Some(sql),
        _ => None,
    };
    list.args.iter().map(plain).collect()
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

/// `rsi(x, period)`.
pub fn signature(function: &Function) -> String {
    let show = |argument: &indicators::Argument| match argument.default {
        Some(default) if !default.is_empty() => format!("{} = {default}", argument.name),
        Some(_) => format!("[{}]", argument.name),
        None => argument.name.to_string(),
    };
    format!("{}({})", function.name, function.arguments.iter().map(show).collect::<Vec<_>>().join(", "))
}

impl Call {
    /// The states of all keys, none yet.
    pub fn states(&self) -> Box<dyn Column> {
        (self.function.build)(&self.arguments)
    }

    /// What it is computed of.
    pub fn series(&self, data: &RecordBatch) -> Result<Vec<Float64Array>> {
        self.series.iter().map(|scalar| Ok(with_nan(scalar.evaluate(data)?))).collect()
    }

    /// Feeds rows: the numbers of their keys, their times, their series; a Vec for each output.
    pub fn update(
        &self,
        states: &mut dyn Column,
        ids: &[u32],
        times: &[i64],
        series: &[Float64Array],
    ) -> Vec<Vec<f64>> {
        let inputs: Vec<&[f64]> = series.iter().map(|column| &column.values()[..]).collect();
        let mut outputs: Vec<Vec<f64>> = self.function.outputs.iter().map(|_| Vec::with_capacity(ids.len())).collect();
        states.update(ids, times, &inputs, &mut outputs);
        outputs
    }
}

/// Event time of all rows; 0 where they have none.
pub fn times_of(data: &RecordBatch, time: Option<usize>) -> Cow<'_, [i64]> {
    match time {
        Some(at) => Cow::Borrowed(data.column(at).as_primitive::<TimestampNanosecondType>().values()),
        None => Cow::Owned(vec![0; data.num_rows()]),
    }
}

/// Numbers with NaN where they were null, which is what an indicator skips.
pub fn with_nan(column: ArrayRef) -> Float64Array {
    let numbers = column.as_primitive::<Float64Type>();
    match numbers.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => numbers.clone(),
        Some(nulls) => {
            let value = |row: usize| if nulls.is_valid(row) { numbers.value(row) } else { f64::NAN };
            Float64Array::from_iter_values((0..numbers.len()).map(value))
        }
    }
}

/// Which of them are numbers; nothing where all are.
pub fn valid(values: &[f64]) -> Option<BooleanBuffer> {
    let some_missing = values.iter().any(|value| value.is_nan());
    some_missing.then(|| BooleanBuffer::collect_bool(values.len(), |row| !values[row].is_nan()))
}

/// A column of them, null where they are NaN.
pub fn with_nulls(values: Vec<f64>) -> Float64Array {
    let nulls = valid(&values).map(NullBuffer::new);
    Float64Array::new(values.into(), nulls)
}
