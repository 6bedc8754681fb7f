//! Expressions are SQL scalar expressions: parsed by sqlparser, typed and evaluated by DataFusion.

use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{DFSchema, DFSchemaRef, DataFusionError, TableReference, not_impl_err};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::planner::{ContextProvider, ExprPlanner};
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, Volatility, WindowUDF};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::expressions::{CastExpr, Column};
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion_sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast::{Expr as Sql, Ident, visit_expressions};
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{Location, Span as SqlSpan, Token};

use super::mistakes::{At, Findings, Span, did_you_mean};
use crate::error::Result;
use crate::formats::type_name;

/// A parsed expression and its place in the dataflow file.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The syntax tree.
    pub sql: Sql,
    span: Span,
}

impl Parsed {
    /// Another part of the same text (an argument of a call).
    pub fn part(&self, sql: Sql) -> Parsed {
        Parsed { sql, span: self.span.clone() }
    }

    /// The column `name`, whatever SQL makes of that.
    pub fn column(name: &str, span: Span) -> Parsed {
        Parsed { sql: Sql::Identifier(Ident::with_quote('"', name)), span }
    }

    /// The place of a piece of this expression; the whole where it is not known.
    pub fn place(&self, piece: SqlSpan) -> Span {
        let at = |location: Location| self.span.start + location.column as usize;
        // Only an expression written on one line, between one pair of quotes, has places inside it.
        if piece.start.line != 1 || piece.start.column == 0 || at(piece.end) > self.span.end {
            return self.span.clone();
        }
        at(piece.start)..at(piece.end).max(at(piece.start) + 1)
    }

    /// The place of the whole.
    pub fn span(&self) -> &Span {
        &self.span
    }
}

/// Parses `text`; what is wrong with it is noted.
pub fn parse(text: &At<String>, findings: &Findings) -> Option<Parsed> {
    let read = || -> Result<Sql, ParserError> {
        let mut parser = Parser::new(&GenericDialect {}).try_with_sql(text)?;
        let sql = parser.parse_expr()?;
        parser.expect_token(&Token::EOF)?;
        Ok(sql)
    };
    match read() {
        Ok(sql) => Some(Parsed { sql, span: text.span.clone() }),
        Err(error) => {
            let message = match &error {
                ParserError::TokenizerError(message) | ParserError::ParserError(message) => message.clone(),
                ParserError::RecursionLimitExceeded => "it is nested too deeply".to_string(),
            };
            findings.mistake(&text.span, format!("`{}` is not an expression: {message}", text.value));
            None
        }
    }
}

/// An expression that was typed against a schema and can be evaluated on batches of it.
#[derive(Clone)]
pub struct Scalar {
    physical: Arc<dyn PhysicalExpr>,
    field: Field,
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.physical, f)
    }
}

impl Scalar {
    /// The column `index` of `schema`, as it is.
    pub fn column(schema: &Schema, index: usize) -> Scalar {
        let field = schema.field(index).clone();
        Scalar { physical: Arc::new(Column::new(field.name(), index)), field }
    }

    /// The type of the result; its name is that of the column, where the expression is just one.
    pub fn field(&self) -> &Field {
        &self.field
    }

    /// The column that this is, where it is just one.
    pub fn as_column(&self) -> Option<usize> {
        self.physical.downcast_ref::<Column>().map(Column::index)
    }

    /// This expression, cast to `kind` where it is of another type. A value that does not fit becomes null.
    pub fn cast(self, kind: &DataType) -> Scalar {
        if self.field.data_type() == kind {
            return self;
        }
        let options = arrow::compute::CastOptions { safe: true, ..Default::default() };
        let field = Field::new(self.field.name(), kind.clone(), true);
        Scalar { physical: Arc::new(CastExpr::new(self.physical, kind.clone(), Some(options))), field }
    }

    /// One value a row.
    pub fn evaluate(&self, data: &RecordBatch) -> Result<ArrayRef> {
        Ok(self.physical.evaluate(data)?.into_array(data.num_rows())?)
    }
}

/// Functions that read a clock or a die, or ask for the file: a replay could not repeat them.
fn is_impure(name: &str) -> bool {
    FUNCTIONS.get(name).is_some_and(|function| function.signature().volatility != Volatility::Immutable)
}

