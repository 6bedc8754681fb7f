//! Growable columns: rows are appended value by value, taken back on a mistake, and handed over to Arrow
//! without copying.

use std::mem;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, BooleanBufferBuilder, NullBufferBuilder, PrimitiveArray, RecordBatch,
    RecordBatchOptions, StringArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, Schema, SchemaRef,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow::error::ArrowError;
use serde_json::Value;
use uuid::Uuid;

use super::Undecodable;
use super::numbers::Number;
use super::schema::{MessageField, MessageSchema};
use super::times;
use super::types::ColumnType;

/// The columns of a message and of its key, all of the same length between two rows.
pub(super) struct Columns {
    columns: Vec<Column>,
    rows: usize,
    schema: SchemaRef,
}

impl Columns {
    /// The columns of the message, then those of its key.
    pub(super) fn new(value: &MessageSchema, key: Option<&MessageSchema>) -> Self {
        let fields = || value.fields.iter().chain(key.iter().flat_map(|key| &key.fields));
        let arrow: Vec<_> = fields().map(|field| field.kind.field(&field.name, field.nullable)).collect();
        Columns { columns: fields().map(Column::new).collect(), rows: 0, schema: Arc::new(Schema::new(arrow)) }
    }

    /// Complete rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Sets a column of the row that is being made to a number. Of several values the last one counts.
    #[inline]
    pub(super) fn set_number(&mut self, column: usize, value: Number<'_>) -> Result<(), Undecodable> {
        self.cell(column).push_number(value)
    }

    /// Sets a column to a text.
    #[inline]
    pub(super) fn set_text(&mut self, column: usize, value: &str) -> Result<(), Undecodable> {
        self.cell(column).push_text(value)
    }

    /// Sets a column to a boolean.
    pub(super) fn set_boolean(&mut self, column: usize, value: bool) -> Result<(), Undecodable> {
        self.cell(column).push_boolean(value)
    }

    /// Sets a column to null.
    pub(super) fn set_null(&mut self, column: usize) -> Result<(), Undecodable> {
        self.cell(column).push_null()
    }

    /// The error of a value that no column can hold, such as an object.
    pub(super) fn refuse(&self, column: usize, value: &str) -> Undecodable {
        self.columns[column].refuse(value)
    }

    /// Whether a text column; others have no empty text.
    pub(super) fn is_text(&self, column: usize) -> bool {
        self.columns[column].field.kind == ColumnType::Text
    }

    /// Completes the row that is being made.
    #[inline]
    pub(super) fn end_row(&mut self) -> Result<(), Undecodable> {
        for column in &mut self.columns {
            if column.len == self.rows {
                column.push_missing()?;
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Takes back all rows but the first `rows`, and the row that is being made.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.rows = self.rows.min(rows);
        for column in &mut self.columns {
            column.truncate(self.rows);
        }
    }

    /// About how much memory the rows hold.
    pub(super) fn bytes(&self) -> usize {
        self.columns.iter().map(|column| column.values.bytes()).sum()
    }

    /// Hands the rows over and begins anew.
    pub(super) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let rows = RecordBatchOptions::new().with_row_count(Some(mem::take(&mut self.rows)));
        // All columns are emptied, also those after one that fails.
        let arrays: Vec<_> = self.columns.iter_mut().map(Column::finish).collect();
        let arrays = arrays.into_iter().collect::<Result<_, _>>()?;
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &rows)
    }

    #[inline]
    fn cell(&mut self, column: usize) -> &mut Column {
        let column = &mut self.columns[column];
        if column.len > self.rows {
            column.truncate(self.rows);
        }
        column
    }
}

/// One column.
struct Column {
    field: MessageField,
    values: Values,
    nulls: NullBufferBuilder,
    /// How many values there are.
    len: usize,
}

impl Column {
    fn new(field: &MessageField) -> Self {
        Column { field: field.clone(), values: Values::new(field.kind), nulls: NullBufferBuilder::new(0), len: 0 }
    }

    #[inline]
    fn push_number(&mut self, value: Number<'_>) -> Result<(), Undecodable> {
        if self.values.push_number(value).is_none() {
            return Err(self.refuse(value.text()));
        }
        self.pushed();
        Ok(())
    }

