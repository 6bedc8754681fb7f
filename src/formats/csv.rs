//! CSV: one record a message, and the records of a file.

use std::borrow::Cow;
use std::collections::HashSet;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;

use super::columns::Columns;
use super::schema::MessageSchema;
use super::{Decoder, Undecodable};

/// How records are written in CSV.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CsvOptions {
    /// What stands between two fields.
    pub delimiter: u8,
    /// What stands for null. In quotes it is the text itself, in a column of texts.
    pub null: String,
    /// The names of the fields; those of the schema, in its order, where there is none.
    pub header: Option<Vec<String>>,
}

impl Default for CsvOptions {
    fn default() -> Self {
        CsvOptions { delimiter: b',', null: String::new(), header: None }
    }
}

/// Decodes messages of one CSV record each. A key is a record too.
pub struct CsvDecoder {
    columns: Columns,
    value: Layout,
    key: Option<Layout>,
    options: CsvOptions,
}

/// The columns of the fields of a record.
type Layout = Vec<Option<usize>>;

impl CsvDecoder {
    /// A decoder of messages of this schema and, where there is one for them, of their keys.
    pub fn new(value: &MessageSchema, key: Option<&MessageSchema>, options: CsvOptions) -> Self {
        let in_order = |schema: &MessageSchema, first: usize| (first..first + schema.fields.len()).map(Some).collect();
        CsvDecoder {
            columns: Columns::new(value, key),
            value: match &options.header {
                Some(header) => header.iter().map(|name| column(value, name)).collect(),
                None => in_order(value, 0),
            },
            key: key.map(|key| in_order(key, value.fields.len())),
            options,
        }
    }

    fn message(&mut self, key: Option<&[u8]>, payload: &[u8]) -> Result<(), Undecodable> {
        let CsvDecoder { columns, value, key: key_layout, options } = self;
        record(columns, value, options, payload)?;
        match (key_layout, key) {
            (None, _) => {}
            (Some(_), None) => return Err(Undecodable::new("the message has no key")),
            (Some(layout), Some(key)) => record(columns, layout, options, key)
                .map_err(|mistake| Undecodable::new(format_args!("key: {mistake}")))?,
        }
        columns.end_row()
    }
}

impl Decoder for CsvDecoder {
    fn decode(&mut self, key: Option<&[u8]>, payload: &[u8]) -> Result<usize, Undecodable> {
        let before = self.columns.rows();
        match self.message(key, payload) {
            Ok(()) => Ok(1),
            Err(mistake) => {
                self.columns.truncate(before);
                Err(mistake)
            }
        }
    }

    fn take_back(&mut self, rows: usize) {
        self.columns.truncate(rows);
    }

    fn len(&self) -> usize {
        self.columns.rows()
    }

    fn bytes(&self) -> usize {
        self.columns.bytes()
    }

    fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.columns.finish()
    }
}

/// The first record of a block, without the end of its line, and what follows it; None where the block does
/// not hold all of it. A quoted field may hold line breaks.
pub fn split_record(block: &[u8], delimiter: u8) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        let mut end = at + quoted_length(block.get(at..)?)?;
        end += block.get(end..)?.iter().position(|byte| *byte == delimiter || *byte == b'\n')?;
        let (record, rest) = block.split_at_checked(end)?;
        if let Some(rest) = rest.strip_prefix(b"\n") {
            return Some((record.strip_suffix(b"\r").unwrap_or(record), rest));
        }
        at = end + 1;
    }
}

/// A quoted field longer than this is none: the quote it begins with is a stray one.
const LONGEST_QUOTED: usize = 64 << 10;

/// How many bytes the first record of a file's rest takes, the end of its line included. Quoted fields may hold line
/// ends; where a quote is not closed as it should be, the record ends with its line, so that a stray quote costs
/// one line and not all that follow.
pub fn record_length(rest: &[u8], delimiter: u8) -> usize {
    let line = length_to(rest, b"\n");
    match rest[..line].contains(&b'"') {
        true => spanning_length(rest, delimiter).unwrap_or(line),
        false => line,
    }
}

/// The length of a record whose quotes are all in order.
fn spanning_length(rest: &[u8], delimiter: u8) -> Option<usize> {
    let mut end = 0;
    loop {
        let field = &rest[end..];
        let quoted = quoted_length(&field[..field.len().min(LONGEST_QUOTED)])?;
        let closed = matches!(field.get(quoted), None | Some(b'\r' | b'\n')) || field.get(quoted) == Some(&delimiter);
        if quoted > 0 && !closed {
            return None;
        }
        end += quoted + length_to(&field[quoted..], &[delimiter, b'\n']);
        if end == rest.len() || rest[end - 1] == b'\n' {
            return Some(end);
        }
    }
}

/// How many bytes there are up to the first of `ends`, itself included.
fn length_to(rest: &[u8], ends: &[u8]) -> usize {
    rest.iter().position(|byte| ends.contains(byte)).map_or(rest.len(), |at| at + 1)
}