/// Types `parsed` against `schema`; what is wrong with it is noted.
pub fn compile(parsed: &Parsed, schema: &SchemaRef, findings: &Findings) -> Option<Scalar> {
    let before = findings.len();
    check_names(parsed, schema, findings);
    if findings.len() > before {
        return None;
    }
    match typed(&parsed.sql, schema) {
        Ok(scalar) => Some(scalar),
        Err(error) => {
            let message = error.strip_backtrace();
            let message = message.split_once(": ").map_or(message.as_str(), |(_, rest)| rest);
            let message = message.lines().next().unwrap_or_default();
            findings.mistake(&parsed.span, format!("`{}`: {message}", parsed.sql));
            None
        }
    }
}

/// Parses and types `text`. The name of a column is that column, whatever SQL makes of it.
pub fn scalar(text: &At<String>, schema: &SchemaRef, findings: &Findings) -> Option<Scalar> {
    if let Ok(column) = schema.index_of(text) {
        return Some(Scalar::column(schema, column));
    }
    compile(&parse(text, findings)?, schema, findings)
}

/// Like [`scalar`], but it must be true or false.
pub fn condition(text: &At<String>, schema: &SchemaRef, findings: &Findings) -> Option<Scalar> {
    truth(scalar(text, schema, findings)?, text, findings)
}

/// `scalar`, which was made of `text`, where it is true or false.
pub fn truth(scalar: Scalar, text: &At<String>, findings: &Findings) -> Option<Scalar> {
    if *scalar.field.data_type() != DataType::Boolean {
        let kind = type_name(scalar.field.data_type());
        findings.mistake(&text.span, format!("a condition is true or false, but `{}` is {kind}", text.value));
        return None;
    }
    Some(scalar)
}

fn check_names(parsed: &Parsed, schema: &Schema, findings: &Findings) {
    let columns = || schema.fields().iter().map(|field| field.name().as_str());
    let _ = visit_expressions(&parsed.sql, |sql| {
        match sql {
            Sql::Identifier(name) if !columns().any(|column| column == name.value) => {
                let near = did_you_mean(&name.value, columns());
                findings.mistake(&parsed.place(name.span), format!("there is no column `{}`{near}", name.value));
            }
            Sql::CompoundIdentifier(names) => {
                let text = sql.to_string();
                let span = names.first().map_or(SqlSpan::empty(), |name| name.span);
                findings.mistake(&parsed.place(span), format!("`{text}`: a column is named without a table"));
            }
            Sql::Function(call) => check_function(parsed, &call.name.to_string(), sql, findings),
            Sql::Subquery(_) | Sql::Exists { .. } | Sql::InSubquery { .. } => {
                findings.mistake(&parsed.span, "an expression holds no query".to_string());
            }
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
}

fn check_function(parsed: &Parsed, name: &str, sql: &Sql, findings: &Findings) {
    use datafusion_sql::sqlparser::ast::Spanned;
    let lower = name.to_lowercase();
    if is_impure(&lower) {
        let message = format!("`{name}` is not the same at every replay; use event time, or a column such as `seq`");
        findings.mistake(&parsed.place(sql.span()), message);
    } else if !FUNCTIONS.contains_key(&lower) {
        let near = did_you_mean(&lower, FUNCTIONS.keys().map(String::as_str));
        let hint = match crate::indicators::find(&lower) {
            Some(_) => " (it is an indicator: use it in the `columns` of an `indicators` node)".to_string(),
            None => near,
        };
        findings.mistake(&parsed.place(sql.span()), format!("there is no function `{name}`{hint}"));
    }
}

fn typed(sql: &Sql, schema: &SchemaRef) -> Result<Scalar, DataFusionError> {
    let columns: DFSchemaRef = Arc::new(DFSchema::try_from(Arc::clone(schema))?);
    let options = ParserOptions::new().with_enable_ident_normalization(false).with_map_string_types_to_utf8view(false);
    let planner = SqlToRel::new_with_options(&*FUNCTIONS_ONLY, options);
    let logical = planner.sql_to_expr(sql.clone(), &columns, &mut PlannerContext::new())?;
    let context = SimplifyContext::builder().with_schema(Arc::clone(&columns)).build();
    let simplifier = ExprSimplifier::new(context);
    let logical = simplifier.simplify(simplifier.coerce(logical, &columns)?)?;
    let physical =
        create_physical_expr(&logical, &columns, &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
    if let Some(column) = physical.downcast_ref::<Column>() {
        return Ok(Scalar::column(schema, column.index()));
    }
    let kind = physical.data_type(schema)?;
    let nullable = physical.nullable(schema).unwrap_or(true);
    let scalar = Scalar { physical, field: Field::new(sql.to_string(), kind.clone(), nullable) };
    Ok(scalar.cast(&plain(&kind)))
}

/// The plain type that stands for `kind` on our edges: no views, no dictionaries, times in UTC without a zone.
pub fn plain(kind: &DataType) -> DataType {
    match kind {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, value) => plain(value),
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, None),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::Null => DataType::Utf8,
        other => other.clone(),
    }
}

static FUNCTIONS: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let named = |udf: Arc<ScalarUDF>| {
        let names: Vec<String> =
            std::iter::once(udf.name()).chain(udf.aliases().iter().map(String::as_str)).map(String::from).collect();
        names.into_iter().map(move |name| (name, Arc::clone(&udf)))
    };
    datafusion_functions::all_default_functions().into_iter().flat_map(named).collect()
});