    #[inline]
    fn push_text(&mut self, value: &str) -> Result<(), Undecodable> {
        if self.values.push_text(value).is_none() {
            return Err(self.refuse(&format!("{:?}", super::excerpt(value))));
        }
        self.pushed();
        Ok(())
    }

    fn push_boolean(&mut self, value: bool) -> Result<(), Undecodable> {
        if self.values.push_boolean(value).is_none() {
            return Err(self.refuse(if value { "true" } else { "false" }));
        }
        self.pushed();
        Ok(())
    }

    fn push_null(&mut self) -> Result<(), Undecodable> {
        if !self.field.nullable {
            return Err(self.refuse("null"));
        }
        self.values.push_zero();
        self.nulls.append_null();
        self.len += 1;
        Ok(())
    }

    #[cold]
    fn push_missing(&mut self) -> Result<(), Undecodable> {
        match self.field.default.take() {
            None if self.field.nullable => self.push_null(),
            None => Err(Undecodable::new(format_args!("{}: missing", self.field.name))),
            Some(default) => {
                let pushed = self.push_default(&default);
                self.field.default = Some(default);
                pushed
            }
        }
    }

    fn push_default(&mut self, default: &Value) -> Result<(), Undecodable> {
        match default {
            Value::Null => self.push_null(),
            Value::Bool(value) => self.push_boolean(*value),
            Value::Number(value) => self.push_number(Number::from_text(&value.to_string())),
            Value::String(value) => self.push_text(value),
            Value::Array(_) | Value::Object(_) => Err(self.refuse(&default.to_string())),
        }
    }

    /// Counts a value that is not null.
    #[inline]
    fn pushed(&mut self) {
        self.nulls.append_non_null();
        self.len += 1;
    }

    #[cold]
    fn refuse(&self, value: &str) -> Undecodable {
        let MessageField { name, kind, .. } = &self.field;
        let article = if *kind == ColumnType::Int { "an" } else { "a" };
        Undecodable::new(format_args!("{name}: {} is not {article} {kind}", super::excerpt(value)))
    }

    fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.nulls.truncate(rows);
        self.len = self.len.min(rows);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.len = 0;
        let nulls = self.nulls.finish();
        self.values.finish(nulls)
    }
}

/// Whether a field can hold its own default.
pub(super) fn check_default(field: &MessageField) -> Result<(), Undecodable> {
    match &field.default {
        Some(default) => Column::new(field).push_default(default),
        None => Ok(()),
    }
}

/// The values of a column; a null holds a zero.
enum Values {
    Text(Texts),
    Uuid(Texts),
    Boolean(BooleanBufferBuilder),
    Int(Vec<i32>),
    Bigint(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Decimal { values: Vec<i128>, precision: u8, scale: i8 },
    Date(Vec<i32>),
    Time32(TimeUnit, Vec<i32>),
    Time64(TimeUnit, Vec<i64>),
    Timestamp(TimeUnit, Vec<i64>),
}

impl Values {
    fn new(kind: ColumnType) -> Self {
        match kind {
            ColumnType::Text => Values::Text(Texts::default()),
            ColumnType::Uuid => Values::Uuid(Texts::default()),
            ColumnType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            ColumnType::Int => Values::Int(Vec::new()),
            ColumnType::Bigint => Values::Bigint(Vec::new()),
            ColumnType::Float => Values::Float(Vec::new()),
            ColumnType::Double => Values::Double(Vec::new()),
            ColumnType::Decimal { precision, scale } => Values::Decimal { values: Vec::new(), precision, scale },
            ColumnType::Date => Values::Date(Vec::new()),
            ColumnType::Time(unit @ (TimeUnit::Second | TimeUnit::Millisecond)) => Values::Time32(unit, Vec::new()),
            ColumnType::Time(unit) => Values::Time64(unit, Vec::new()),
            ColumnType::Timestamp(unit) => Values::Timestamp(unit, Vec::new()),
        }
    }

    /// None, and nothing appended, where the column cannot hold the number.
    #[inline]
    fn push_number(&mut self, number: Number<'_>) -> Option<()> {
        match self {
            Values::Double(values) => values.push(number.double()?),
            Values::Bigint(values) | Values::Timestamp(_, values) => {
                values.push(number.integer()?);
            }
            Values::Int(values) | Values::Date(values) => {
                values.push(number.integer()?.try_into().ok()?);
            }
            Values::Float(values) => values.push(number.float()?),
            Values::Decimal { values, precision, scale } => {
                values.push(number.decimal(*precision, *scale)?);
            }
            Values::Time32(unit, values) => {
                values.push(time_of_day(number.integer()?, *unit)?.try_into().ok()?);
            }
            Values::Time64(unit, values) => {
                values.push(time_of_day(number.integer()?, *unit)?);
            }
            Values::Text(_) | Values::Uuid(_) | Values::Boolean(_) => return None,
        }
        Some(())
    }

