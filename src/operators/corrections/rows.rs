//! Rows of a source on their way to changes: taken apart for what is held of them, and put together again.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::compute::interleave;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};

use super::trades::Row;
use crate::error::Result;
use crate::sources::BUILT_IN;
use crate::spec::Edge;

/// Some of the columns of rows, and their bytes.
struct Part {
    columns: Vec<usize>,
    converter: RowConverter,
}

impl Part {
    fn new(schema: &SchemaRef, columns: Vec<usize>) -> Result<Part> {
        let field = |at: &usize| SortField::new(schema.field(*at).data_type().clone());
        let converter = RowConverter::new(columns.iter().map(field).collect())?;
        Ok(Part { columns, converter })
    }

    fn encode(&self, data: &RecordBatch) -> Result<arrow::row::Rows> {
        let columns: Vec<ArrayRef> = self.columns.iter().map(|at| Arc::clone(data.column(*at))).collect();
        Ok(self.converter.convert_columns(&columns)?)
    }

    fn decode<'r>(&self, rows: impl Iterator<Item = &'r [u8]>) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        Ok(self.converter.convert_rows(rows.map(|row| parser.parse(row)))?)
    }
}

/// Takes rows apart.
pub struct Format {
    /// What a correction changes,
    own: Part,
    /// and what a row keeps: where it stands, and when.
    kept: Part,
    visible: usize,
    output: SchemaRef,
}

impl Format {
    /// Rows of `read` become those of `output`.
    pub fn new(read: &Edge, output: &Edge) -> Result<Format> {
        let stays = |at: &usize| BUILT_IN.contains(&read.schema.field(*at).name().as_str());
        let (kept, own) = (0..read.schema.fields().len()).partition(stays);
        Ok(Format {
            own: Part::new(&read.schema, own)?,
            kept: Part::new(&read.schema, kept)?,
            visible: read.visible,
            output: Arc::clone(&output.schema),
        })
    }

    /// The bytes of rows.
    pub fn encode(&self, data: &RecordBatch) -> Result<Encoded> {
        Ok(Encoded { own: self.own.encode(data)?, kept: self.kept.encode(data)? })
    }

    /// The changes that `told` says, of the rows of `data`.
    pub fn assemble(&self, data: &RecordBatch, told: &Told) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = data.columns().to_vec();
        if !told.is_all(data.num_rows()) {
            let own = self.own.decode(told.held.iter().map(|row| row.own.as_ref()))?;
            let kept = self.kept.decode(told.held.iter().map(|row| row.kept.as_ref()))?;
            let held = self.own.columns.iter().zip(own).chain(self.kept.columns.iter().zip(kept));
            for (at, held) in held {
                columns[*at] = interleave(&[data.column(*at).as_ref(), held.as_ref()], &told.rows)?;
            }
        }
        let hidden = columns.split_off(self.visible);
        columns.push(Arc::new(Int64Array::from_iter_values(told.revisions.iter().map(|revision| *revision as i64))));
        columns.push(Arc::new(StringArray::from_iter_values(&told.ops)));
        columns.extend(hidden);
        Ok(RecordBatch::try_new(Arc::clone(&self.output), columns)?)
    }
}

/// The bytes of rows, column by column.
pub struct Encoded {
    own: arrow::row::Rows,
    kept: arrow::row::Rows,
}

impl Encoded {
    /// What a correction changes of a row.
    pub fn own(&self, row: usize) -> Box<[u8]> {
        self.own.row(row).as_ref().into()
    }

    /// A row.
    pub fn row(&self, row: usize) -> Row {
        Row { own: self.own(row), kept: self.kept.row(row).as_ref().into() }
    }
}

/// Changes, in order.
#[derive(Default)]
pub struct Told {
    /// Rows that are not those that have come.
    held: Vec<Row>,
    /// Of each change the row: 0 and its place among those that have come, or 1 and its place among `held`.
    rows: Vec<(usize, usize)>,
    ops: Vec<&'static str>,
    revisions: Vec<u64>,
}

impl Told {
    /// The row at this place among those that have come.
    pub fn come(&mut self, row: usize, op: &'static str) {
        self.push((0, row), op, 0);
    }

    /// A row that is held.
    pub fn held(&mut self, row: Row, op: &'static str, revision: u64) {
        self.push((1, self.held.len()), op, revision);
        self.held.push(row);
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn push(&mut self, row: (usize, usize), op: &'static str, revision: u64) {
        self.rows.push(row);
        self.ops.push(op);
        self.revisions.push(revision);
    }

    /// Whether these are all the rows that have come, as they are.
    fn is_all(&self, come: usize) -> bool {
        self.held.is_empty() && self.rows.len() == come
    }
}
