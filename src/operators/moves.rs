//! Operators that keep a collection of rows, and tell at the end of an epoch how it has moved: what a row was is deleted,
//! then what it is now is inserted. What comes and goes in between is not told.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{RowConverter, Rows as PackedRows, SortField};

use crate::error::Result;
use crate::sources::TIME;
use crate::spec::{Edge, EdgeKind, Findings, OP, REVISION, Span};

/// Rows as bytes: equal ones have equal bytes.
pub struct Packer {
    converter: RowConverter,
}

impl Packer {
    /// Of rows with columns of these types.
    pub fn new<'f>(fields: impl Iterator<Item = &'f Field>) -> Result<Self> {
        let fields = fields.map(|field| SortField::new(field.data_type().clone())).collect();
        Ok(Packer { converter: RowConverter::new(fields)? })
    }

    /// The bytes of each row.
    pub fn pack(&self, columns: &[ArrayRef]) -> Result<PackedRows> {
        Ok(self.converter.convert_columns(columns)?)
    }

    /// The columns of rows that were packed.
    pub fn unpack<'r>(&self, rows: impl Iterator<Item = &'r [u8]>) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        Ok(self.converter.convert_rows(rows.map(|row| parser.parse(row)))?)
    }
}

/// Where a column of a collection is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// A column of the input.
    Input(usize),
    /// It is added, after so many others that are.
    Added(usize),
    /// What becomes of the row.
    Op,
    /// A row that was never corrected.
    Zero,
}

/// The columns of a collection.
#[derive(Clone, Debug)]
pub struct Moves {
    /// The rows that are told: the visible columns of the input and those that are added, `revision`, `__op`; then,
    /// hidden, event time and what of the input's key is not visible.
    pub schema: SchemaRef,
    /// How many columns are visible.
    pub visible: usize,
    from: Vec<From>,
}

impl Moves {
    /// Of rows of `input` with further columns.
    pub fn new(input: &Edge, added: &[(Field, &Span)], at: &Span, findings: &Findings) -> Option<Moves> {
        let fields = input.schema.fields();
        let is_of_changes =
            |at: &usize| input.kind == EdgeKind::Changes && [OP, REVISION].contains(&&**fields[*at].name());
        let mut columns: Vec<(Field, From)> = (0..input.visible)
            .filter(|at| !is_of_changes(at))
            .map(|at| (fields[at].as_ref().clone(), From::Input(at)))
            .collect();
        columns.extend(added.iter().enumerate().map(|(at, (field, _))| (field.clone(), From::Added(at))));
        let revision = input.position(REVISION).filter(|_| input.kind == EdgeKind::Changes);
        columns.push((Field::new(REVISION, DataType::Int64, true), revision.map_or(From::Zero, From::Input)));
        columns.push((Field::new(OP, DataType::Utf8, false), From::Op));
        let visible = columns.len();
        for at in input.position(TIME).into_iter().chain(input.key.iter().copied()) {
            if !columns.iter().any(|(_, from)| *from == From::Input(at)) {
                columns.push((fields[at].as_ref().clone(), From::Input(at)));
            }
        }
        let before = findings.len();
        for (column, (field, from)) in columns.iter().enumerate() {
            if columns[..column].iter().any(|(other, _)| other.name() == field.name()) {
                let span = if let From::Added(at) = from { added[*at].1 } else { at };
                findings.mistake(span, format!("there is a column `{}` already", field.name()));
            }
        }
        let (fields, from): (Vec<Field>, Vec<From>) = columns.into_iter().unzip();
        (findings.len() == before).then(|| Moves { schema: Arc::new(Schema::new(fields)), visible, from })
    }

    /// Where this column of the input is among those that are told.
    pub fn position(&self, input: usize) -> Option<usize> {
        self.from.iter().position(|from| *from == From::Input(input))
    }

    /// The columns of the input that are told.
    pub fn taken(&self) -> Vec<usize> {
        self.from.iter().filter_map(|from| if let From::Input(at) = from { Some(*at) } else { None }).collect()
    }

    /// The edge of the moves, of rows known by `row_key` and grouped by `key`.
    pub fn edge(&self, key: Vec<usize>, row_key: Vec<usize>, reach: i64) -> Edge {
        Edge {
            schema: Arc::clone(&self.schema),
            visible: self.visible,
            key,
            row_key,
            kind: EdgeKind::Changes,
            reach,
            retracts: true,
            placed: true,
            in_order: true,
        }
    }

    /// The rows of moves: what each does, the columns that are added, and those of the input where `column` finds them.
    pub fn rows(
        &self,
        ops: &[&'static str],
        added: &[ArrayRef],
        column: impl Fn(usize) -> ArrayRef,
    ) -> Result<RecordBatch> {
        let columns = self.from.iter().map(|from| match from {
            From::Input(at) => column(*at),
            From::Added(at) => Arc::clone(&added[*at]),
            From::Op => Arc::new(StringArray::from_iter_values(ops)) as ArrayRef,
            From::Zero => Arc::new(Int64Array::from(vec![0; ops.len()])),
        });
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns.collect())?)
    }
}
