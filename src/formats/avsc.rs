//! Avro schema files: a record of plain fields, each of which becomes a column.

use std::collections::{HashMap, HashSet};
use std::fmt;

use arrow::datatypes::TimeUnit;
use serde_json::{Map, Value};

use super::columns;
use super::numbers::Number;
use super::schema::{MessageField, MessageSchema};
use super::types::{ColumnType, MAX_PRECISION};

/// Why a schema cannot be read, or inferred.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SchemaMistake {
    /// What is wrong.
    pub message: String,
    /// The line and column, from 1, where that is known.
    pub at: Option<(usize, usize)>,
}

impl SchemaMistake {
    pub(super) fn new(message: impl fmt::Display) -> Self {
        SchemaMistake { message: message.to_string(), at: None }
    }

    /// A mistake in a field, told where the name of the field first stands in the file.
    fn in_field(name: &str, message: impl fmt::Display, text: &str) -> Self {
        let at = text.find(&Value::from(name).to_string()).and_then(|at| text.get(..at));
        SchemaMistake {
            message: format!("field {name:?}: {message}"),
            at: at.map(|before| {
                let line = before.rsplit('\n').next().unwrap_or_default();
                (before.matches('\n').count() + 1, line.chars().count() + 1)
            }),
        }
    }
}

impl fmt::Display for SchemaMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.at {
            write!(f, "{line}:{column}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for SchemaMistake {}

impl From<serde_json::Error> for SchemaMistake {
    fn from(error: serde_json::Error) -> Self {
        let message = format!("not JSON: {error}");
        SchemaMistake { message, at: Some((error.line(), error.column())) }
    }
}

impl MessageSchema {
    /// Reads an Avro schema: a record, or an array of records, whose fields are primitive, logical or enum
    /// types, or unions of one of these with null.
    pub fn from_avsc(text: &str) -> Result<MessageSchema, SchemaMistake> {
        let root: Value = serde_json::from_str(text)?;
        let record = match type_name(&root) {
            Some("array") => root.get("items").unwrap_or(&root),
            _ => &root,
        };
        let fields = record.get("fields").and_then(Value::as_array);
        let (Some("record"), Some(fields)) = (type_name(record), fields) else {
            return Err(SchemaMistake::new("a message is described by a record with fields"));
        };
        let mut reader = Reader { text, named: HashMap::new(), taken: HashSet::new() };
        let fields = fields.iter().map(|field| reader.field(field)).collect::<Result<_, _>>()?;
        Ok(MessageSchema { fields })
    }
}

/// Reads the fields one after another.
struct Reader<'a> {
    text: &'a str,
    /// The types that fields named, for fields after them.
    named: HashMap<String, ColumnType>,
    /// The names and aliases of the fields so far.
    taken: HashSet<String>,
}

impl Reader<'_> {
    fn field(&mut self, json: &Value) -> Result<MessageField, SchemaMistake> {
        let Some(name) = json.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()) else {
            return Err(SchemaMistake::new(format_args!("a field has no name: {json}")));
        };
        let text = self.text;
        let mistake = |message: String| SchemaMistake::in_field(name, message, text);
        let (kind, nullable) = match json.get("type") {
            Some(json) => self.column(json).map_err(mistake)?,
            None => return Err(mistake("has no type".into())),
        };
        let mut field = MessageField { aliases: aliases(json), nullable, ..MessageField::new(name, kind) };
        for name in std::iter::once(&field.name).chain(&field.aliases) {
            if !self.taken.insert(name.clone()) {
                return Err(mistake(format!("{name:?} names two fields")));
            }
        }
        field.default = default(json, kind, nullable).map_err(mistake)?;
        columns::check_default(&field).map_err(|wrong| mistake(format!("its default: {wrong}")))?;
        Ok(field)
    }

    /// A type, and whether it may be null.
    fn column(&mut self, json: &Value) -> Result<(ColumnType, bool), String> {
        let Value::Array(union) = json else { return Ok((self.kind(json)?, false)) };
        let mut others = union.iter().filter(|json| type_name(json) != Some("null"));
        match (others.next(), others.next()) {
            (Some(json), None) => Ok((self.kind(json)?, union.len() > 1)),
            _ => Err("only a union of null and one other type can be a column".into()),
        }
    }

    fn kind(&mut self, json: &Value) -> Result<ColumnType, String> {
        let kind = match json {
            Value::String(name) => return self.by_name(name),
            Value::Object(json) => match json.get("type") {
                Some(Value::String(base)) => self.described(json, base)?,
                // {"type": {"type": "long", ...}}
                Some(inner @ Value::Object(_)) => self.kind(inner)?,
                _ => return Err("its type is not understood".into()),
            },
            _ => return Err("its type is not understood".into()),
        };
        if let Some(name) = json.get("name").and_then(Value::as_str) {
            self.named.insert(simple_name(name).into(), kind);
        }
        Ok(kind)
    }

    fn by_name(&self, name: &str) -> Result<ColumnType, String> {
        match name {
            "string" => Ok(ColumnType::Text),
            "boolean" => Ok(ColumnType::Boolean),
            "int" => Ok(ColumnType::Int),
            "long" => Ok(ColumnType::Bigint),
            "float" => Ok(ColumnType::Float),
            "double" => Ok(ColumnType::Double),
            "bytes" | "fixed" => Err(format!("{name} can only be a column as a decimal")),
            "record" => Err("a record inside the record cannot be a column: name its fields in the outer record, or read it with `array`".into()),
            "array" | "map" => Err(format!("{} {name} cannot be a column", if name == "array" { "an" } else { "a" })),
            "null" => Err("null alone cannot be a column".into()),
            _ => match self.named.get(simple_name(name)) {
                Some(kind) => Ok(*kind),
                None => Err(format!("{name:?} is no type")),
            },
        }
    }

    /// A type with attributes.
    fn described(&self, json: &Map<String, Value>, base: &str) -> Result<ColumnType, String> {
        match json.get("logicalType").and_then(Value::as_str) {
            Some("decimal") if matches!(base, "bytes" | "fixed") => decimal(json),
            Some("uuid") if matches!(base, "string" | "fixed") => Ok(ColumnType::Uuid),
            Some(name) => match logical(name) {
                Some((wanted, kind)) if wanted == base => Ok(kind),
                Some((wanted, _)) => Err(format!("{name} describes the type {wanted}, not {base}")),
                // The Avro specification has unknown logical types ignored.
                None => self.by_name(base),
            },
            None if base == "enum" => Ok(ColumnType::Text),
            None => self.by_name(base),
        }
    }
}

