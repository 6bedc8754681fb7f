//! How changes are read and written on one side of an operator that goes over rows again.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema, SchemaRef, TimestampNanosecondType};
use arrow::row::{RowConverter, SortField};

use super::Id;
use crate::error::{Error, Result};
use crate::keys::KeyReader;
use crate::sources::TIME;
use crate::spec::{DELETE, Edge, INSERT, OP};

/// How the rows on one side are read.
pub struct Side {
    pub schema: SchemaRef,
    pub rows: RowConverter,
    pub ids: KeyReader,
    pub time: usize,
    pub op: usize,
}

impl Side {
    pub fn new(edge: &Edge) -> Result<Self> {
        let column = |name: &str| edge.position(name).ok_or_else(|| Error::run(format!("changes without `{name}`")));
        let fields = edge.schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        Ok(Side {
            schema: Arc::clone(&edge.schema),
            rows: RowConverter::new(fields)?,
            ids: KeyReader::new(&edge.schema, &edge.row_key)?,
            time: column(TIME)?,
            op: column(OP)?,
        })
    }

    pub fn ids(&self, data: &RecordBatch) -> Result<Vec<Id>> {
        let times = data.column(self.time).as_primitive::<TimestampNanosecondType>().values();
        let mut ids: Vec<Id> = Vec::with_capacity(data.num_rows());
        self.ids.for_each(data, |row, id| ids.push((times[row], id.into())))?;
        Ok(ids)
    }

    /// The bytes of rows; what they do to others is left out.
    pub fn encode(&self, data: &RecordBatch) -> Result<Vec<Box<[u8]>>> {
        let plain = self.with_op(data, |_| INSERT)?;
        let rows = self.rows.convert_columns(plain.columns())?;
        Ok(rows.iter().map(|row| row.as_ref().into()).collect())
    }

    pub fn decode<'r>(&self, rows: impl Iterator<Item = &'r [u8]>) -> Result<RecordBatch> {
        let parser = self.rows.parser();
        let columns = self.rows.convert_rows(rows.map(|row| parser.parse(row)))?;
        // A row that was once valid is so still.
        let fields: Vec<_> = self.schema.fields().iter().map(|field| field.as_ref().clone()).collect();
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    /// Deletes of what came out of these rows of the other side, as far as it is known by their columns.
    pub fn deleted(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let nothing: ArrayRef = Arc::new(Int64Array::from(vec![0; rows.num_rows()]));
        let column = |field: &Arc<Field>| match rows.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            _ if field.is_nullable() => Ok(new_null_array(field.data_type(), rows.num_rows())),
            _ => cast(&nothing, field.data_type()),
        };
        let columns = self.schema.fields().iter().map(column).collect::<std::result::Result<_, _>>()?;
        self.with_op(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?, |_| DELETE)
    }

    pub fn with_op(&self, data: &RecordBatch, op: impl Fn(usize) -> &'static str) -> Result<RecordBatch> {
        let mut columns = data.columns().to_vec();
        columns[self.op] = Arc::new(StringArray::from_iter_values((0..data.num_rows()).map(op))) as ArrayRef;
        Ok(RecordBatch::try_new(data.schema(), columns)?)
    }
}
