//! Rows out: JSON lines and CSV, times as RFC 3339 in UTC.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, Float64Array, RecordBatch, RecordBatchOptions,
    StringArray, StructArray,
};
use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::datatypes::{
    DataType, Date32Type, Field, FieldRef, Float64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow::error::ArrowError;
use arrow::json::writer::{NullableEncoder, make_encoder};
use arrow::json::{Encoder, EncoderFactory, EncoderOptions};

use super::instants::Instants;
use crate::error::{Error, Result};

/// The last second of the year 200,000: well within what can be written, far beyond what is meant.
const LAST_SECOND: i64 = 6_249_222_316_799;
/// How an instant is written.
pub(super) const TIMESTAMP: &str = "%Y-%m-%dT%H:%M:%S%.fZ";

/// Rows as JSON objects, one after another on lines of their own; nulls are written.
pub struct JsonRows {
    /// The objects, each with a line end behind it.
    pub text: Vec<u8>,
    /// Where each object ends, before its line end.
    ends: Vec<usize>,
}

impl JsonRows {
    /// The rows of `data`.
    pub fn of(data: &RecordBatch) -> Result<Self> {
        let data = &on_the_calendar(data)?;
        let options = EncoderOptions::default().with_explicit_nulls(true).with_encoder_factory(Arc::new(Fast));
        let rows = StructArray::from(data.clone());
        let field: FieldRef = Arc::new(Field::new("", rows.data_type().clone(), false));
        let mut encoder = make_encoder(&field, &rows, &options)?;
        let mut made = JsonRows { text: Vec::new(), ends: Vec::with_capacity(data.num_rows()) };
        for row in 0..data.num_rows() {
            encoder.encode(row, &mut made.text);
            made.ends.push(made.text.len());
            made.text.push(b'\n');
        }
        Ok(made)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// A row.
    pub fn row(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] + 1 };
        &self.text[start..self.ends[at]]
    }
}

/// What Arrow's own encoders take too long for.
#[derive(Debug)]
struct Fast;

impl EncoderFactory for Fast {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let instants = |values: &'a [i64], unit: i64| Box::new(Timestamps { values, instants: Instants::new(unit) });
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Utf8 => Box::new(Texts(array.as_string())),
            DataType::Float64 => Box::new(Doubles(array.as_primitive::<Float64Type>())),
            DataType::Timestamp(unit, None) => match unit {
                TimeUnit::Second => instants(array.as_primitive::<TimestampSecondType>().values(), 1),
                TimeUnit::Millisecond => instants(array.as_primitive::<TimestampMillisecondType>().values(), 1_000),
                TimeUnit::Microsecond => instants(array.as_primitive::<TimestampMicrosecondType>().values(), 1_000_000),
                TimeUnit::Nanosecond => {
                    instants(array.as_primitive::<TimestampNanosecondType>().values(), 1_000_000_000)
                }
            },
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

struct Timestamps<'a> {
    values: &'a [i64],
    instants: Instants,
}

impl Encoder for Timestamps<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        self.instants.write(self.values[row], out);
    }
}

struct Doubles<'a>(&'a Float64Array);

impl Encoder for Doubles<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        // Writing to memory does not fail; what is no number becomes null.
        let _ = serde_json::to_writer(out, &self.0.value(row));
    }
}

struct Texts<'a>(&'a StringArray);

impl Encoder for Texts<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let text = self.0.value(row);
        // Most texts are names: nothing in them needs an escape.
        if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
            out.push(b'"');
            out.extend_from_slice(text.as_bytes());
            out.push(b'"');
        } else {
            let _ = serde_json::to_writer(out, text);
        }
    }
}

/// Writes every row as a JSON object and a line end; nulls are written.
pub fn write_json_lines(mut out: impl Write, data: &RecordBatch) -> Result<()> {
    out.write_all(&JsonRows::of(data)?.text).map_err(Error::run)
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
    match JsonRows::of(&data.slice(row, 1)) {
        Ok(rows) => String::from_utf8_lossy(rows.row(0)).into_owned(),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, BooleanArray, Date32Array, Decimal128Array, Int64Array, TimestampMillisecondArray};
    use arrow::datatypes::Schema;

    fn every_type() -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("text", Arc::new(StringArray::from(vec![Some("AAPL"), Some("a\"b\\c\n\u{1}é"), None]))),
            ("double", Arc::new(Float64Array::from(vec![Some(1.0), Some(f64::NAN), Some(-1.5e-7)]))),
            ("bigint", Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(0)]))),
            ("boolean", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
            ("date", Arc::new(Date32Array::from(vec![Some(0), Some(20_000), None]))),
            ("time", Arc::new(TimestampMillisecondArray::from(vec![Some(0), Some(-1), None]))),
            (
                "decimal",
                Arc::new(Decimal128Array::from(vec![150, -1, 0]).with_precision_and_scale(10, 2).expect("decimals")),
            ),
        ];
        let fields = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        RecordBatch::try_new(schema, columns.into_iter().map(|(_, column)| column).collect()).expect("rows")
    }

    #[test]
    fn a_row_is_an_object_with_all_its_columns() {
        let rows = JsonRows::of(&every_type()).expect("encodes");
        let expected = [
            r#"{"text":"AAPL","double":1.0,"bigint":-9223372036854775808,"boolean":true,"date":"1970-01-01","time":"1970-01-01T00:00:00Z","decimal":1.50}"#,
            r#"{"text":"a\"b\\c\n\u0001é","double":null,"bigint":null,"boolean":false,"date":"2024-10-04","time":"1969-12-31T23:59:59.999Z","decimal":-0.01}"#,
            r#"{"text":null,"double":-1.5e-7,"bigint":0,"boolean":null,"date":null,"time":null,"decimal":0.00}"#,
        ];
        let found: Vec<&str> = (0..rows.len()).map(|at| std::str::from_utf8(rows.row(at)).expect("text")).collect();
        assert_eq!(found, expected);
        assert_eq!(rows.text, (expected.join("\n") + "\n").into_bytes());
    }

    #[test]
    fn part_of_a_batch_is_encoded_as_that_part() {
        let data = every_type();
        let whole = JsonRows::of(&data).expect("encodes");
        for at in 0..data.num_rows() {
            assert_eq!(json_line(&data, at).as_bytes(), whole.row(at));
        }
    }
}
