//! The columns of a file without a schema, from its first lines.

use arrow::datatypes::TimeUnit;
use serde_json::{Map, Value};

use super::avsc::SchemaMistake;
use super::csv::{CsvOptions, csv_fields, csv_header, record_length};
use super::numbers::Number;
use super::schema::{MessageField, MessageSchema};
use super::times;
use super::types::ColumnType;

/// The columns of lines of JSON objects, from as many as the sample holds. A line that cannot be read, as
/// one cut off at the end of the sample, tells nothing; fields that hold objects or arrays are left out.
pub fn infer_json(sample: &[u8]) -> Result<MessageSchema, SchemaMistake> {
    let mut columns: Vec<(String, Guess)> = Vec::new();
    let mut mistake = None;
    for line in sample.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        match serde_json::from_slice::<Map<String, Value>>(line) {
            Ok(record) => record.iter().for_each(|(name, value)| add(&mut columns, name, value)),
            Err(error) => mistake = mistake.or(Some(error)),
        }
    }
    if let Some((name, _)) = columns.iter().find(|(_, guess)| *guess == Guess::Mixed) {
        let message = "holds numbers or booleans and also texts: write its type in a schema";
        return Err(SchemaMistake::new(format_args!("field {name:?} {message}")));
    }
    match mistake {
        Some(error) if columns.is_empty() => Err(SchemaMistake::new(format_args!("no line is a JSON object: {error}"))),
        None if columns.is_empty() => Err(SchemaMistake::new("the file is empty")),
        _ => Ok(schema(columns)),
    }
}

/// The columns of CSV with a header, from as many records as the sample holds. Columns without a name are
/// left out.
pub fn infer_csv(sample: &[u8], options: &CsvOptions) -> Result<MessageSchema, SchemaMistake> {
    let delimiter = options.delimiter;
    let (header, mut rest) = sample.split_at(record_length(sample, delimiter));
    if header.trim_ascii().is_empty() {
        return Err(SchemaMistake::new("the file is empty"));
    }
    let header = csv_header(header, delimiter).map_err(|wrong| SchemaMistake::new(wrong.reason))?;
    let mut columns: Vec<_> = header.into_iter().map(|name| (name, Guess::Unknown)).collect();
    let mut found = false;
    while !rest.is_empty() {
        let (record, after) = rest.split_at(record_length(rest, delimiter));
        // What stands behind the last line break may be cut off: it is only better than nothing.
        if record.ends_with(b"\n") || !found {
            add_record(&mut columns, record, options);
        }
        (rest, found) = (after, true);
    }
    columns.retain(|(name, _)| !name.is_empty());
    Ok(schema(columns))
}

fn add(columns: &mut Vec<(String, Guess)>, name: &str, value: &Value) {
    let guess = Guess::json(value);
    match columns.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => *known = known.with(guess),
        None => columns.push((name.into(), guess)),
    }
}

/// A record that cannot be read tells nothing; what is wrong with it is told when it is decoded.
fn add_record(columns: &mut [(String, Guess)], record: &[u8], options: &CsvOptions) {
    let texts = csv_fields(record, options.delimiter).unwrap_or_default();
    if texts.len() == columns.len() {
        let told = columns.iter_mut().zip(&texts).filter(|(_, text)| **text != options.null);
        for ((_, known), text) in told {
            *known = known.with(Guess::csv(text)).or_text();
        }
    }
}

fn schema(columns: Vec<(String, Guess)>) -> MessageSchema {
    let field = |(name, guess): (String, Guess)| Some(MessageField::new(name, guess.column()?));
    MessageSchema { fields: columns.into_iter().filter_map(field).collect() }
}

/// What the values of a column so far have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Guess {
    /// They were all null.
    Unknown,
    Boolean,
    Bigint,
    Double,
    Date,
    Timestamp,
    Text,
    /// Values that JSON keeps apart and no column can hold together.
    Mixed,
    /// Objects or arrays.
    Nested,
}

impl Guess {
    fn json(value: &Value) -> Self {
        match value {
            Value::Null => Guess::Unknown,
            Value::Bool(_) => Guess::Boolean,
            Value::Number(number) if number.is_i64() => Guess::Bigint,
            Value::Number(_) => Guess::Double,
            Value::String(text) => Guess::text(text),
            Value::Array(_) | Value::Object(_) => Guess::Nested,
        }
    }