/// The names in a header.
pub fn csv_header(record: &[u8], delimiter: u8) -> Result<Vec<String>, Undecodable> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    let names = csv_fields(record.strip_prefix(BYTE_ORDER_MARK).unwrap_or(record), delimiter)?;
    let mut seen = HashSet::new();
    match names.iter().find(|name| !name.is_empty() && !seen.insert(name.as_str())) {
        Some(name) => Err(Undecodable::new(format_args!("{name:?} stands twice in the header"))),
        None => Ok(names),
    }
}

/// The texts of a record.
pub(super) fn csv_fields(record: &[u8], delimiter: u8) -> Result<Vec<String>, Undecodable> {
    fields(line(record)?, delimiter).map(|field| Ok(field?.text.into_owned())).collect()
}

/// How many bytes the quotes that a field begins with, and what stands in them, take; None where the second
/// is missing.
fn quoted_length(field: &[u8]) -> Option<usize> {
    if field.first() != Some(&b'"') {
        return Some(0);
    }
    let mut end = 1;
    loop {
        end += field.get(end..)?.iter().position(|byte| *byte == b'"')? + 1;
        if field.get(end) != Some(&b'"') {
            return Some(end);
        }
        end += 1; // two quotes stand for one
    }
}

fn column(schema: &MessageSchema, name: &str) -> Option<usize> {
    let fields = &schema.fields;
    let named = fields.iter().position(|field| field.name == name);
    named.or_else(|| fields.iter().position(|field| field.aliases.iter().any(|alias| alias == name)))
}

/// Reads a record into the row that is being made.
fn record(columns: &mut Columns, layout: &Layout, options: &CsvOptions, payload: &[u8]) -> Result<(), Undecodable> {
    let line = line(payload)?;
    let mut found = 0;
    for field in fields(line, options.delimiter) {
        let Field { text, quoted } = field?;
        if let Some(Some(column)) = layout.get(found) {
            if *text == *options.null && !(quoted && columns.is_text(*column)) {
                columns.set_null(*column)?;
            } else {
                columns.set_text(*column, &text)?;
            }
        }
        found += 1;
    }
    if found == layout.len() {
        return Ok(());
    }
    Err(Undecodable::new(format_args!("{found} fields where {} are expected", layout.len())))
}

/// A record as text, without the end of its line.
fn line(payload: &[u8]) -> Result<&str, Undecodable> {
    if payload.is_empty() {
        return Err(Undecodable::new("empty payload"));
    }
    let line = match str::from_utf8(payload) {
        Ok(line) => line,
        Err(error) => return Err(Undecodable::new(format_args!("not UTF-8: {error}"))),
    };
    let line = line.strip_suffix('\n').unwrap_or(line);
    Ok(line.strip_suffix('\r').unwrap_or(line))
}

struct Field<'a> {
    text: Cow<'a, str>,
    quoted: bool,
}

fn fields(line: &str, delimiter: u8) -> impl Iterator<Item = Result<Field<'_>, Undecodable>> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let field = next_field(rest.take()?, delimiter);
        Some(field.map(|(field, after)| {
            rest = after;
            field
        }))
    })
}

