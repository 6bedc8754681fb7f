//! `select`: the whole row, a list of names, or a table of expressions.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use super::expression::{Scalar, scalar};
use super::fields::{FromToml, Named, OneOrMany, expected};
use super::mistakes::{At, Findings, did_you_mean};
use super::plan::{Edge, EdgeKind, OP, REVISION};
use crate::error::Result;
use crate::formats::ColumnType;
use crate::sources::BUILT_IN;

/// What a row shall be made of.
#[derive(Clone, Debug)]
pub enum Select {
    /// Columns, as they are.
    Names(Vec<At<String>>),
    /// Names and the expressions behind them.
    Expressions(Vec<(At<String>, At<String>)>),
}

impl Default for Select {
    fn default() -> Self {
        Select::Names(Vec::new())
    }
}

impl FromToml for Select {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        match value.get_ref() {
            DeValue::Array(_) => OneOrMany::from_toml(value, findings).map(|names| Select::Names(names.0)),
            DeValue::Table(_) => Named::from_toml(value, findings).map(|named| Select::Expressions(named.0)),
            _ => expected(value, findings, "a list of names or a table of expressions"),
        }
    }
    fn schema() -> Json {
        json!({ "anyOf": [OneOrMany::<String>::schema(), Named::<String>::schema()] })
    }
}

impl Select {
    /// Types every column against `schema`; mistakes go to `findings`.
    pub fn compile(&self, schema: &SchemaRef, findings: &Findings) -> Option<Vec<(Field, Scalar)>> {
        match self {
            Select::Names(names) => {
                let before = findings.len();
                for (at, name) in names.iter().enumerate() {
                    if names[..at].iter().any(|other| other.value == name.value) {
                        findings.mistake(&name.span, format!("`{}` stands twice", name.value));
                    }
                }
                let column = |name: &At<String>| match schema.index_of(name) {
                    Ok(at) => Some((schema.field(at).clone(), Scalar::column(schema, at))),
                    Err(_) => {
                        let near = did_you_mean(name, schema.fields().iter().map(|field| field.name().as_str()));
                        findings.mistake(&name.span, format!("there is no column `{}`{near}", name.value));
                        None
                    }
                };
                let columns: Vec<Option<(Field, Scalar)>> = names.iter().map(column).collect();
                columns.into_iter().collect::<Option<_>>().filter(|_| findings.len() == before)
            }
            Select::Expressions(named) => {
                let column = |(name, text): &(At<String>, At<String>)| {
                    let scalar = scalar(text, schema, findings)?;
                    if ColumnType::of(scalar.field()).is_none() {
                        let kind = scalar.field().data_type();
                        let message = format!("`{}` is {kind}, which no column can hold; cast it", text.value);
                        findings.mistake(&text.span, message);
                        return None;
                    }
                    Some((scalar.field().clone().with_name(&name.value), scalar))
                };
                let columns: Vec<Option<(Field, Scalar)>> = named.iter().map(column).collect();
                columns.into_iter().collect()
            }
        }
    }

