//! `schema` in a dataflow file: an `.avsc` file, or a table of columns and types.

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use super::{ColumnType, MessageField, MessageSchema};
use crate::spec::{At, Check, Findings, FromToml, Named, did_you_mean, expected};

/// A schema, as written.
#[derive(Clone, Debug)]
pub enum SchemaSpec {
    /// The path of an Avro schema.
    Avsc(At<String>),
    /// Columns and their types, all of which may be null.
    InPlace(Vec<(At<String>, At<String>)>),
}

impl Default for SchemaSpec {
    fn default() -> Self {
        SchemaSpec::InPlace(Vec::new())
    }
}

impl FromToml for SchemaSpec {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(_) => {
                String::from_toml(value, findings).map(|path| SchemaSpec::Avsc(At::new(path, value.span())))
            }
            DeValue::Table(_) => Named::from_toml(value, findings).map(|named| SchemaSpec::InPlace(named.0)),
            _ => expected(value, findings, "the path of an .avsc file or a table of columns and types"),
        }
    }
    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "string" }, { "type": "object", "additionalProperties": { "type": "string" } }] })
    }
}

impl SchemaSpec {
    /// What it declares; mistakes go to the findings.
    pub fn resolve(&self, check: &Check<'_>) -> Option<MessageSchema> {
        match self {
            SchemaSpec::Avsc(path) => {
                let read = check.files.text(path).and_then(|text| {
                    MessageSchema::from_avsc(&text).map_err(|mistake| format!("{}: {mistake}", path.value))
                });
                read.map_err(|message| check.findings.mistake(&path.span, message)).ok()
            }
            SchemaSpec::InPlace(columns) => {
                let fields: Vec<Option<MessageField>> =
                    columns.iter().map(|(name, kind)| in_place(name, kind, check.findings)).collect();
                fields.into_iter().collect::<Option<_>>().map(|fields| MessageSchema { fields })
            }
        }
    }
}

fn in_place(name: &At<String>, kind: &At<String>, findings: &Findings) -> Option<MessageField> {
    match kind.parse::<ColumnType>() {
        Ok(read) => Some(MessageField::new(name.value.clone(), read)),
        Err(_) => {
            let near = did_you_mean(kind, ColumnType::NAMES.iter().copied());
            findings.mistake(&kind.span, format!("there is no type `{}`{near}", kind.value));
            None
        }
    }
}
