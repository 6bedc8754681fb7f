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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{ColumnType, MessageField};
    use arrow::array::AsArray;
    use arrow::datatypes::{Float64Type, Int64Type, TimestampMillisecondType};

    fn schema(fields: &[(&str, &str)]) -> MessageSchema {
        let field = |(name, kind): &(&str, &str)| MessageField::new(*name, kind.parse::<ColumnType>().unwrap());
        MessageSchema { fields: fields.iter().map(field).collect() }
    }

    fn ticks() -> MessageSchema {
        schema(&[("symbol", "text"), ("timestamp", "timestamp_ms"), ("price", "double")])
    }

    fn decoder(array: Option<&str>) -> JsonDecoder {
        JsonDecoder::new(&ticks(), None, JsonOptions { array: array.map(Into::into) })
    }

    fn reason(array: Option<&str>, payload: &str) -> String {
        let mut decoder = decoder(array);
        let reason = decoder.decode(None, payload.as_bytes()).unwrap_err().reason;
        assert_eq!((decoder.len(), decoder.finish().unwrap().num_rows()), (0, 0));
        reason
    }

    /// The symbols and prices of the rows.
    fn rows(decoder: &mut JsonDecoder) -> Vec<(String, f64)> {
        let batch = decoder.finish().unwrap();
        let symbols = batch.column(0).as_string::<i32>().iter().map(|symbol| symbol.unwrap_or("null").into());
        symbols.zip(batch.column(2).as_primitive::<Float64Type>().values().iter().copied()).collect()
    }

    #[test]
    fn a_record_becomes_a_row() {
        let mut decoder = decoder(None);
        let payload = br#"{"symbol":"SYM0123","timestamp":1700000000123,"price":101.2345,"volume":4711}"#;
        assert_eq!(decoder.decode(None, payload), Ok(1));
        let batch = decoder.finish().unwrap();
        assert_eq!(batch.column(0).as_string::<i32>().value(0), "SYM0123");
        assert_eq!(batch.column(1).as_primitive::<TimestampMillisecondType>().value(0), 1_700_000_000_123);
        assert_eq!(batch.column(2).as_primitive::<Float64Type>().value(0), 101.2345);
        assert_eq!(batch.num_columns(), 3);
    }

    #[test]
    fn fields_come_in_any_order_with_any_spacing_and_others_between() {
        let mut decoder = decoder(None);
        for payload in [
            "{\"price\": 1, \"symbol\": \"A\"}",
            "\t{ \"x\" : {\"symbol\":\"B\"} , \"price\" : 1.0 , \"y\":[1,\"]\"], \"symbol\" : \"A\" }\r\n",
            r#"{"s\u0079mbol":"\u0041","price":"1"}"#,
            r#"{"symbol":"B","symbol":"A","price":7,"price":1e0}"#,
        ] {
            decoder.decode(None, payload.as_bytes()).unwrap();
            assert_eq!(rows(&mut decoder), [("A".to_string(), 1.0)], "{payload}");
        }
    }

    #[test]
    fn what_is_no_row_says_why_and_leaves_nothing() {
        for (payload, expected) in [
            ("", "empty payload"),
            (" ", "not JSON: EOF while parsing a value at line 1 column 1"),
            ("[1]", "[1] is not an object"),
            ("7", "7 is not an object"),
            (r#"{"price":"abc"}"#, r#"price: "abc" is not a double"#),
            (r#"{"symbol":"A","price":true}"#, "price: true is not a double"),
            (r#"{"symbol":{"a":1}}"#, r#"symbol: {"a":1} is not a text"#),
            (r#"{"symbol":5}"#, "symbol: 5 is not a text"),
            (r#"{"price":1e999}"#, "price: 1e999 is not a double"),
            (r#"{"price":"NaN"}"#, r#"price: "NaN" is not a double"#),
            (r#"{"price":NaN}"#, "not JSON: expected value at line 1 column 10"),
            (r#"{"timestamp":1.5}"#, "timestamp: 1.5 is not a timestamp_ms"),
            (r#"{"timestamp":"9999999-01-01"}"#, r#"timestamp: "9999999-01-01" is not a timestamp_ms"#),
            (r#"{"symbol":"A"} x"#, "not JSON: trailing characters at line 1 column 16"),
            (r#"{"symbol":"A""#, "not JSON: EOF while parsing an object at line 1 column 13"),
            (r#"{"symbol":"\ud800"}"#, "not JSON: a string that is no text at byte 11"),
            (r#"{"other":"\ud800"}"#, "not JSON: a string that is no text at byte 10"),
        ] {
            assert_eq!(reason(None, payload), expected);
        }
    }

    #[test]
    fn a_message_may_be_an_array_of_records() {
        let mut decoder = decoder(Some(""));
        let payload = br#" [{"symbol":"A","price":1}, {"symbol":"B","price":2}] "#;
        assert_eq!(decoder.decode(None, payload), Ok(2));
        assert_eq!(decoder.decode(None, b"[]"), Ok(0));
        assert_eq!(rows(&mut decoder), [("A".to_string(), 1.0), ("B".to_string(), 2.0)]);
    }

    #[test]
    fn an_array_may_lie_under_a_path_that_leads_through_arrays() {
        let mut decoder = decoder(Some("events.trades"));
        let payload = br#"{"channel":"market_trades","events":[
            {"type":"update","trades":[{"symbol":"A","price":"1"}]},
            {"trades":[],"x":{"trades":[{}]}},
            {"trades":[{"symbol":"B","price":"2"},{"symbol":"C","price":"3"}]}]}"#;
        assert_eq!(decoder.decode(None, payload), Ok(3));
        let symbols: Vec<_> = rows(&mut decoder).into_iter().map(|(symbol, _)| symbol).collect();
        assert_eq!(symbols, ["A", "B", "C"]);
    }

    #[test]
    fn an_array_that_is_not_there_says_so() {
        assert_eq!(reason(Some("data"), r#"{"type":"ping"}"#), "data: missing");
        assert_eq!(reason(Some("data"), r#"{"data":null}"#), "null is not an array");
        assert_eq!(reason(Some("data"), r#"{"data":[1]}"#), "1 is not an object");
        assert_eq!(reason(Some(""), "{}"), "{} is not an array");
    }

    #[test]
    fn a_record_that_fails_takes_back_those_before_it_in_its_message_only() {
        let mut decoder = decoder(Some(""));
        decoder.decode(None, br#"[{"symbol":"A","price":1}]"#).unwrap();
        decoder.decode(None, br#"[{"symbol":"B","price":2},{"symbol":"C","price":[]}]"#).unwrap_err();
        decoder.decode(None, br#"[{"symbol":"D","price":4}"#).unwrap_err();
        decoder.decode(None, br#"[{"symbol":"E","price":5}]"#).unwrap();
        assert_eq!(rows(&mut decoder), [("A".to_string(), 1.0), ("E".to_string(), 5.0)]);
    }

    #[test]
    fn the_columns_of_the_key_follow_those_of_the_message_in_each_of_its_rows() {
        let key = schema(&[("stock", "text")]);
        let value = schema(&[("volume", "bigint")]);
        let mut decoder = JsonDecoder::new(&value, Some(&key), JsonOptions { array: Some(String::new()) });
        let aapl = Some(&br#"{"stock":"AAPL"}"#[..]);
        assert_eq!(decoder.decode(aapl, br#"[{"volume":1},{"volume":2}]"#), Ok(2));
        let reason = |result: Result<usize, Undecodable>| result.unwrap_err().reason;
        assert_eq!(reason(decoder.decode(None, br#"[{"volume":1}]"#)), "the message has no key");
        assert_eq!(
            reason(decoder.decode(Some(b"AAPL"), br#"[{}]"#)),
            "key: not JSON: expected value at line 1 column 1"
        );
        let batch = decoder.finish().unwrap();
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[1, 2]);
        let stocks: Vec<_> = batch.column(1).as_string::<i32>().iter().flatten().collect();
        assert_eq!(stocks, ["AAPL", "AAPL"]);
    }
}