/// Whether there is an SQL function of this name, also one that may not be called here.
pub fn is_function(name: &str) -> bool {
    FUNCTIONS.contains_key(name)
}

/// The names of the SQL functions there are, sorted.
pub fn functions() -> Vec<&'static str> {
    let mut names: Vec<&str> = FUNCTIONS.keys().map(String::as_str).filter(|name| !is_impure(name)).collect();
    names.sort_unstable();
    names
}

static FUNCTIONS_ONLY: LazyLock<FunctionsOnly> = LazyLock::new(|| FunctionsOnly {
    options: ConfigOptions::default(),
    planners: vec![
        Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
        Arc::new(datafusion_functions::datetime::planner::DatetimeFunctionPlanner),
        Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
    ],
});

/// What DataFusion's planner may look up: scalar functions, and nothing else.
struct FunctionsOnly {
    options: ConfigOptions,
    planners: Vec<Arc<dyn ExprPlanner>>,
}

impl ContextProvider for FunctionsOnly {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>, DataFusionError> {
        not_impl_err!("an expression reads no table, but `{name}` is one")
    }
    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }
    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        FUNCTIONS.get(&name.to_lowercase()).map(Arc::clone)
    }
    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }
    fn get_aggregate_meta(&self, _name: &str) -> Option<Arc<AggregateUDF>> {
        None
    }
    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }
    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }
    fn get_variable_field(&self, _names: &[String]) -> Option<FieldRef> {
        None
    }
    fn options(&self) -> &ConfigOptions {
        &self.options
    }
    fn udf_names(&self) -> Vec<String> {
        FUNCTIONS.keys().cloned().collect()
    }
    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Float64Array, StringArray};
    use arrow::datatypes::Float64Type;
    use std::path::Path;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("symbol", DataType::Utf8, true),
            Field::new("price", DataType::Float64, true),
            Field::new("tradeMs", DataType::Int64, true),
        ]))
    }

    fn compile_text(text: &str) -> Result<Scalar, String> {
        let findings = Findings::default();
        let file = format!("\"{text}\"");
        let compiled = scalar(&At::new(text.to_string(), 0..file.len()), &schema(), &findings);
        compiled.ok_or_else(|| findings.mistakes(Path::new("f"), &file).to_string())
    }

    #[test]
    fn an_expression_is_typed_and_evaluated() {
        let compiled = compile_text("price * 2 + length(symbol)").expect("compiles");
        assert_eq!(compiled.field().data_type(), &DataType::Float64);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec!["AB", "C"])),
            Arc::new(Float64Array::from(vec![Some(1.5), None])),
            Arc::new(arrow::array::Int64Array::from(vec![1, 2])),
        ];
        let data = RecordBatch::try_new(schema(), columns).expect("batch");
        let result = compiled.evaluate(&data).expect("evaluates");
        let expected: Vec<Option<f64>> = vec![Some(5.0), None];
        assert_eq!(result.as_primitive::<Float64Type>().iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_unknown_name_is_reported_where_it_stands() {
        let error = compile_text("pice + volme + tradeMs").expect_err("unknown columns");
        assert!(error.contains("f:1:2: there is no column `pice`; did you mean `price`?"), "{error}");
        assert!(error.contains("f:1:9: there is no column `volme`"), "{error}");
        let error = compile_text("uper(symbol)").expect_err("unknown function");
        assert!(error.contains("there is no function `uper`; did you mean `upper`?"), "{error}");
    }

    #[test]
    fn clocks_dice_and_queries_are_refused() {
        for text in [
            "now()",
            "current_date",
            "rand()",
            "input_file_name()",
            "(SELECT 1)",
            "sum(price)",
            "price +",
            "price price",
        ] {
            assert!(compile_text(text).is_err(), "{text}");
        }
    }
}
