//! Rows as messages: a JSON object each, and its key.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::error::Result;
use crate::formats::JsonRows;
use crate::spec::expression::Scalar;
use crate::spec::{DELETE, Projection};
use crate::words;

words! {
    /// How times are written.
    Times {
        /// As text, in UTC.
        Rfc3339 = "rfc3339",
        /// As a number of seconds since 1970 UTC.
        Seconds = "s",
        /// Of milliseconds.
        Milliseconds = "ms",
        /// Of microseconds.
        Microseconds = "us",
        /// Of nanoseconds.
        Nanoseconds = "ns",
    }
}

impl Times {
    fn unit(self) -> Option<TimeUnit> {
        match self {
            Times::Rfc3339 => None,
            Times::Seconds => Some(TimeUnit::Second),
            Times::Milliseconds => Some(TimeUnit::Millisecond),
            Times::Microseconds => Some(TimeUnit::Microsecond),
            Times::Nanoseconds => Some(TimeUnit::Nanosecond),
        }
    }
}

/// How the key of a message is made of a row.
#[derive(Clone)]
enum Key {
    /// There is none.
    None,
    /// One value, as plain text.
    Text(Scalar),
    /// Several, as a JSON object.
    Object(Projection),
}

/// Makes messages of rows.
#[derive(Clone)]
pub struct Encoder {
    projection: Projection,
    schema: SchemaRef,
    unit: Option<TimeUnit>,
    key: Key,
    /// The column that says which rows are to be removed.
    op: Option<usize>,
}

impl Encoder {
    /// Messages of what `projection` makes of rows, keyed by `key`.
    pub fn new(projection: Projection, mut key: Vec<Scalar>, times: Times) -> Self {
        let key = match key.len() {
            0 => Key::None,
            1 => Key::Text(key.remove(0).cast(&DataType::Utf8)),
            _ => Key::Object(Projection::new(key.into_iter().map(|part| (part.field().clone(), part)).collect())),
        };
        let written = |field: &Arc<Field>| match (field.data_type(), times.unit()) {
            (DataType::Timestamp(..), Some(_)) => field.as_ref().clone().with_data_type(DataType::Int64),
            _ => field.as_ref().clone(),
        };
        let schema = Schema::new(projection.schema().fields().iter().map(written).collect::<Vec<_>>());
        Encoder { projection, schema: Arc::new(schema), unit: times.unit(), key, op: None }
    }

    /// With rows that replace and delete one another: a deletion is a message without payload, a tombstone.
    pub fn of_changes(self, op: Option<usize>) -> Self {
        Encoder { op, ..self }
    }

    /// The key, for people.
    pub fn describe_key(&self) -> String {
        match &self.key {
            Key::None => "none".to_string(),
            Key::Text(text) => text.field().name().clone(),
            Key::Object(object) => {
                let names: Vec<&str> = object.schema().fields().iter().map(|field| field.name().as_str()).collect();
                names.join(", ")
            }
        }
    }

    /// The messages of `data`.
    pub fn encode(&self, data: &RecordBatch) -> Result<Messages> {
        let payloads = JsonRows::of(&self.with_times_as_numbers(self.projection.apply(data)?)?)?;
        let keys = match &self.key {
            Key::None => Keys::None,
            Key::Text(text) => Keys::Texts(text.evaluate(data)?.as_string::<i32>().clone()),
            Key::Object(object) => Keys::Objects(JsonRows::of(&object.apply(data)?)?),
        };
        let deleted = |at: usize| data.column(at).as_string::<i32>().iter().map(|op| op == Some(DELETE)).collect();
        Ok(Messages { payloads, keys, deleted: self.op.map(deleted) })
    }

    fn with_times_as_numbers(&self, data: RecordBatch) -> Result<RecordBatch> {
        let Some(unit) = self.unit else { return Ok(data) };
        let number = |column: &ArrayRef| match column.data_type() {
            DataType::Timestamp(..) => {
                let instant = cast(column, &DataType::Timestamp(unit, None))?;
                Ok(cast(&instant, &DataType::Int64)?)
            }
            _ => Ok(Arc::clone(column)),
        };
        let columns = data.columns().iter().map(number).collect::<Result<_>>()?;
        let rows = RecordBatchOptions::new().with_row_count(Some(data.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &rows)?)
    }
}

