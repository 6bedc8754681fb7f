//! Decoders fed with valid, mistyped, mutated, truncated and random messages: none panics, each becomes rows or a
//! reason, and what was decoded is what serde_json, csv, bigdecimal and chrono read.

use std::fmt;
use std::str::FromStr;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::*;
use bigdecimal::{BigDecimal, ToPrimitive};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use tapeflow::formats::{
    ColumnType, CsvDecoder, CsvOptions, Decoder, JsonDecoder, JsonOptions, MessageField, MessageSchema, infer_csv,
    infer_json, split_record,
};

const MESSAGES: usize = 1_000_000;
const SEED: u64 = 0x7461_7065_666c_6f77;

const FIELDS: [(&str, &str); 15] = [
    ("symbol", "text"),
    ("id", "uuid"),
    ("open", "boolean"),
    ("count", "int"),
    ("volume", "bigint"),
    ("weight", "float"),
    ("price", "double"),
    ("bid", "double"),
    ("size", "decimal(18,8)"),
    ("total", "decimal(38,0)"),
    ("day", "date"),
    ("time", "time_ms"),
    ("at_s", "timestamp_s"),
    ("at_ms", "timestamp_ms"),
    ("at_ns", "timestamp_ns"),
];

/// Values that belong nowhere, or nearly nowhere.
const HOSTILE: [&str; 44] = [
    "true",
    "{}",
    "[1,[2]]",
    "\"abc\"",
    "\"\"",
    "1e999",
    "-1e999",
    "\"1e999\"",
    "NaN",
    "Infinity",
    "\"NaN\"",
    "\"-inf\"",
    "99999999999999999999",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "0.1",
    "1e-400",
    "-0",
    "-0.0",
    "1.0",
    "4.711e3",
    "1E+2",
    "0e9",
    "1.00000000000000000000000000000000000000000000",
    "2147483648",
    "123456789012345678901234567890.12345678",
    "\"+5\"",
    "\".5\"",
    "\"5.\"",
    "\" 5\"",
    "\"\\ud800\"",
    "\"\\ud83d\\ude80\"",
    "\"\\u0041\"",
    "\"1970-01-01\"",
    "\"9999-12-31\"",
    "\"1970-01-01T00:00:00Z\"",
    "\"9999-12-31T23:59:59.999999999Z\"",
    "\"2024-02-30T00:00:00Z\"",
    "\"24:00:00\"",
    "\"23:59:59.9999\"",
    "01",
    "1.",
    "nul",
];

/// Bytes that change the meaning of those around them.
const DAMAGE: &[u8] = b"{}[]\":,\\.-+eE019ntfu \n\0\x7f";

#[test]
fn json_becomes_rows_or_a_reason() {
    let mut random = Random(SEED);
    let mut decoder = JsonDecoder::new(&schema(), None, JsonOptions::default());
    let mut expected = Rows::default();
    let (mut decoded, mut refused) = (0, 0);
    for message in 0..MESSAGES {
        let payload = random.message();
        let rows = decoder.decode(None, &payload);
        match (&rows, expected_row(&payload)) {
            (Ok(1), Some(row)) => expected.0.push(row),
            (Err(why), None) => assert!(!why.reason.is_empty() && why.reason.len() < 600, "{}", why.reason),
            (rows, row) => panic!("{rows:?}, but {row:?}: {}", String::from_utf8_lossy(&payload)),
        }
        *(if rows.is_ok() { &mut decoded } else { &mut refused }) += 1;
        assert_eq!(decoder.len(), expected.0.len());
        if random.one_in(500) || message + 1 == MESSAGES {
            expected.check(&decoder.finish().unwrap());
            assert_eq!(decoder.len(), 0);
        }
    }
    // The fuzzing itself works: it makes many of both.
    assert!(decoded > MESSAGES / 4 && refused > MESSAGES / 4, "{decoded} decoded, {refused} refused");
}

