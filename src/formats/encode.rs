//! Rows out: JSON lines and CSV, times as RFC 3339 in UTC.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, RecordBatch, RecordBatchOptions};
use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::datatypes::{
    DataType, Date32Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampSecondType,
};
use arrow::json::writer::{LineDelimited, WriterBuilder};

use crate::error::{Error, Result};

/// The last second of the year 200,000: well within what can be written, far beyond what is meant.
const LAST_SECOND: i64 = 6_249_222_316_799;
const TIMESTAMP: &str = "%Y-%m-%dT%H:%M:%S%.fZ";

/// Writes every row as a JSON object and a line end; nulls are written.
pub fn write_json_lines(out: impl Write, data: &RecordBatch) -> Result<()> {
    let data = &on_the_calendar(data)?;
    let builder = WriterBuilder::new().with_explicit_nulls(true).with_timestamp_format(TIMESTAMP.to_string());
    let mut writer = builder.build::<_, LineDelimited>(out);
    writer.write(data)?;
    Ok(writer.finish()?)
}

/// Writes every row as a line of CSV, below a header where asked for.
pub fn write_csv(out: impl Write, data: &RecordBatch, header: bool) -> Result<()> {
    let data = &on_the_calendar(data)?;
    let builder = CsvBuilder::new().with_header(header).with_timestamp_format(TIMESTAMP.to_string());
    builder.build(out).write(data).map_err(Error::from)
}

/// Texts have no way to write an instant or a day beyond the calendar (some write "never" so): it becomes null.
fn on_the_calendar(data: &RecordBatch) -> Result<RecordBatch> {
    let columns = data.columns().iter().map(|column| match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => within::<TimestampSecondType>(column, LAST_SECOND),
        DataType::Timestamp(TimeUnit::Millisecond, _) => within::<TimestampMillisecondType>(column, LAST_SECOND * 1000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            within::<TimestampMicrosecondType>(column, LAST_SECOND * 1_000_000)
        }
        DataType::Date32 => within::<Date32Type>(column, (LAST_SECOND / 86_400) as i32),
        _ => Arc::clone(column),
    });
    Ok(RecordBatch::try_new_with_options(
        data.schema(),
        columns.collect(),
        &RecordBatchOptions::new().with_row_count(Some(data.num_rows())),
    )?)
}

/// The column with null in the place of values beyond `last`, before or behind 1970.
fn within<T: ArrowPrimitiveType>(column: &ArrayRef, last: T::Native) -> ArrayRef
where
    T::Native: std::ops::Neg<Output = T::Native>,
{
    let values = column.as_primitive::<T>();
    let fits = |value: T::Native| value.is_ge(-last) && value.is_le(last);
    if values.values().iter().all(|value| fits(*value)) {
        return Arc::clone(column);
    }
    let kept = values.unary_opt::<_, T>(|value| fits(value).then_some(value));
    Arc::new(kept.with_data_type(column.data_type().clone()))
}

/// One row as a JSON object.
pub fn json_line(data: &RecordBatch, row: usize) -> String {
    let mut line = Vec::new();
    match write_json_lines(&mut line, &data.slice(row, 1)) {
        Ok(()) => String::from_utf8_lossy(line.trim_ascii_end()).into_owned(),
        Err(error) => error.to_string(),
    }
}