/// The type that a logical type describes, and the column it makes of it.
fn logical(name: &str) -> Option<(&'static str, ColumnType)> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond};
    Some(match name {
        "date" => ("int", ColumnType::Date),
        "time-millis" => ("int", ColumnType::Time(Millisecond)),
        "time-micros" => ("long", ColumnType::Time(Microsecond)),
        "timestamp-millis" | "local-timestamp-millis" => ("long", ColumnType::Timestamp(Millisecond)),
        "timestamp-micros" | "local-timestamp-micros" => ("long", ColumnType::Timestamp(Microsecond)),
        "timestamp-nanos" | "local-timestamp-nanos" => ("long", ColumnType::Timestamp(Nanosecond)),
        _ => return None,
    })
}

fn decimal(json: &Map<String, Value>) -> Result<ColumnType, String> {
    let number = |name| match json.get(name) {
        Some(value) => value.as_u64(),
        None => Some(0),
    };
    match (number("precision"), number("scale")) {
        (Some(precision @ 1..), Some(scale)) if precision <= MAX_PRECISION.into() && scale <= precision => {
            Ok(ColumnType::Decimal { precision: precision as u8, scale: scale as i8 })
        }
        _ => Err(format!("a decimal has a precision of 1 to {MAX_PRECISION} and a scale of 0 to that")),
    }
}

/// What stands for the field where it is missing.
fn default(json: &Value, kind: ColumnType, nullable: bool) -> Result<Option<Value>, String> {
    match (json.get("default"), kind) {
        (Some(Value::Null), _) if nullable => Ok(None),
        (Some(Value::String(text)), ColumnType::Decimal { scale, .. }) => decimal_default(text, scale).map(Some),
        (default, _) => Ok(default.cloned()),
    }
}