    /// None, and nothing appended, where the column cannot hold the text. Numbers may stand in text.
    #[inline]
    fn push_text(&mut self, text: &str) -> Option<()> {
        match self {
            Values::Text(values) => values.push(text)?,
            Values::Uuid(values) => {
                let uuid = Uuid::try_parse(text).ok()?;
                values.push(uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()))?;
            }
            Values::Boolean(values) => values.append(boolean(text)?),
            Values::Date(values) => match times::date(text) {
                Some(days) => values.push(days),
                None => self.push_number(Number::from_text(text))?,
            },
            Values::Time32(unit, values) => match times::time(text, *unit) {
                Some(time) => values.push(time.try_into().ok()?),
                None => self.push_number(Number::from_text(text))?,
            },
            Values::Time64(unit, values) => match times::time(text, *unit) {
                Some(time) => values.push(time),
                None => self.push_number(Number::from_text(text))?,
            },
            Values::Timestamp(unit, values) => match times::timestamp(text, *unit) {
                Some(time) => values.push(time),
                None => self.push_number(Number::from_text(text))?,
            },
            _ => self.push_number(Number::from_text(text))?,
        }
        Some(())
    }

    fn push_boolean(&mut self, value: bool) -> Option<()> {
        match self {
            Values::Boolean(values) => values.append(value),
            _ => return None,
        }
        Some(())
    }

    /// What stands in the place of a null.
    fn push_zero(&mut self) {
        match self {
            Values::Text(values) | Values::Uuid(values) => values.push_empty(),
            Values::Boolean(values) => values.append(false),
            Values::Int(values) | Values::Date(values) | Values::Time32(_, values) => values.push(0),
            Values::Bigint(values) | Values::Time64(_, values) | Values::Timestamp(_, values) => {
                values.push(0);
            }
            Values::Float(values) => values.push(0.0),
            Values::Double(values) => values.push(0.0),
            Values::Decimal { values, .. } => values.push(0),
        }
    }

    fn truncate(&mut self, rows: usize) {
        match self {
            Values::Text(values) | Values::Uuid(values) => values.truncate(rows),
            Values::Boolean(values) => values.truncate(rows),
            Values::Int(values) | Values::Date(values) | Values::Time32(_, values) => {
                values.truncate(rows);
            }
            Values::Bigint(values) | Values::Time64(_, values) | Values::Timestamp(_, values) => {
                values.truncate(rows);
            }
            Values::Float(values) => values.truncate(rows),
            Values::Double(values) => values.truncate(rows),
            Values::Decimal { values, .. } => values.truncate(rows),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Values::Text(values) | Values::Uuid(values) => values.memory(),
            Values::Boolean(values) => values.len() / 8,
            Values::Int(values) | Values::Date(values) | Values::Time32(_, values) => size_of_val(values.as_slice()),
            Values::Bigint(values) | Values::Time64(_, values) | Values::Timestamp(_, values) => {
                size_of_val(values.as_slice())
            }
            Values::Float(values) => size_of_val(values.as_slice()),
            Values::Double(values) => size_of_val(values.as_slice()),
            Values::Decimal { values, .. } => size_of_val(values.as_slice()),
        }
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
        match self {
            Values::Text(values) | Values::Uuid(values) => values.finish(nulls),
            Values::Boolean(values) => Ok(Arc::new(BooleanArray::new(values.finish(), nulls))),
            Values::Int(values) => primitive::<Int32Type>(values, nulls),
            Values::Bigint(values) => primitive::<Int64Type>(values, nulls),
            Values::Float(values) => primitive::<Float32Type>(values, nulls),
            Values::Double(values) => primitive::<Float64Type>(values, nulls),
            Values::Decimal { values, precision, scale } => {
                let array = PrimitiveArray::<Decimal128Type>::try_new(take(values), nulls)?;
                Ok(Arc::new(array.with_precision_and_scale(*precision, *scale)?))
            }
            Values::Date(values) => primitive::<Date32Type>(values, nulls),
            Values::Time32(Second, values) => primitive::<Time32SecondType>(values, nulls),
            Values::Time32(_, values) => primitive::<Time32MillisecondType>(values, nulls),
            Values::Time64(Microsecond, values) => primitive::<Time64MicrosecondType>(values, nulls),
            Values::Time64(_, values) => primitive::<Time64NanosecondType>(values, nulls),
            Values::Timestamp(unit, values) => match unit {
                Second => primitive::<TimestampSecondType>(values, nulls),
                Millisecond => primitive::<TimestampMillisecondType>(values, nulls),
                Microsecond => primitive::<TimestampMicrosecondType>(values, nulls),
                Nanosecond => primitive::<TimestampNanosecondType>(values, nulls),
            },
        }
    }
}