    fn csv(text: &str) -> Self {
        let number = Number::from_text(text);
        if text.is_empty() {
            Guess::Unknown
        } else if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
            Guess::Boolean
        } else if !number.is_plain() {
            Guess::text(text)
        } else if text.contains(['.', 'e', 'E']) {
            number.double().map_or(Guess::Text, |_| Guess::Double)
        } else {
            number.integer().map_or(Guess::Text, |_| Guess::Bigint)
        }
    }

    fn text(text: &str) -> Self {
        if times::date(text).is_some() {
            Guess::Date
        } else if times::timestamp(text, TimeUnit::Nanosecond).is_some() {
            Guess::Timestamp
        } else {
            Guess::Text
        }
    }

    fn with(self, other: Guess) -> Guess {
        use Guess::{Bigint, Date, Double, Mixed, Nested, Text, Timestamp, Unknown};
        match (self, other) {
            (one, same) if one == same => one,
            (Nested, _) | (_, Nested) => Nested,
            (Unknown, known) | (known, Unknown) => known,
            (Bigint | Double, Bigint | Double) => Double,
            (Date | Timestamp | Text, Date | Timestamp | Text) => Text,
            _ => Mixed,
        }
    }

    /// In CSV everything is also text.
    fn or_text(self) -> Guess {
        if self == Guess::Mixed { Guess::Text } else { self }
    }

    fn column(self) -> Option<ColumnType> {
        match self {
            Guess::Boolean => Some(ColumnType::Boolean),
            Guess::Bigint => Some(ColumnType::Bigint),
            Guess::Double => Some(ColumnType::Double),
            Guess::Date => Some(ColumnType::Date),
            Guess::Timestamp => Some(ColumnType::Timestamp(TimeUnit::Nanosecond)),
            Guess::Unknown | Guess::Text | Guess::Mixed => Some(ColumnType::Text),
            Guess::Nested => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(schema: &MessageSchema) -> Vec<String> {
        schema.fields.iter().map(|field| format!("{} {}", field.name, field.kind)).collect()
    }

    #[test]
    fn csv_columns_are_guessed_from_their_texts() {
        let sample = b"\xef\xbb\xbfsymbol,at,price,volume,day,open,note\r\n\
            AAPL,2012-02-01 00:00:00+00:00,1.5,10,2012-02-01,true,\r\n\
            MSFT,2012-02-01T00:01:00.25Z,2,,2012-02-02,FALSE,\"a, \"\"b\"\"\nc\"\r\n";
        let expected = [
            "symbol text",
            "at timestamp_ns",
            "price double",
            "volume bigint",
            "day date",
            "open boolean",
            "note text",
        ];
        assert_eq!(types(&infer_csv(sample, &CsvOptions::default()).unwrap()), expected);
    }

    #[test]
    fn the_text_that_stands_for_null_tells_nothing() {
        let options = CsvOptions { null: "NA".into(), ..CsvOptions::default() };
        let schema = infer_csv(b"p,d,n\nNA,2024-01-01,NA\n1.5,NA,NA\n", &options).unwrap();
        assert_eq!(types(&schema), ["p double", "d date", "n text"]);
    }

    #[test]
    fn digits_that_are_no_number_stay_text() {
        let sample = b"code;id;both\n000001;123456789012345678901234567890;1\n600000;1;x\n";
        assert_eq!(
            types(&infer_csv(sample, &CsvOptions { delimiter: b';', ..CsvOptions::default() }).unwrap()),
            ["code text", "id text", "both text"]
        );
    }

    #[test]
    fn a_record_cut_off_tells_nothing_unless_it_is_the_only_one() {
        assert_eq!(types(&infer_csv(b"day\n2012-02-01\n2012-0", &CsvOptions::default()).unwrap()), ["day date"]);
        assert_eq!(types(&infer_csv(b"day\n2012-02-01", &CsvOptions::default()).unwrap()), ["day date"]);
    }

    #[test]
    fn columns_without_a_name_are_left_out_and_names_stand_once() {
        assert_eq!(types(&infer_csv(b",a,\n1,2,3\n", &CsvOptions::default()).unwrap()), ["a bigint"]);
        assert!(infer_csv(b"a,b,a\n", &CsvOptions::default()).is_err());
        assert!(infer_csv(b"", &CsvOptions::default()).is_err());
    }

    #[test]
    fn json_columns_stand_in_the_order_they_appear() {
        let sample = br#"{"s":"A","t":1700000000123,"p":1,"at":"2024-01-01T00:00:00Z","d":"2024-01-01"}

            {"s":null,"t":1,"p":1.5,"new":true,"c":[1],"at":"2024-01-01","d":null}
            {"s":"cut o"#;
        let expected = ["s text", "t bigint", "p double", "at text", "d date", "new boolean"];
        assert_eq!(types(&infer_json(sample).unwrap()), expected);
    }

    #[test]
    fn json_that_mixes_numbers_and_texts_needs_a_schema() {
        let mistake = infer_json(b"{\"p\":1}\n{\"p\":\"1\"}").unwrap_err();
        assert_eq!(mistake.message, "field \"p\" holds numbers or booleans and also texts: write its type in a schema");
    }

    #[test]
    fn a_file_without_records_says_what_it_holds() {
        assert_eq!(infer_json(b"\n").unwrap_err().message, "the file is empty");
        assert!(infer_json(b"a,b\n1,2\n").unwrap_err().message.starts_with("no line is a JSON object: "));
    }
}
