//! `by`: what rows are brought together by, where that is not the key of the input.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::Field;

use super::{Built, Output, Stage, Transform};
use crate::batch::Rows;
use crate::error::Result;
use crate::spec::expression::{Scalar, scalar};
use crate::spec::{At, Edge, Findings, OneOrMany, Projection, Refused, surviving};

/// Columns that rows are made of: those of an edge, and expressions over them.
#[derive(Default)]
pub struct Columns {
    columns: Vec<(Field, Scalar)>,
}

impl Columns {
    /// All columns of `edge`.
    pub fn all(edge: &Edge) -> Columns {
        let mut columns = Columns::default();
        for at in 0..edge.schema.fields().len() {
            columns.keep(edge, at);
        }
        columns
    }

    /// The position of the column `at` of `edge`, which is added where it is not there.
    pub fn keep(&mut self, edge: &Edge, at: usize) -> usize {
        self.put(Scalar::column(&edge.schema, at), "")
    }

    /// The position of what `scalar` comes to: as a column named so it is added where it is not there.
    pub fn put(&mut self, scalar: Scalar, name: &str) -> usize {
        let column = scalar.as_column();
        if let Some(at) = self.columns.iter().position(|(_, other)| column.is_some() && other.as_column() == column) {
            return at;
        }
        let field = scalar.field().clone();
        let field = if column.is_some() { field } else { field.with_name(name) };
        self.columns.push((field, scalar));
        self.columns.len() - 1
    }

    /// Whether these are the columns of `edge`, and nothing else.
    pub fn are_those_of(&self, edge: &Edge) -> bool {
        let is_same = |(at, (_, scalar)): (usize, &(Field, Scalar))| scalar.as_column() == Some(at);
        self.columns.len() == edge.schema.fields().len() && self.columns.iter().enumerate().all(is_same)
    }

    /// Makes rows of them.
    pub fn projection(self) -> Projection {
        Projection::new(self.columns)
    }
}

/// Makes rows that can be brought together; those are refused that lack what they are brought together by.
#[derive(Clone, Debug)]
pub struct Bring {
    /// The columns of the rows.
    pub projection: Projection,
    /// Those that may not be null, and how they are written.
    pub required: Vec<(usize, String)>,
}

impl Transform for Bring {
    fn rows(&mut self, rows: Rows, out: &mut Output) -> Result<()> {
        let made = surviving(rows.data, &mut out.refused, |data| self.projection.apply(data))?;
        let Some((_, data)) = made else { return Ok(()) };
        let data = self.complete(data, out)?;
        out.rows.push(Rows { data, source: rows.source });
        Ok(())
    }
}

impl Bring {
    fn complete(&self, data: RecordBatch, out: &mut Output) -> Result<RecordBatch> {
        let mut nulls: Vec<(NullBuffer, &String)> = Vec::new();
        for (at, text) in &self.required {
            let found = data.column(*at).logical_nulls().filter(|nulls| nulls.null_count() > 0);
            nulls.extend(found.map(|found| (found, text)));
        }
        if nulls.is_empty() {
            return Ok(data);
        }
        let lacks = |row: usize| nulls.iter().find(|(nulls, _)| nulls.is_null(row)).map(|(_, text)| *text);
        for row in 0..data.num_rows() {
            if let Some(text) = lacks(row) {
                let reason = format!("it has no `{text}`");
                out.refused.push(Refused { row, data: data.slice(row, 1), reason });
            }
        }
        let complete: BooleanArray = (0..data.num_rows()).map(|row| Some(lacks(row).is_none())).collect();
        Ok(filter_record_batch(&data, &complete)?)
    }
}

/// A column, and how it is written.
pub type Column = (usize, String);

/// The columns that `by` names, which are added where they are not there; of the node `node`, whose input is `input`.
pub fn columns_of(
    by: &OneOrMany<String>,
    node: &At<String>,
    input: &Edge,
    columns: &mut Columns,
    findings: &Findings,
) -> Option<Vec<Column>> {
    let (mut found, before): (Vec<Column>, usize) = (Vec::new(), findings.len());
    for (number, text) in by.0.iter().enumerate() {
        let Some(scalar) = scalar(text, &input.schema, findings) else { continue };
        let at = columns.put(scalar, &format!("_{}_{number}", node.value));
        if found.iter().any(|(other, _)| *other == at) {
            findings.mistake(&text.span, format!("`{}` stands twice", text.value));
        }
        found.push((at, text.value.clone()));
    }
    (findings.len() == before).then_some(found)
}

/// The rows of a node, ready to be brought together.
#[derive(Clone, Debug)]
pub struct Brought {
    /// Their columns and their key.
    pub edge: Edge,
    input: Edge,
    bring: Option<Bring>,
}

impl Brought {
    /// The rows of `input`, by the columns `by`; by the key that they have where that is not given.
    pub fn new(input: &Edge, columns: Columns, by: Option<Vec<Column>>) -> Brought {
        let is_as_it_was = columns.are_those_of(input);
        let required = by.clone().unwrap_or_default();
        let key = by.map_or_else(|| input.key.clone(), |by| by.into_iter().map(|(at, _)| at).collect());
        let same = key == input.key;
        // A source has seen to it that no row lacks its key.
        let bring = (!is_as_it_was || !same).then(|| Bring { projection: columns.projection(), required });
        let schema = Arc::clone(bring.as_ref().map_or(&input.schema, |bring| bring.projection.schema()));
        let (placed, in_order) = (input.placed && same, input.in_order && same);
        Brought { edge: Edge { schema, key, placed, in_order, ..input.clone() }, input: input.clone(), bring }
    }

    /// The step that makes them of rows of the input, where there is something to do.
    pub fn stage(&self) -> Option<Stage> {
        let built = Built::Stateless(Box::new(self.bring.clone()?));
        Some(Stage { name: "by", input: self.input.clone(), built })
    }
}