/// Texts one after another, and where each ends.
struct Texts {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl Default for Texts {
    fn default() -> Self {
        Texts { bytes: Vec::new(), offsets: vec![0] }
    }
}

impl Texts {
    /// None where the texts would no longer fit the 2 GiB that an Arrow array can hold.
    #[inline]
    fn push(&mut self, text: &str) -> Option<()> {
        let end = (self.bytes.len() + text.len()).try_into().ok()?;
        self.bytes.extend_from_slice(text.as_bytes());
        self.offsets.push(end);
        Some(())
    }

    fn push_empty(&mut self) {
        self.offsets.push(self.offsets.last().copied().unwrap_or(0));
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        let end = self.offsets.last().copied().unwrap_or(0);
        self.bytes.truncate(end as usize);
    }

    fn memory(&self) -> usize {
        self.bytes.len() + size_of_val(self.offsets.as_slice())
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        let bytes = take(&mut self.bytes);
        let offsets = OffsetBuffer::new(take(&mut self.offsets));
        self.offsets.push(0);
        Ok(Arc::new(StringArray::try_new(offsets, bytes.into_inner(), nulls)?))
    }
}

/// Hands the values over to Arrow; as many are expected next time.
fn take<T: arrow::datatypes::ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    let next = Vec::with_capacity(values.len());
    mem::replace(values, next).into()
}

fn primitive<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(PrimitiveArray::<T>::try_new(take(values), nulls)?))
}

fn time_of_day(value: i64, unit: TimeUnit) -> Option<i64> {
    times::is_time(value, unit).then_some(value)
}

fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;

    const KINDS: [&str; 16] = [
        "text",
        "uuid",
        "boolean",
        "int",
        "bigint",
        "float",
        "double",
        "decimal(9,2)",
        "date",
        "time_s",
        "time_ms",
        "time_us",
        "time_ns",
        "timestamp_s",
        "timestamp_ms",
        "timestamp_ns",
    ];

    fn field(kind: &str) -> MessageField {
        MessageField::new(kind, kind.parse().unwrap())
    }

    fn columns(kinds: &[&str]) -> Columns {
        let fields = kinds.iter().map(|kind| field(kind)).collect();
        Columns::new(&MessageSchema { fields }, None)
    }

    /// The message of a value that a column refuses.
    fn refused(kind: &str, value: &str) -> String {
        columns(&[kind]).set_text(0, value).unwrap_err().reason
    }

    #[test]
    fn nulls_stand_in_columns_of_every_type() {
        let mut columns = columns(&KINDS);
        columns.end_row().unwrap();
        (0..KINDS.len()).for_each(|column| columns.set_null(column).unwrap());
        columns.end_row().unwrap();
        let batch = columns.finish().unwrap();
        assert_eq!(batch.num_rows(), 2);
        assert!(batch.columns().iter().all(|column| column.null_count() == 2));
        assert_eq!(columns.finish().unwrap().num_rows(), 0);
    }

    #[test]
    fn taking_back_rows_leaves_the_others_as_they_were() {
        let mut columns = columns(&KINDS);
        let texts = [
            "x",
            "67e55044-10b1-426f-9247-bb680e5fe0c8",
            "true",
            "1",
            "1",
            "1",
            "1",
            "1",
            "1",
            "1",
            "1",
            "1",
            "1",
            "1",
            "1",
            "1",
        ];
        let rows = |columns: &mut Columns, count: usize| {
            for _ in 0..count {
                texts.iter().enumerate().for_each(|(column, text)| columns.set_text(column, text).unwrap());
                columns.end_row().unwrap();
                columns.end_row().unwrap(); // a row of nulls
            }
        };
        rows(&mut columns, 5);
        columns.set_text(0, "half a row").unwrap();
        columns.truncate(3);
        rows(&mut columns, 1);
        assert_eq!(columns.rows(), 5);
        let batch = columns.finish().unwrap();
        let valid: Vec<bool> = (0..5).map(|row| batch.column(0).is_valid(row)).collect();
        assert_eq!(valid, [true, false, true, true, false]);
        rows(&mut columns, 5);
        columns.truncate(0);
        rows(&mut columns, 1);
        assert_eq!(columns.finish().unwrap(), batch.slice(0, 2));
    }

    #[test]
    fn the_last_value_of_a_field_counts() {
        let mut columns = columns(&["text", "int"]);
        columns.set_text(0, "first").unwrap();
        columns.set_text(1, "1").unwrap();
        columns.set_null(1).unwrap();
        columns.set_text(0, "last").unwrap();
        columns.end_row().unwrap();
        let batch = columns.finish().unwrap();
        assert_eq!(batch.column(0).as_string::<i32>().value(0), "last");
        assert!(batch.column(1).is_null(0));
    }

    #[test]
    fn a_refused_value_is_named_quoted_and_kept_short() {
        assert_eq!(refused("double", "abc"), r#"double: "abc" is not a double"#);
        assert_eq!(refused("int", "2147483648"), r#"int: "2147483648" is not an int"#);
        assert_eq!(refused("decimal(9,2)", "1.005"), r#"decimal(9,2): "1.005" is not a decimal(9,2)"#);
        assert_eq!(refused("uuid", "67e55044"), r#"uuid: "67e55044" is not a uuid"#);
        assert_eq!(refused("time_s", "86400"), r#"time_s: "86400" is not a time_s"#);
        assert!(refused("date", &"é".repeat(1 << 20)).chars().count() < 120);
    }

    #[test]
    fn a_missing_field_is_its_default_or_null_or_a_mistake() {
        let mut with_default = field("double");
        with_default.default = Some(1.5.into());
        let mut required = field("int");
        required.nullable = false;
        let mut columns = Columns::new(&MessageSchema { fields: vec![with_default, field("text"), required] }, None);
        assert_eq!(columns.end_row().unwrap_err().reason, "int: missing");
        columns.truncate(0);
        assert_eq!(columns.set_null(2).unwrap_err().reason, "int: null is not an int");
        columns.set_text(2, "7").unwrap();
        columns.end_row().unwrap();
        let batch = columns.finish().unwrap();
        assert_eq!(batch.column(0).as_primitive::<Float64Type>().value(0), 1.5);
        assert!(batch.column(1).is_null(0));
    }

    #[test]
    fn a_uuid_is_kept_in_lower_case_with_hyphens() {
        let mut columns = columns(&["uuid"]);
        for text in ["67E55044-10B1-426F-9247-BB680E5FE0C8", "67e5504410b1426f9247bb680e5fe0c8"] {
            columns.set_text(0, text).unwrap();
            columns.end_row().unwrap();
        }
        let batch = columns.finish().unwrap();
        let uuids: Vec<_> = batch.column(0).as_string::<i32>().iter().flatten().collect();
        assert_eq!(uuids, ["67e55044-10b1-426f-9247-bb680e5fe0c8"; 2]);
    }

    #[test]
    fn the_memory_held_is_about_that_of_the_values() {
        let mut columns = columns(&["text", "double"]);
        for _ in 0..1000 {
            columns.set_text(0, "0123456789").unwrap();
            columns.end_row().unwrap();
        }
        assert!((22_000..23_000).contains(&columns.bytes()), "{}", columns.bytes());
        columns.finish().unwrap();
        assert!(columns.bytes() < 10);
    }

    #[test]
    fn values_go_to_arrow_without_being_copied() {
        let mut columns = columns(&["double"]);
        columns.set_text(0, "1").unwrap();
        columns.end_row().unwrap();
        let Values::Double(values) = &columns.columns[0].values else { unreachable!() };
        let address = values.as_ptr();
        let batch = columns.finish().unwrap();
        assert_eq!(batch.column(0).as_primitive::<Float64Type>().values().as_ptr(), address);
    }
}
