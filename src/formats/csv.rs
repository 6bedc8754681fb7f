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
