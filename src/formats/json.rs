//! JSON messages: a record a message, or an array of records somewhere in it.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;

use super::columns::Columns;
use super::lookup::Lookup;
use super::scanner::{Kind, Scanner};
use super::schema::MessageSchema;
use super::{Decoder, Undecodable};

/// How records lie in a JSON message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct JsonOptions {
    /// None: the message is a record. Some: it is an array of records (an empty path), or holds one under
    /// this path of field names (`data.trades`); the path may lead through arrays of objects.
    pub array: Option<String>,
}

/// Decodes JSON messages.
pub struct JsonDecoder {
    columns: Columns,
    value: Lookup,
    key: Option<Lookup>,
    /// The names on the way to the array of records.
    path: Option<Vec<String>>,
}

impl JsonDecoder {
    /// A decoder of messages of this schema and, where there is one for them, of their keys.
    pub fn new(value: &MessageSchema, key: Option<&MessageSchema>, options: JsonOptions) -> Self {
        JsonDecoder {
            columns: Columns::new(value, key),
            value: Lookup::new(value, 0),
            key: key.map(|key| Lookup::new(key, value.fields.len())),
            path: options.array.map(|path| names(&path)),
        }
    }

    fn message(&mut self, key: Option<&[u8]>, payload: &[u8]) -> Result<(), Undecodable> {
        if payload.is_empty() {
            return Err(Undecodable::new("empty payload"));
        }
        let mut scanner = Scanner::new(payload)?;
        let JsonDecoder { columns, value, key: key_lookup, path } = self;
        let mut row = |scanner: &mut Scanner<'_>| {
            record(columns, value, scanner)?;
            if let Some(lookup) = key_lookup {
                key_record(columns, lookup, key)?;
            }
            columns.end_row()
        };
        match path {
            None => row(&mut scanner)?,
            Some(path) => array(&mut scanner, path, &mut row)?,
        }
        scanner.end()
    }
}

impl Decoder for JsonDecoder {
    fn decode(&mut self, key: Option<&[u8]>, payload: &[u8]) -> Result<usize, Undecodable> {
        let before = self.columns.rows();
        match self.message(key, payload) {
            Ok(()) => Ok(self.columns.rows() - before),
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

/// The names of a path; an empty path has none.
fn names(path: &str) -> Vec<String> {
    path.split('.').filter(|name| !name.is_empty()).map(Into::into).collect()
}

/// Reads the fields of a record into the row that is being made.
#[inline]
fn record(columns: &mut Columns, lookup: &mut Lookup, scanner: &mut Scanner<'_>) -> Result<(), Undecodable> {
    lookup.begin();
    object(scanner, |scanner| match lookup.column(scanner)? {
        Some(column) => {
            scanner.expect(b':')?;
            value(columns, column, scanner)
        }
        None => {
            scanner.expect(b':')?;
            scanner.any().map(drop)
        }
    })
}

fn key_record(columns: &mut Columns, lookup: &mut Lookup, key: Option<&[u8]>) -> Result<(), Undecodable> {
    let Some(key) = key else {
        return Err(Undecodable::new("the message has no key"));
    };
    let mut read = || {
        let mut scanner = Scanner::new(key)?;
        record(columns, lookup, &mut scanner)?;
        scanner.end()
    };
    read().map_err(|mistake: Undecodable| Undecodable::new(format_args!("key: {mistake}")))
}

#[inline]
fn value(columns: &mut Columns, column: usize, scanner: &mut Scanner<'_>) -> Result<(), Undecodable> {
    match scanner.kind()? {
        Kind::Number => match scanner.number() {
            Some(number) => columns.set_number(column, number),
            None => Err(scanner.malformed()),
        },
        Kind::Text => columns.set_text(column, &scanner.string()?),
        Kind::Boolean => columns.set_boolean(column, scanner.boolean()?),
        Kind::Null => scanner.null().and_then(|()| columns.set_null(column)),
        Kind::Object | Kind::Array => Err(columns.refuse(column, scanner.any()?)),
    }
}

/// Has `field` read each field of an object, from its name on.
#[inline]
fn object<'a>(
    scanner: &mut Scanner<'a>,
    mut field: impl FnMut(&mut Scanner<'a>) -> Result<(), Undecodable>,
) -> Result<(), Undecodable> {
    if scanner.kind()? != Kind::Object {
        return Err(refuse(scanner, "an object"));
    }
    scanner.expect(b'{')?;
    let mut more = !scanner.take(b'}');
    while more {
        field(scanner)?;
        more = scanner.more(b'}')?;
    }
    Ok(())
}

/// Has `element` read each element of an array.
fn elements<'a>(
    scanner: &mut Scanner<'a>,
    mut element: impl FnMut(&mut Scanner<'a>) -> Result<(), Undecodable>,
) -> Result<(), Undecodable> {
    if scanner.kind()? != Kind::Array {
        return Err(refuse(scanner, "an array"));
    }
    scanner.expect(b'[')?;
    let mut more = !scanner.take(b']');
    while more {
        element(scanner)?;
        more = scanner.more(b']')?;
    }
    Ok(())
}

type Row<'r> = dyn FnMut(&mut Scanner<'_>) -> Result<(), Undecodable> + 'r;

/// Has `row` read the records of the array under a path.
fn array(scanner: &mut Scanner<'_>, path: &[String], row: &mut Row<'_>) -> Result<(), Undecodable> {
    match path.split_first() {
        None => elements(scanner, row),
        Some((name, path)) if scanner.kind()? == Kind::Array => {
            elements(scanner, |scanner| member(scanner, name, path, row))
        }
        Some((name, path)) => member(scanner, name, path, row),
    }
}

/// Goes on with the field `name` of an object.
fn member(scanner: &mut Scanner<'_>, name: &str, path: &[String], row: &mut Row<'_>) -> Result<(), Undecodable> {
    let mut found = false;
    object(scanner, |scanner| {
        let matches = scanner.string()? == name;
        scanner.expect(b':')?;
        if !matches {
            return scanner.any().map(drop);
        }
        found = true;
        array(scanner, path, row)
    })?;
    if found { Ok(()) } else { Err(Undecodable::new(format_args!("{name}: missing"))) }
}

/// The error of a value that is something else.
#[cold]
fn refuse(scanner: &mut Scanner<'_>, wanted: &str) -> Undecodable {
    match scanner.any() {
        Ok(value) => Undecodable::new(format_args!("{} is not {wanted}", super::excerpt(value))),
        Err(mistake) => mistake,
    }
}
