//! Row groups of Parquet files.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{Field, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::splits::Found;
use super::{BATCH_ROWS, Bad, Batches};
use crate::error::{Error, Result};
use crate::formats::MessageSchema;
use crate::spec::expression::plain;
use crate::spec::{Refused, surviving};

fn builder(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(|error| Error::connect(format!("{}: {error}", path.display())))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| Error::run(format!("{}: {error}", path.display())))
}

/// The columns of a file, of the plain types that stand for theirs.
pub fn schema(path: &Path) -> Result<Vec<Field>> {
    let builder = builder(path)?;
    let fields = builder.schema().fields().iter();
    Ok(fields.map(|field| field.as_ref().clone().with_data_type(plain(field.data_type()))).collect())
}

/// Rows and bytes of each row group.
pub fn row_groups(path: &Path) -> Result<Vec<(u64, u64)>> {
    let builder = builder(path)?;
    let groups = builder.metadata().row_groups().iter();
    Ok(groups.map(|group| (group.num_rows() as u64, group.compressed_size() as u64)).collect())
}

/// Opens a row group; its columns are those of `messages`.
pub fn open(found: &Found, row_group: usize, first_row: u64, messages: &MessageSchema) -> Result<RowGroup> {
    let builder = builder(&found.path)?;
    let wanted = |name: &str| messages.fields.iter().any(|field| field.name == name);
    let columns = builder.schema().fields().iter().enumerate();
    let roots = columns.filter(|(_, field)| wanted(field.name())).map(|(at, _)| at);
    // By position: a name with a dot in it would be taken for a path.
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let reader = builder.with_row_groups(vec![row_group]).with_projection(mask).with_batch_size(BATCH_ROWS).build();
    let reader = reader.map_err(|error| Error::run(format!("{}: {error}", found.name)))?;
    Ok(RowGroup {
        reader,
        schema: Arc::new(Schema::new(messages.arrow_fields())),
        next_row: first_row,
        name: found.name.clone(),
    })
}

/// The rows of a row group.
pub struct RowGroup {
    reader: ParquetRecordBatchReader,
    schema: Arc<Schema>,
    next_row: u64,
    name: String,
}

impl Batches for RowGroup {
    fn next(&mut self, bad: &mut Vec<Bad>) -> Result<Option<(RecordBatch, Vec<u64>)>> {
        let Some(batch) = self.reader.next() else { return Ok(None) };
        let batch = batch.map_err(|error| Error::run(format!("{}: {error}", self.name)))?;
        let first = self.next_row;
        self.next_row += batch.num_rows() as u64;
        let mut refused = Vec::new();
        let read = surviving(batch, &mut refused, |batch| self.columns(batch))?;
        let mut offsets: Vec<u64> = (first..self.next_row).collect();
        for Refused { row, data, reason } in refused {
            let raw = crate::formats::json_line(&data, 0).into_bytes();
            bad.push(Bad { offset: first + row as u64, raw, reason });
        }
        offsets.retain(|offset| !bad.iter().any(|bad| bad.offset == *offset));
        let data = read.map_or_else(|| RecordBatch::new_empty(Arc::clone(&self.schema)), |(_, data)| data);
        Ok(Some((data, offsets)))
    }

    fn raw(&self, _offset: u64) -> Option<&[u8]> {
        None
    }
}

impl RowGroup {
    fn columns(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.schema.fields().iter().map(|field| self.column(batch, field)).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }

    /// The column for `field`; one that this file lacks is null, one of another type is cast.
    fn column(&self, batch: &RecordBatch, field: &Field) -> Result<ArrayRef> {
        let Some(column) = batch.column_by_name(field.name()) else {
            return Ok(arrow::array::new_null_array(field.data_type(), batch.num_rows()));
        };
        if column.data_type() == field.data_type() {
            return Ok(Arc::clone(column));
        }
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let failed = |error| Error::run(format!("column `{}`: {error}", field.name()));
        cast_with_options(column, field.data_type(), &options).map_err(failed)
    }
}