/// The first field, and what follows its delimiter if it has one.
fn next_field(line: &str, delimiter: u8) -> Result<(Field<'_>, Option<&str>), Undecodable> {
    let Some(length) = quoted_length(line.as_bytes()) else {
        return Err(Undecodable::new("a quote is not closed"));
    };
    let (quoted, rest) = line.split_at(length);
    let (plain, after) = match rest.split_once(char::from(delimiter)) {
        Some((plain, after)) => (plain, Some(after)),
        None => (rest, None),
    };
    let text = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let field = match text {
        Some(_) if !plain.is_empty() => return Err(Undecodable::new("text after a closing quote")),
        Some(text) if text.contains('"') => text.replace(r#""""#, r#"""#).into(),
        Some(text) => text.into(),
        None if plain.contains('\n') => return Err(Undecodable::new("more than one line")),
        None => plain.into(),
    };
    Ok((Field { text: field, quoted: text.is_some() }, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{ColumnType, MessageField};
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Float64Type;

    fn schema(fields: &[(&str, &str)]) -> MessageSchema {
        let field = |(name, kind): &(&str, &str)| MessageField::new(*name, kind.parse::<ColumnType>().unwrap());
        MessageSchema { fields: fields.iter().map(field).collect() }
    }

    fn decoder(header: Option<&[&str]>) -> CsvDecoder {
        let header = header.map(|names| names.iter().map(|name| name.to_string()).collect());
        let schema = schema(&[("symbol", "text"), ("price", "double")]);
        CsvDecoder::new(&schema, None, CsvOptions { header, ..CsvOptions::default() })
    }

    fn reason(payload: &str) -> String {
        let mut decoder = decoder(None);
        let reason = decoder.decode(None, payload.as_bytes()).unwrap_err().reason;
        assert_eq!(decoder.finish().unwrap().num_rows(), 0);
        reason
    }

    fn texts(line: &str) -> Vec<String> {
        csv_fields(line.as_bytes(), b',').unwrap()
    }

    #[test]
    fn fields_are_found_by_the_header_or_by_the_order_of_the_schema() {
        for (header, line) in [(None, "A,1.5\r\n"), (Some(&["price", "x", "symbol"][..]), "1.5,,A")] {
            let mut decoder = decoder(header);
            assert_eq!(decoder.decode(None, line.as_bytes()), Ok(1));
            let batch = decoder.finish().unwrap();
            assert_eq!(batch.column(0).as_string::<i32>().value(0), "A");
            assert_eq!(batch.column(1).as_primitive::<Float64Type>().value(0), 1.5);
        }
    }

    #[test]
    fn a_quoted_field_holds_delimiters_quotes_and_line_breaks() {
        assert_eq!(texts("\"a,b\",\"c \"\"d\"\"\",\"e\nf\",\"\",g\"h"), ["a,b", "c \"d\"", "e\nf", "", "g\"h"]);
        assert_eq!(texts(","), ["", ""]);
        assert_eq!(csv_fields(b"a\tb,c", b'\t').unwrap(), ["a", "b,c"]);
    }

    #[test]
    fn an_empty_field_is_null_and_a_quoted_one_is_the_empty_text() {
        let mut decoder = decoder(None);
        for line in [",", "\"\",\"\"", "\"\","] {
            decoder.decode(None, line.as_bytes()).unwrap();
        }
        let batch = decoder.finish().unwrap();
        assert_eq!(batch.column(0).as_string::<i32>().iter().collect::<Vec<_>>(), [None, Some(""), Some("")]);
        assert_eq!(batch.column(1).null_count(), 3);
    }

    #[test]
    fn what_is_no_row_says_why_and_leaves_nothing() {
        for (payload, expected) in [
            ("", "empty payload"),
            ("A", "1 fields where 2 are expected"),
            ("A,1,2", "3 fields where 2 are expected"),
            ("A,x", r#"price: "x" is not a double"#),
            ("\"A,1", "a quote is not closed"),
            ("\"A\"B,1", "text after a closing quote"),
            ("A,1\nB,2", "more than one line"),
        ] {
            assert_eq!(reason(payload), expected);
        }
        assert!(decoder(None).decode(None, b"\xff,1").unwrap_err().reason.starts_with("not UTF-8"));
    }

    #[test]
    fn a_key_is_a_record_of_its_own() {
        let key = schema(&[("stock", "text")]);
        let mut decoder = CsvDecoder::new(&schema(&[("price", "double")]), Some(&key), CsvOptions::default());
        decoder.decode(Some(b"AAPL"), b"1").unwrap();
        assert_eq!(decoder.decode(None, b"1").unwrap_err().reason, "the message has no key");
        assert_eq!(decoder.finish().unwrap().column(1).as_string::<i32>().value(0), "AAPL");
    }

    #[test]
    fn a_block_is_split_into_its_complete_records() {
        let mut rest: &[u8] = b"a,b\r\n\"c\nd\",\"e\"\"\n\",5\" pipe\n\nlast,\"open\n";
        let mut records = Vec::new();
        while let Some((record, after)) = split_record(rest, b',') {
            records.push(str::from_utf8(record).unwrap());
            rest = after;
        }
        assert_eq!(records, ["a,b", "\"c\nd\",\"e\"\"\n\",5\" pipe", ""]);
        assert_eq!(rest, b"last,\"open\n");
        for incomplete in ["", "a", "a,", "\"", "\"a\"", "\"a\"\"\n"] {
            assert_eq!(split_record(incomplete.as_bytes(), b','), None, "{incomplete:?}");
        }
    }

    #[test]
    fn a_record_of_a_file_ends_with_its_line_unless_its_quotes_hold_line_ends() {
        for (rest, expected) in [
            ("", ""),
            ("a,b", "a,b"),
            ("a,b\nc", "a,b\n"),
            ("a,\"b\nc\"\r\nd", "a,\"b\nc\"\r\n"),
            ("\"a\n\"\"\n\",b\nc", "\"a\n\"\"\n\",b\n"),
            ("\"a\nb\"", "\"a\nb\""),
            ("5\" pipe,b\nc\"", "5\" pipe,b\n"),
            // Stray quotes: not closed, closed in the middle of a field.
            ("a,\"b\nc,d\n", "a,\"b\n"),
            ("a,\"b\nc,\"d\n", "a,\"b\n"),
        ] {
            assert_eq!(record_length(rest.as_bytes(), b','), expected.len(), "{rest:?}");
        }
        let long = format!("\"a\n{}\"\n", "x".repeat(LONGEST_QUOTED));
        assert_eq!(record_length(long.as_bytes(), b','), 3);
    }

    #[test]
    fn a_header_may_begin_with_a_byte_order_mark_and_names_each_field_once() {
        assert_eq!(csv_header(b"\xef\xbb\xbfa,b", b',').unwrap(), ["a", "b"]);
        assert_eq!(csv_header(b"a,b,a", b',').unwrap_err().reason, r#""a" stands twice in the header"#);
    }
}