    /// The edge after this selection of `input`, and how its rows are made. What later nodes still need (the
    /// key, `seq`, event time) goes along as hidden columns.
    pub fn plan(&self, input: &Edge, findings: &Findings) -> Option<(Edge, Projection)> {
        let mut columns = self.compile(&input.schema, findings)?;
        self.check_built_in(&columns, input, findings)?;
        // What a row does to the others is part of it whatever is selected.
        if let Some(op) = input.position(OP).filter(|_| input.kind == EdgeKind::Changes)
            && !columns.iter().any(|(field, _)| field.name() == OP)
        {
            columns.push((input.schema.field(op).clone(), Scalar::column(&input.schema, op)));
        }
        let visible = columns.len();
        let position = |columns: &[(Field, Scalar)], at: usize| {
            columns.iter().position(|(_, scalar)| scalar.as_column() == Some(at))
        };
        let is_built_in = |at: &usize| {
            let name = input.schema.field(*at).name().as_str();
            BUILT_IN.contains(&name) || name == REVISION && input.kind == EdgeKind::Changes
        };
        let keys = input.key.iter().chain(&input.row_key).copied();
        for at in (0..input.schema.fields().len()).filter(is_built_in).chain(keys) {
            // What is built in is looked for by its name: a copy under another one does not stand for it.
            let named =
                columns.iter().any(|(field, _)| is_built_in(&at) && field.name() == input.schema.field(at).name());
            if !named && (is_built_in(&at) || position(&columns, at).is_none()) {
                let mut field = input.schema.field(at).clone();
                if columns.iter().any(|(other, _)| other.name() == field.name()) {
                    field = field.with_name(format!("_{at}"));
                }
                columns.push((field, Scalar::column(&input.schema, at)));
            }
        }
        let positions = |of: &[usize]| of.iter().filter_map(|at| position(&columns, *at)).collect();
        let (key, row_key) = (positions(&input.key), positions(&input.row_key));
        let projection = Projection::new(columns);
        let edge = Edge { schema: Arc::clone(&projection.schema), visible, key, row_key, ..input.clone() };
        Some((edge, projection))
    }
    /// What later nodes rely on under its name must stay what it is.
    fn check_built_in(&self, columns: &[(Field, Scalar)], input: &Edge, findings: &Findings) -> Option<()> {
        let Select::Expressions(named) = self else { return Some(()) };
        let before = findings.len();
        for ((name, text), (_, scalar)) in named.iter().zip(columns) {
            let built_in = BUILT_IN.contains(&name.as_str());
            if built_in && (scalar.as_column().is_none() || scalar.as_column() != input.position(name)) {
                findings.mistake(&text.span, format!("`{}` is built in: give the column another name", name.value));
            }
        }
        (findings.len() == before).then_some(())
    }
}

/// Makes new rows of expressions over old ones.
#[derive(Clone, Debug)]
pub struct Projection {
    schema: SchemaRef,
    columns: Vec<Scalar>,
}

impl Projection {
    /// Rows of `columns`.
    pub fn new(columns: Vec<(Field, Scalar)>) -> Self {
        let (fields, columns): (Vec<Field>, Vec<Scalar>) = columns.into_iter().unzip();
        let fields: Vec<Field> = fields.into_iter().map(|field| field.with_nullable(true)).collect();
        Projection { schema: Arc::new(Schema::new(fields)), columns }
    }

    /// The columns of the new rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The position in the old rows of the new column `at`, where it is only handed on.
    pub fn source(&self, at: usize) -> Option<usize> {
        self.columns[at].as_column()
    }

    /// The new rows.
    pub fn apply(&self, data: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.columns.iter().map(|column| column.evaluate(data)).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(data.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

/// A row on which an expression failed.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Its position in the batch.
    pub row: usize,
    /// The row itself.
    pub data: RecordBatch,
    /// Why.
    pub reason: String,
}

/// Evaluates `step` on `data`. Where it fails, the rows that make it fail are taken out and refused, and the
/// others go on: one bad row must not lose its neighbours.
pub fn surviving<T>(
    data: RecordBatch,
    refused: &mut Vec<Refused>,
    step: impl Fn(&RecordBatch) -> Result<T>,
) -> Result<Option<(RecordBatch, T)>> {
    if let Ok(made) = step(&data) {
        return Ok(Some((data, made)));
    }
    let mut good = Vec::with_capacity(data.num_rows());
    for row in 0..data.num_rows() {
        let one = data.slice(row, 1);
        let failed = step(&one).err();
        good.push(failed.is_none());
        if let Some(error) = failed {
            refused.push(Refused { row, data: one, reason: error.to_string() });
        }
    }
    let rest = filter_record_batch(&data, &BooleanArray::from(good))?;
    if rest.num_rows() == 0 {
        return Ok(None);
    }
    let made = step(&rest)?;
    Ok(Some((rest, made)))
}
