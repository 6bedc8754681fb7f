//! The formats of messages and files: bytes in, columns out.
//!
//! A [`MessageSchema`] tells the fields of a message; it is read from an `.avsc` file, written in place or
//! inferred from a sample. A [`Decoder`] turns messages into the rows of Arrow record batches, and what it
//! cannot read into an [`Undecodable`] that says why.

mod avsc;
mod columns;
mod csv;
mod declared;
mod encode;
mod infer;
mod instants;
mod json;
mod lookup;
mod numbers;
mod plain;
mod scanner;
mod schema;
mod times;
mod types;

use std::fmt;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;

pub use avsc::SchemaMistake;
pub use csv::{CsvDecoder, CsvOptions, csv_header, record_length, split_record};
pub use declared::SchemaSpec;
pub use encode::{JsonRows, json_line, write_csv, write_json_lines};
pub use infer::{infer_csv, infer_json};
pub use json::{JsonDecoder, JsonOptions};
pub use plain::plain_texts;
pub use schema::{MessageField, MessageSchema};
pub use types::{ColumnType, MAX_PRECISION, TYPE_METADATA, UnknownType, type_name};

/// Turns messages into rows; one per reader of a source partition.
pub trait Decoder: Send {
    /// Appends the rows of a message (and the columns of its key, where a schema of it is declared) and
    /// tells how many. A message that cannot be read leaves nothing behind.
    fn decode(&mut self, key: Option<&[u8]>, payload: &[u8]) -> Result<usize, Undecodable>;

    /// Takes back all rows but the first `rows`.
    fn take_back(&mut self, rows: usize);

    /// Rows appended since the last [`finish`](Decoder::finish).
    fn len(&self) -> usize;

    /// Whether there are no rows.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About how much memory the rows hold.
    fn bytes(&self) -> usize;

    /// Takes the rows: the columns of the message, then those of its key.
    fn finish(&mut self) -> Result<RecordBatch, ArrowError>;
}

/// Why a message could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Undecodable {
    /// Names the field where there is one, as in `price: "abc" is not a double`.
    pub reason: String,
}

impl Undecodable {
    fn new(reason: impl fmt::Display) -> Self {
        Undecodable { reason: reason.to_string() }
    }
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Undecodable {}

/// As much of a value as is quoted in a reason.
fn excerpt(value: &str) -> std::borrow::Cow<'_, str> {
    const CHARACTERS: usize = 80;
    match value.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}...", &value[..end]).into(),
        None => value.into(),
    }
}