#[test]
fn arrays_of_records_become_all_their_rows_or_none() {
    let mut random = Random(SEED + 1);
    let mut decoder = JsonDecoder::new(&schema(), None, JsonOptions { array: Some("data.trades".into()) });
    let mut expected = Rows::default();
    for message in 0..MESSAGES / 20 {
        let records: Vec<String> = (0..random.below(5)).map(|_| random.record()).collect();
        let payload = format!(r#"{{"x":[{{}}],"data":{{"trades":[{}]}}}}"#, records.join(", "));
        let rows: Option<Vec<Vec<Cell>>> = records.iter().map(|record| expected_row(record.as_bytes())).collect();
        match (decoder.decode(None, payload.as_bytes()), rows) {
            (Ok(count), Some(rows)) => {
                assert_eq!(count, rows.len());
                expected.0.extend(rows);
            }
            (Err(_), None) => {}
            (rows, row) => panic!("{rows:?}, but {row:?}: {payload}"),
        }
        decoder.decode(None, &random.mutated(payload.into_bytes())).ok();
        if decoder.len() > expected.0.len() {
            // The mutated one was still valid: its rows are only counted.
            assert_eq!(decoder.finish().map(|batch| batch.num_rows() >= expected.0.len()).ok(), Some(true));
            expected.0.clear();
        } else if random.one_in(100) || message + 1 == MESSAGES / 20 {
            expected.check(&decoder.finish().unwrap());
        }
    }
}

#[test]
fn csv_becomes_rows_or_a_reason() {
    let mut random = Random(SEED + 2);
    let mut decoder = CsvDecoder::new(&schema(), None, CsvOptions::default());
    let mut expected = Rows::default();
    for message in 0..MESSAGES / 10 {
        let line = random.line();
        match decoder.decode(None, line.as_bytes()) {
            Ok(rows) => {
                assert_eq!(rows, 1);
                let row = expected_line(&line);
                expected.0.push(row.unwrap_or_else(|| panic!("decoded, but not expected: {line:?}")));
            }
            Err(why) => {
                let row = expected_line(&line);
                assert_eq!(row, None, "{}: {line:?}", why.reason);
            }
        }
        if random.one_in(500) || message + 1 == MESSAGES / 10 {
            expected.check(&decoder.finish().unwrap());
        }
        let before = decoder.len();
        let rows = decoder.decode(None, &random.mutated(line.into_bytes())).unwrap_or(0);
        assert_eq!(decoder.len(), before + rows);
        if rows > 0 {
            assert_eq!(decoder.finish().unwrap().num_rows(), before + rows);
            expected.0.clear();
        }
    }
}

#[test]
fn a_csv_file_is_split_into_the_records_that_csv_finds() {
    let mut random = Random(SEED + 3);
    for _ in 0..MESSAGES / 100 {
        let lines: Vec<String> = (0..random.below(5)).map(|_| random.line()).collect();
        let file = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        let mut rest = file.as_bytes();
        let mut found = Vec::new();
        while let Some((record, after)) = split_record(rest, b',') {
            found.push(str::from_utf8(record).unwrap());
            rest = after;
        }
        assert_eq!(found, lines);
        infer_csv(file.as_bytes(), &CsvOptions::default()).ok();
        infer_csv(&random.mutated(file.into_bytes()), &CsvOptions::default()).ok();
    }
}

#[test]
fn schemas_of_any_kind_are_read_or_refused() {
    let mut random = Random(SEED + 4);
    let text = r#"{"type":"record","name":"r","aliases":["q"],"fields":[
        {"name":"a","type":["null",{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}],"default":null},
        {"name":"b","type":{"type":"enum","name":"e","symbols":["x"]},"default":"x","aliases":["c"]},
        {"name":"d","type":{"type":"long","logicalType":"timestamp-millis"},"default":0},{"name":"f","type":"e"}]}"#;
    assert_eq!(MessageSchema::from_avsc(text).unwrap().fields.len(), 4);
    for _ in 0..MESSAGES / 20 {
        let mutated = random.mutated(text.as_bytes().to_vec());
        if let Ok(schema) = MessageSchema::from_avsc(&String::from_utf8_lossy(&mutated)) {
            let mut decoder = JsonDecoder::new(&schema, None, JsonOptions::default());
            let rows = decoder.decode(None, br#"{"a":"1.25","b":"x","d":5,"f":"x"}"#).unwrap_or(0);
            assert_eq!(decoder.finish().unwrap().num_rows(), rows);
        }
        let records = format!("{}\n{}\n", random.record(), random.record());
        infer_json(&random.mutated(records.into_bytes())).ok();
    }
}