/// Avro writes the default of a decimal as the bytes of its unscaled value, a character for each.
fn decimal_default(text: &str, scale: i8) -> Result<Value, String> {
    let bytes = text.chars().map(u8::try_from).collect::<Result<Vec<u8>, _>>().unwrap_or_default();
    let digits = Number::from_text(text).decimal(MAX_PRECISION, scale).is_some();
    if digits || bytes.is_empty() || bytes.len() > size_of::<i128>() {
        return Err(
            r#"the default of a decimal is written as the bytes of its unscaled value, such as "\u0000" for 0"#.into(),
        );
    }
    let sign = if bytes[0] < 0x80 { 0 } else { -1 };
    let unscaled = bytes.iter().fold(sign, |value: i128, byte| value << 8 | i128::from(*byte));
    Ok(format!("{unscaled}e-{scale}").into())
}

fn aliases(json: &Value) -> Vec<String> {
    let aliases = json.get("aliases").and_then(Value::as_array);
    aliases.into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
}

fn type_name(json: &Value) -> Option<&str> {
    json.as_str().or_else(|| json.get("type")?.as_str())
}

/// A name without its namespace.
fn simple_name(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The schema of a record with these fields, each told as its column and how it may be missing.
    fn fields(json: &str) -> Result<Vec<String>, SchemaMistake> {
        let schema = MessageSchema::from_avsc(&format!(r#"{{"type":"record","name":"r","fields":[{json}]}}"#))?;
        let describe = |field: MessageField| {
            let null = if field.nullable { " or null" } else { "" };
            let default = field.default.map(|default| format!(", by default {default}")).unwrap_or_default();
            format!("{} {}{null}{default}", field.name, field.kind)
        };
        Ok(schema.fields.into_iter().map(describe).collect())
    }

    fn one(kind: &str) -> Result<Vec<String>, SchemaMistake> {
        fields(&format!(r#"{{"name":"x","type":{kind}}}"#))
    }

    #[test]
    fn every_type_that_can_be_a_column_becomes_one() {
        for (kind, expected) in [
            (r#""string""#, "text"),
            (r#""boolean""#, "boolean"),
            (r#""int""#, "int"),
            (r#""long""#, "bigint"),
            (r#""float""#, "float"),
            (r#""double""#, "double"),
            (r#"{"type":"string"}"#, "text"),
            (r#"{"type":{"type":"long","logicalType":"timestamp-micros"}}"#, "timestamp_us"),
            (r#"{"type":"bytes","logicalType":"decimal","precision":18,"scale":8}"#, "decimal(18,8)"),
            (r#"{"type":"fixed","name":"f","size":8,"logicalType":"decimal","precision":18}"#, "decimal(18,0)"),
            (r#"{"type":"int","logicalType":"date"}"#, "date"),
            (r#"{"type":"int","logicalType":"time-millis"}"#, "time_ms"),
            (r#"{"type":"long","logicalType":"time-micros"}"#, "time_us"),
            (r#"{"type":"long","logicalType":"timestamp-millis"}"#, "timestamp_ms"),
            (r#"{"type":"long","logicalType":"timestamp-nanos"}"#, "timestamp_ns"),
            (r#"{"type":"long","logicalType":"local-timestamp-millis"}"#, "timestamp_ms"),
            (r#"{"type":"string","logicalType":"uuid"}"#, "uuid"),
            (r#"{"type":"long","logicalType":"made-up"}"#, "bigint"),
            (r#"{"type":"enum","name":"side","symbols":["buy","sell"]}"#, "text"),
            (r#"["null","double"]"#, "double or null"),
            (r#"["double","null"]"#, "double or null"),
            (r#"["double"]"#, "double"),
        ] {
            assert_eq!(one(kind), Ok(vec![format!("x {expected}")]), "{kind}");
        }
    }

    #[test]
    fn what_cannot_be_a_column_is_refused_by_name() {
        for (kind, expected) in [
            (r#""bytes""#, "bytes can only be a column as a decimal"),
            (r#"{"type":"fixed","name":"f","size":2}"#, "fixed can only be a column as a decimal"),
            (r#"{"type":"array","items":"long"}"#, "an array cannot be a column"),
            (r#"{"type":"map","values":"long"}"#, "a map cannot be a column"),
            (r#"{"type":"record","name":"inner","fields":[]}"#, "a record inside the record cannot be a column"),
            (r#""null""#, "null alone cannot be a column"),
            (r#"["null"]"#, "only a union of null and one other type can be a column"),
            (r#"["null","int","string"]"#, "only a union of null and one other type can be a column"),
            (r#""strnig""#, "\"strnig\" is no type"),
            (r#"{"type":"int","logicalType":"timestamp-millis"}"#, "timestamp-millis describes the type long, not int"),
            (r#"{"type":"bytes","logicalType":"decimal","precision":39}"#, "a decimal has a precision of 1 to 38"),
            (
                r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":5}"#,
                "a decimal has a precision of 1 to 38",
            ),
            (r#"{"type":"bytes","logicalType":"decimal"}"#, "a decimal has a precision of 1 to 38"),
            ("7", "its type is not understood"),
            ("{}", "its type is not understood"),
        ] {
            let mistake = one(kind).unwrap_err();
            assert!(mistake.message.starts_with(&format!("field \"x\": {expected}")), "{kind}: {mistake}");
        }
    }

    #[test]
    fn a_type_named_once_can_be_used_again() {
        let side = r#"{"name":"a","type":{"type":"enum","name":"org.side","symbols":["buy"]}}"#;
        assert_eq!(
            fields(&format!(r#"{side},{{"name":"b","type":["null","org.side"]}}"#)).unwrap(),
            ["a text", "b text or null"]
        );
    }

    #[test]
    fn a_default_is_one_the_column_can_hold() {
        let field = |kind: &str, default: &str| fields(&format!(r#"{{"name":"x","type":{kind},"default":{default}}}"#));
        assert_eq!(field(r#""double""#, "1.5").unwrap(), ["x double, by default 1.5"]);
        assert_eq!(field(r#"["null","double"]"#, "null").unwrap(), ["x double or null"]);
        assert_eq!(
            field(r#""double""#, "null").unwrap_err().message,
            "field \"x\": its default: x: null is not a double"
        );
        assert!(field(r#""double""#, "{}").is_err());
    }

    #[test]
    fn the_default_of_a_decimal_is_the_bytes_of_its_digits() {
        let decimal = |default: &str| {
            let kind = r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#;
            fields(&format!(r#"{{"name":"x","type":{kind},"default":"{default}"}}"#))
        };
        assert_eq!(decimal(r"\u0000").unwrap(), [r#"x decimal(9,2), by default "0e-2""#]);
        assert_eq!(decimal(r"\u00ff\u0085").unwrap(), [r#"x decimal(9,2), by default "-123e-2""#]);
        for wrong in ["0.00", "", r"\u0100", r"\u007f\u0000\u0000\u0000\u0000"] {
            assert!(decimal(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn names_and_aliases_stand_for_one_field() {
        let open = r#"{"name":"open","type":"double","aliases":["1. open","o"]}"#;
        let schema = MessageSchema::from_avsc(&format!(r#"{{"type":"record","name":"r","fields":[{open}]}}"#)).unwrap();
        assert_eq!(schema.fields[0].aliases, ["1. open", "o"]);
        let mistake = fields(&format!(r#"{open},{{"name":"o","type":"int"}}"#)).unwrap_err();
        assert_eq!(mistake.message, "field \"o\": \"o\" names two fields");
    }

    #[test]
    fn an_array_of_records_describes_its_records() {
        let text = r#"{"type":"array","items":{"type":"record","name":"r","fields":[{"name":"x","type":"int"}]}}"#;
        assert_eq!(MessageSchema::from_avsc(text).unwrap().fields.len(), 1);
    }

    #[test]
    fn a_mistake_tells_where_it_is() {
        let text = "{\"type\": \"record\", \"name\": \"r\", \"fields\": [\n  {\"name\": \"x\", \"type\": \"money\"}]}";
        let mistake = MessageSchema::from_avsc(text).unwrap_err();
        assert_eq!(mistake.to_string(), "2:12: field \"x\": \"money\" is no type");
        assert_eq!(MessageSchema::from_avsc("{").unwrap_err().at, Some((1, 1)));
        for wrong in ["{}", "[]", "7", "\"string\"", r#"{"type":"record","name":"r"}"#] {
            let mistake = MessageSchema::from_avsc(wrong).unwrap_err();
            assert_eq!(mistake.message, "a message is described by a record with fields", "{wrong}");
        }
        assert!(fields("7").unwrap_err().message.starts_with("a field has no name"));
    }

    #[test]
    fn names_of_any_kind_do_no_harm() {
        let text = r#"{"type":"record","name":"1 r","aliases":["2 x"],"fields":[{"name":"é x","type":{"type":"enum","name":"","symbols":[]}}]}"#;
        assert_eq!(MessageSchema::from_avsc(text).unwrap().fields[0].name, "é x");
    }
}
