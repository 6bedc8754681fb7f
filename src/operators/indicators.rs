//! `indicators`: adds indicators, computed per key, to each row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef, TimestampNanosecondType};
use datafusion_sql::sqlparser::ast::{
    Expr as Sql, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned, UnaryOperator, Value,
};

use super::{Operator, OperatorPlan, OperatorSpec, Output, Routing};
use crate::batch::Rows;
use crate::error::Result;
use crate::formats::type_name;
use crate::indicators::{self, ArgumentKind, Arguments, Column, Compat, Function, Literal};
use crate::keys::{KeyIds, KeyReader};
use crate::sources::TIME;
use crate::spec::expression::{Parsed, Scalar, compile, parse};
use crate::spec::{At, Check, Edge, Fields, Findings, Named, did_you_mean, surviving};
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
    fn plan(&self, input: &Edge, check: &Check<'_>) -> Option<(Edge, Arc<dyn OperatorPlan>)> {
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
    fn routing(&self) -> Routing {
        Routing::ByKey
    }

    fn build(&self) -> Box<dyn Operator> {
        let keys = KeyReader::new(&self.input.schema, &self.input.key);
        let states = self.calls.iter().map(|call| (call.function.build)(&call.arguments)).collect();
        Box::new(Indicators {
            keys,
            ids: KeyIds::default(),
            row_ids: Vec::new(),
            states,
            calls: Arc::clone(&self.calls),
            schema: Arc::clone(&self.schema),
            visible: self.input.visible,
            time: self.time,
            emit: self.emit,
        })
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

struct Indicators {
    keys: std::result::Result<KeyReader, arrow::error::ArrowError>,
    ids: KeyIds,
    row_ids: Vec<u32>,
    states: Vec<Box<dyn Column>>,
    calls: Arc<Vec<Call>>,
    schema: SchemaRef,
    visible: usize,
    time: Option<usize>,
    emit: Emit,
}

impl Operator for Indicators {
    fn rows(&mut self, rows: Rows, out: &mut Output) -> Result<()> {
        let calls = Arc::clone(&self.calls);
        let evaluate = |data: &RecordBatch| {
            let series = calls.iter().flat_map(|call| &call.series);
            series.map(|scalar| Ok(with_nan(scalar.evaluate(data)?))).collect::<Result<Vec<_>>>()
        };
        let Some((data, series)) = surviving(rows.data, &mut out.refused, evaluate)? else { return Ok(()) };
        self.number_keys(&data)?;
        let computed = self.compute(&data, &series);
        let data = self.emit(data, computed, out)?;
        out.rows.push(Rows { data, source: rows.source });
        Ok(())
    }
}

impl Indicators {
    fn number_keys(&mut self, data: &RecordBatch) -> Result<()> {
        let keys = self.keys.as_ref().map_err(crate::Error::run)?;
        let (ids, row_ids) = (&mut self.ids, &mut self.row_ids);
        row_ids.clear();
        row_ids.reserve(data.num_rows());
        Ok(keys.for_each(data, |_, key| row_ids.push(ids.id(key)))?)
    }

    fn compute(&mut self, data: &RecordBatch, series: &[Float64Array]) -> Vec<Vec<f64>> {
        let times = self.time.map(|at| data.column(at).as_primitive::<TimestampNanosecondType>().values());
        let none = vec![0; if times.is_some() { 0 } else { data.num_rows() }];
        let times: &[i64] = times.map_or(&none, |times| times);
        let mut series = series.iter();
        let mut computed = Vec::new();
        for (call, state) in self.calls.iter().zip(&mut self.states) {
            let inputs: Vec<&[f64]> =
                series.by_ref().take(call.series.len()).map(|column| &column.values()[..]).collect();
            let mut outputs: Vec<Vec<f64>> =
                call.function.outputs.iter().map(|_| Vec::with_capacity(data.num_rows())).collect();
            state.update(&self.row_ids, times, &inputs, &mut outputs);
            computed.extend(outputs);
        }
        computed
    }

    /// The rows with their new columns; a NaN is a null.
    fn emit(&self, data: RecordBatch, computed: Vec<Vec<f64>>, out: &mut Output) -> Result<RecordBatch> {
        let mut columns = data.columns().to_vec();
        let hidden = columns.split_off(self.visible);
        let mut warm: Option<BooleanBuffer> = None;
        for values in computed {
            let valid = values
                .iter()
                .any(|value| value.is_nan())
                .then(|| BooleanBuffer::collect_bool(values.len(), |row| !values[row].is_nan()));
            if let Some(valid) = &valid {
                warm = Some(warm.map_or_else(|| valid.clone(), |warm| &warm & valid));
            }
            columns.push(Arc::new(Float64Array::new(values.into(), valid.map(NullBuffer::new))) as ArrayRef);
        }
        columns.extend(hidden);
        let whole = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        match warm.filter(|_| self.emit == Emit::Warm) {
            None => Ok(whole),
            Some(warm) => {
                let kept = filter_record_batch(&whole, &BooleanArray::from(warm))?;
                out.held_back += (whole.num_rows() - kept.num_rows()) as u64;
                Ok(kept)
            }
        }
    }
}

/// Numbers with NaN where they were null, which is what an indicator skips.
fn with_nan(column: ArrayRef) -> Float64Array {
    let numbers = column.as_primitive::<Float64Type>();
    match numbers.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => numbers.clone(),
        Some(nulls) => {
            let value = |row: usize| if nulls.is_valid(row) { numbers.value(row) } else { f64::NAN };
            Float64Array::from_iter_values((0..numbers.len()).map(value))
        }
    }
}