#[test]
fn hostile_sizes_are_read_or_refused() {
    let mut decoder = JsonDecoder::new(&schema(), None, JsonOptions::default());
    let symbol = "S".repeat(1 << 20);
    assert_eq!(decoder.decode(None, format!(r#"{{"symbol":"{symbol}"}}"#).as_bytes()), Ok(1));
    assert_eq!(decoder.decode(None, format!(r#"{{"symbol":"\u0053{}"}}"#, &symbol[1..]).as_bytes()), Ok(1));
    let why = decoder.decode(None, format!(r#"{{"price":"{symbol}"}}"#).as_bytes()).unwrap_err();
    assert!(why.reason.len() < 150);
    let why = decoder.decode(None, format!(r#"{{"price":{{"a":"{symbol}"}}}}"#).as_bytes()).unwrap_err();
    assert!(why.reason.len() < 150);
    let digits = "9".repeat(1 << 20);
    for field in ["price", "weight", "volume", "count", "size", "total", "day", "at_ms"] {
        for number in [digits.clone(), format!("0.{digits}"), format!("1e{digits}"), format!("-1e-{digits}")] {
            for payload in [format!(r#"{{"{field}":{number}}}"#), format!(r#"{{"{field}":"{number}"}}"#)] {
                let rows = decoder.decode(None, payload.as_bytes());
                let fits = matches!(field, "price" | "weight") && (number.starts_with("0.") || number.starts_with('-'));
                assert_eq!(rows.is_ok(), fits, "{field} {}", &number[..10]);
            }
        }
    }
    for bomb in ["[", "{\"a\":", "[{\"a\":"] {
        let bomb = bomb.repeat(1 << 18);
        for payload in [bomb.clone(), format!("{{\"price\":{bomb}"), format!("{{\"other\":{bomb}")] {
            assert!(decoder.decode(None, payload.as_bytes()).is_err());
        }
    }
    let fields: String = (0..100_000).map(|field| format!("\"f{field}\":{field},")).collect();
    assert_eq!(decoder.decode(None, format!("{{{fields}\"symbol\":\"A\"}}").as_bytes()), Ok(1));
    let (rows, bytes) = (decoder.len(), decoder.bytes());
    assert!(bytes > 2 << 20);
    let batch = decoder.finish().unwrap();
    assert_eq!(batch.num_rows(), rows);
    assert_eq!(batch.column(0).as_string::<i32>().value(1), symbol);
}

fn schema() -> MessageSchema {
    let fields = FIELDS.iter().map(|(name, kind)| MessageField::new(*name, kind.parse::<ColumnType>().unwrap()));
    MessageSchema { fields: fields.collect() }
}

/// A value of a row, whatever its type: integers, decimals, days and instants are all integers.
#[derive(Clone, PartialEq, Debug)]
enum Cell {
    Null,
    Text(String),
    Boolean(bool),
    Integer(i128),
    /// By their bits, so that a sign of zero counts.
    Float(u32),
    Double(u64),
}

/// The rows expected since the last batch.
#[derive(Default)]
struct Rows(Vec<Vec<Cell>>);

impl Rows {
    fn check(&mut self, batch: &RecordBatch) {
        assert_eq!(batch.num_rows(), self.0.len());
        for (row, expected) in self.0.drain(..).enumerate() {
            let found: Vec<Cell> = batch.columns().iter().map(|column| cell(column, row)).collect();
            assert_eq!(found, expected);
        }
    }
}

fn cell(column: &ArrayRef, row: usize) -> Cell {
    fn integer<T: ArrowPrimitiveType<Native: Into<i128>>>(column: &ArrayRef, row: usize) -> Cell {
        Cell::Integer(column.as_primitive::<T>().value(row).into())
    }
    if column.is_null(row) {
        return Cell::Null;
    }
    match column.data_type() {
        DataType::Utf8 => Cell::Text(column.as_string::<i32>().value(row).into()),
        DataType::Boolean => Cell::Boolean(column.as_boolean().value(row)),
        DataType::Int32 => integer::<Int32Type>(column, row),
        DataType::Int64 => integer::<Int64Type>(column, row),
        DataType::Float32 => Cell::Float(column.as_primitive::<Float32Type>().value(row).to_bits()),
        DataType::Float64 => Cell::Double(column.as_primitive::<Float64Type>().value(row).to_bits()),
        DataType::Decimal128(..) => integer::<Decimal128Type>(column, row),
        DataType::Date32 => integer::<Date32Type>(column, row),
        DataType::Time32(TimeUnit::Millisecond) => integer::<Time32MillisecondType>(column, row),
        DataType::Timestamp(TimeUnit::Second, None) => integer::<TimestampSecondType>(column, row),
        DataType::Timestamp(TimeUnit::Millisecond, None) => integer::<TimestampMillisecondType>(column, row),
        DataType::Timestamp(TimeUnit::Nanosecond, None) => integer::<TimestampNanosecondType>(column, row),
        other => panic!("no column is a {other}"),
    }
}

/// The row of a JSON record, by other means; None where there is something wrong with it.
fn expected_row(payload: &[u8]) -> Option<Vec<Cell>> {
    let text = str::from_utf8(payload).ok()?;
    let record: Record = serde_json::from_str(text).ok()?;
    let mut row = vec![Cell::Null; FIELDS.len()];
    for (name, value) in record.0 {
        let value = value.get();
        match FIELDS.iter().position(|(known, _)| *known == name) {
            Some(column) => row[column] = expected_cell(FIELDS[column].1, value)?,
            None if value.starts_with('"') => drop(serde_json::from_str::<String>(value).ok()?),
            None => {}
        }
    }
    Some(row)
}

/// The row of a CSV record.
fn expected_line(line: &str) -> Option<Vec<Cell>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
    let record = reader.records().next()?.ok()?;
    let quoted_symbol = line.starts_with('"');
    let cells = record.iter().zip(FIELDS).map(|(text, (name, kind))| match text {
        "" if name != "symbol" || !quoted_symbol => Some(Cell::Null),
        text => expected_text(kind, text),
    });
    (record.len() == FIELDS.len()).then(|| cells.collect())?
}

fn expected_cell(kind: &str, json: &str) -> Option<Cell> {
    match json.as_bytes()[0] {
        b'n' => Some(Cell::Null),
        b't' | b'f' => (kind == "boolean").then_some(Cell::Boolean(json == "true")),
        b'"' => expected_text(kind, &serde_json::from_str::<String>(json).ok()?),
        b'{' | b'[' => None,
        _ => expected_number(kind, json),
    }
}

fn expected_text(kind: &str, text: &str) -> Option<Cell> {
    let integer = |value: i64| Some(Cell::Integer(value.into()));
    match kind {
        "text" => Some(Cell::Text(text.into())),
        "uuid" => Some(Cell::Text(uuid::Uuid::from_str(text).ok()?.to_string())),
        "boolean" => bool::from_str(&text.to_ascii_lowercase()).ok().map(Cell::Boolean),
        "date" if shaped(text, "0000-00-00") && text.len() == 10 => {
            let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
            integer(date.signed_duration_since(NaiveDate::default()).num_days())
        }
        "time_ms" if shaped(text, "00:00:00") => {
            let time = NaiveTime::parse_from_str(text, "%H:%M:%S%.f").ok()?;
            integer((i64::from(time.num_seconds_from_midnight()) * 1000) + i64::from(time.nanosecond() / 1_000_000))
        }
        "timestamp_s" | "timestamp_ms" | "timestamp_ns" if shaped(text, "0000-00-00 00:00:00") => {
            let text = text.replacen(['T', 't'], " ", 1);
            if text.matches(' ').count() > 1 || text.contains("::") {
                return None; // chrono takes more white space and more colons
            }
            let instant = DateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f%#z").map(|instant| instant.to_utc());
            let instant = instant.or_else(|_| {
                let text = text.strip_suffix(['Z', 'z']).unwrap_or(&text);
                NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").map(|instant| instant.and_utc())
            });
            match kind {
                "timestamp_s" => integer(instant.ok()?.timestamp()),
                "timestamp_ms" => integer(instant.ok()?.timestamp_millis()),
                _ => integer(instant.ok()?.timestamp_nanos_opt()?),
            }
        }
        _ => expected_number(kind, text),
    }
}

/// Whether a text begins like the pattern, which has zeros for digits; chrono does not insist on that.
fn shaped(text: &str, pattern: &str) -> bool {
    let alike = |(pattern, byte)| match pattern {
        b'0' => u8::is_ascii_digit(&byte),
        b' ' => byte != b'0',
        _ => byte == pattern,
    };
    text.len() >= pattern.len() && pattern.bytes().zip(text.bytes()).all(alike)
}

fn expected_number(kind: &str, text: &str) -> Option<Cell> {
    match kind {
        "double" => {
            text.parse().ok().filter(|value: &f64| value.is_finite()).map(|value| Cell::Double(value.to_bits()))
        }
        "float" => text.parse().ok().filter(|value: &f32| value.is_finite()).map(|value| Cell::Float(value.to_bits())),
        "decimal(18,8)" => scaled(text, 8, 18),
        "decimal(38,0)" => scaled(text, 0, 38),
        "int" | "date" => within(scaled(text, 0, 38)?, i32::MIN.into(), i32::MAX.into()),
        "time_ms" => within(scaled(text, 0, 38)?, 0, 86_399_999),
        "text" | "uuid" | "boolean" => None,
        _ => within(scaled(text, 0, 38)?, i64::MIN.into(), i64::MAX.into()),
    }
}

fn within(cell: Cell, least: i128, greatest: i128) -> Option<Cell> {
    matches!(cell, Cell::Integer(value) if (least..=greatest).contains(&value)).then_some(cell)
}

/// A decimal by bigdecimal, which would also take underscores and work through any exponent.
fn scaled(text: &str, scale: i64, precision: u32) -> Option<Cell> {
    let exponent = text.split_once(['e', 'E']).map_or(Ok(0), |(_, exponent)| exponent.parse::<i64>());
    let exponent = exponent.ok()?.clamp(-400, 400);
    let mantissa = text.split(['e', 'E']).next()?;
    if text.contains('_') || !mantissa.contains(|digit: char| digit.is_ascii_digit()) {
        return None;
    }
    let value = BigDecimal::from_str(&format!("{mantissa}e{exponent}")).ok()?;
    let rounded = value.with_scale(scale);
    let unscaled = rounded.as_bigint_and_exponent().0.to_i128()?;
    (rounded == value && unscaled.unsigned_abs() < 10u128.pow(precision)).then_some(Cell::Integer(unscaled))
}

/// The fields of a record, all of them and in order.
struct Record(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Record;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Record(fields))
    }
}

/// An xorshift generator, and the messages made from it.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// Mostly a record; else one that was damaged, or no record at all.
    fn message(&mut self) -> Vec<u8> {
        match self.below(20) {
            0 => Vec::new(),
            1 => (0..self.below(100)).map(|_| self.next() as u8).collect(),
            2 => self.pick(&HOSTILE).into(),
            3 => {
                let mut record = self.record().into_bytes();
                record.truncate(self.below(record.len()));
                record
            }
            4..8 => {
                let record = self.record().into_bytes();
                self.mutated(record)
            }
            _ => self.record().into_bytes(),
        }
    }

    /// Some bytes changed, inserted or left out.
    fn mutated(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1);
            let byte = if self.one_in(4) { self.next() as u8 } else { DAMAGE[self.below(DAMAGE.len())] };
            match self.below(3) {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    }

    /// A record, in one of four with a hostile value.
    fn record(&mut self) -> String {
        let space = self.pick(&["", "", "", " ", "\n\t "]);
        let first = self.below(FIELDS.len());
        let hostile = if self.one_in(4) { self.below(FIELDS.len()) } else { FIELDS.len() };
        let mut fields = Vec::new();
        for field in 0..FIELDS.len() {
            let (name, kind) = FIELDS[(field + first) % FIELDS.len()];
            let value = match self.below(12) {
                _ if field == hostile => self.pick(&HOSTILE).into(),
                0 => continue,
                1 => "null".into(),
                _ => self.value(kind),
            };
            fields.push(format!("{space}\"{name}\":{space}{value}{space}"));
            if self.one_in(30) {
                let name = self.pick(&["x", "", "Symbol", "a\\u0062", "symbol2"]);
                let value = self.pick(&["1", "\"a\\nb\"", "[{\"symbol\":[]}]", "{}", "null", "true", "1.5e3"]);
                fields.push(format!("\"{name}\":{value}"));
            }
            if self.one_in(100) {
                fields.extend(fields.last().cloned());
            }
        }
        format!("{space}{{{}}}{space}", fields.join(","))
    }

    /// A CSV record of the same values, quoted where it must be and sometimes where it need not be.
    fn line(&mut self) -> String {
        let mut fields = Vec::new();
        for (_, kind) in FIELDS {
            let value = if self.one_in(60) { self.pick(&HOSTILE).into() } else { self.value(kind) };
            let text = serde_json::from_str::<String>(&value).unwrap_or(value);
            let text = if self.one_in(8) { String::new() } else { text };
            let quoted = text.contains(['"', ',', '\n', '\r']) || self.one_in(5);
            fields.push(if quoted { format!("\"{}\"", text.replace('"', "\"\"")) } else { text });
        }
        fields.join(",")
    }

    /// A value that the column can hold, in one of its spellings, as JSON.
    fn value(&mut self, kind: &str) -> String {
        let value = match kind {
            "text" => return self.text(),
            "uuid" => {
                let uuid = uuid::Uuid::from_u64_pair(self.next(), self.next()).to_string();
                let uuid = if self.one_in(3) { uuid.to_uppercase() } else { uuid };
                return format!("\"{uuid}\"");
            }
            "boolean" => return self.pick(&["true", "false"]).into(),
            "int" => (self.next() as i32).to_string(),
            "bigint" => match self.below(3) {
                0 => (self.next() as i64).to_string(),
                1 => format!("{}.0", self.next() as i32),
                _ => self.below(10_000).to_string(),
            },
            "float" => (f32::from_bits(self.next() as u32 & 0xbf7f_ffff)).to_string(),
            "double" => self.double(),
            "decimal(18,8)" => format!("{}.{:08}", self.next() as i32, self.below(100_000_000)),
            "decimal(38,0)" => (i128::from(self.next() as i64) * 1_000_000_000_000_000_000).to_string(),
            "date" if self.one_in(3) => self.below(2_932_897).to_string(),
            "date" => return format!("\"{}\"", self.instant().date_naive()),
            "time_ms" if self.one_in(3) => self.below(86_400_000).to_string(),
            "time_ms" => return format!("\"{}\"", self.instant().format("%H:%M:%S%.f")),
            "timestamp_ns" => {
                let instant = DateTime::from_timestamp_nanos(self.next() as i64);
                return self.spelled(instant, instant.timestamp_nanos_opt().unwrap());
            }
            _ => {
                let instant = self.instant();
                let number = if kind == "timestamp_s" { instant.timestamp() } else { instant.timestamp_millis() };
                return self.spelled(instant, number);
            }
        };
        if self.one_in(3) { format!("\"{value}\"") } else { value }
    }

    fn double(&mut self) -> String {
        let any = f64::from_bits(self.next() & 0xbfef_ffff_ffff_ffff);
        match self.below(5) {
            0 => any.to_string(),
            1 => format!("{any:e}"),
            2 => format!("{}.{}", self.next() as i64, self.next()),
            3 => format!("-0.{:018}", self.below(1_000_000)),
            _ => format!("{}.{:04}", self.below(1000), self.below(10_000)),
        }
    }

    fn text(&mut self) -> String {
        let text: String = (0..self.below(12))
            .map(|_| match self.below(20) {
                0 => '"',
                1 => '\\',
                2 => '\n',
                3 => '\u{e9}',
                4 => '\u{1f680}',
                5 => ',',
                letter => char::from(b'A' + letter as u8),
            })
            .collect();
        serde_json::to_string(&text).unwrap()
    }

    /// Between 1970 and 9999.
    fn instant(&mut self) -> DateTime<chrono::Utc> {
        let millis = (self.next() >> 1) % 253_402_300_800_000;
        DateTime::from_timestamp_millis(millis as i64).unwrap()
    }

    fn spelled(&mut self, instant: DateTime<chrono::Utc>, number: i64) -> String {
        let offset = chrono::FixedOffset::east_opt((self.below(47) as i32 - 23) * 1800).unwrap();
        match self.below(6) {
            0 => format!("\"{number}\""),
            1 => format!("\"{}\"", instant.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
            2 => format!("\"{}\"", instant.format("%Y-%m-%d %H:%M:%S%.f")),
            3 => format!("\"{}\"", instant.with_timezone(&offset).format("%Y-%m-%d %H:%M:%S%.f%:z")),
            4 => format!("\"{}\"", instant.with_timezone(&offset).format("%Y-%m-%dT%H:%M:%S%.9f%:z")),
            _ => number.to_string(),
        }
    }
}