/// Messages of a batch.
pub struct Messages {
    payloads: JsonRows,
    keys: Keys,
    deleted: Option<Vec<bool>>,
}

enum Keys {
    None,
    Texts(StringArray),
    Objects(JsonRows),
}

impl Messages {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.payloads.len()
    }

    /// About how much memory they hold.
    pub fn bytes(&self) -> usize {
        let keys = match &self.keys {
            Keys::None => 0,
            Keys::Texts(texts) => texts.get_buffer_memory_size(),
            Keys::Objects(objects) => objects.text.len(),
        };
        self.payloads.text.len() + keys
    }

    /// The payload of a message; none of a tombstone.
    pub fn payload(&self, row: usize) -> Option<&[u8]> {
        let is_deleted = self.deleted.as_ref().is_some_and(|deleted| deleted[row]);
        (!is_deleted).then(|| self.payloads.row(row))
    }

    /// The key of a message.
    pub fn key(&self, row: usize) -> Option<&[u8]> {
        match &self.keys {
            Keys::None => None,
            Keys::Texts(texts) => texts.is_valid(row).then(|| texts.value(row).as_bytes()),
            Keys::Objects(objects) => Some(objects.row(row)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, TimestampMillisecondArray};

    fn rows() -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("symbol", DataType::Utf8, true),
            Field::new("time", DataType::Timestamp(TimeUnit::Millisecond, None), true),
            Field::new("price", DataType::Float64, true),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![Some("A\n\"1\""), None])),
            Arc::new(TimestampMillisecondArray::from(vec![1_700_000_000_123, 0])),
            Arc::new(Float64Array::from(vec![Some(1.5), None])),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).expect("rows")
    }

    fn encode(key: &[usize], times: Times) -> Vec<(Option<String>, String)> {
        let data = rows();
        let all = (0..3).map(|at| (data.schema().field(at).clone(), Scalar::column(&data.schema(), at))).collect();
        let key = key.iter().map(|at| Scalar::column(&data.schema(), *at)).collect();
        let messages = Encoder::new(Projection::new(all), key, times).encode(&data).expect("messages");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        (0..messages.len())
            .map(|row| (messages.key(row).map(text), text(messages.payload(row).expect("a payload"))))
            .collect()
    }

    #[test]
    fn a_row_is_a_json_object_with_its_key_as_plain_text() {
        let messages = encode(&[0], Times::Rfc3339);
        assert_eq!(messages[0].0.as_deref(), Some("A\n\"1\""));
        assert_eq!(messages[0].1, r#"{"symbol":"A\n\"1\"","time":"2023-11-14T22:13:20.123Z","price":1.5}"#);
        assert_eq!(messages[1].0, None);
        assert_eq!(messages[1].1, r#"{"symbol":null,"time":"1970-01-01T00:00:00Z","price":null}"#);
    }

    #[test]
    fn a_deletion_is_a_key_without_payload() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("symbol", DataType::Utf8, true),
            Field::new("__op", DataType::Utf8, false),
        ]));
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(vec!["A", "B"])), Arc::new(StringArray::from(vec!["replace", DELETE]))];
        let data = RecordBatch::try_new(Arc::clone(&schema), columns).expect("rows");
        let symbol = || Scalar::column(&schema, 0);
        let written = Projection::new(vec![(schema.field(0).clone(), symbol())]);
        let encoder = Encoder::new(written, vec![symbol()], Times::Rfc3339).of_changes(Some(1));
        let messages = encoder.encode(&data).expect("messages");
        assert_eq!(messages.payload(0), Some(br#"{"symbol":"A"}"#.as_slice()));
        assert_eq!((messages.key(1), messages.payload(1)), (Some(b"B".as_slice()), None));
    }

    #[test]
    fn several_columns_make_a_json_key_and_times_may_be_numbers() {
        let messages = encode(&[2, 0], Times::Microseconds);
        assert_eq!(messages[0].0.as_deref(), Some(r#"{"price":1.5,"symbol":"A\n\"1\""}"#));
        assert_eq!(messages[0].1, r#"{"symbol":"A\n\"1\"","time":1700000000123000,"price":1.5}"#);
        assert!(encode(&[], Times::Rfc3339).iter().all(|(key, _)| key.is_none()));
    }
}
