//! What a message holds: its fields, in order.

use arrow::datatypes::Field;
use serde_json::Value;

use super::types::ColumnType;

/// The fields of a message.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MessageSchema {
    /// The fields, in the order of their columns.
    pub fields: Vec<MessageField>,
}

/// One field of a message, one column of its rows.
#[derive(Clone, PartialEq, Debug)]
pub struct MessageField {
    /// The name of the column, and of the field in the message.
    pub name: String,
    /// Other names the message may hold the field under.
    pub aliases: Vec<String>,
    /// Its type.
    pub kind: ColumnType,
    /// Whether it may be null; a nullable field without a default may also be missing.
    pub nullable: bool,
    /// What a missing field holds: null, a boolean, a number or a text that the column can read.
    pub default: Option<Value>,
}

impl MessageField {
    /// A field that may be null or missing, as all fields of a schema written in place.
    pub fn new(name: impl Into<String>, kind: ColumnType) -> Self {
        let name = name.into();
        MessageField { name, aliases: Vec::new(), kind, nullable: true, default: None }
    }
}

impl MessageSchema {
    /// The Arrow fields of the columns.
    pub fn arrow_fields(&self) -> Vec<Field> {
        self.fields.iter().map(|field| field.kind.field(&field.name, field.nullable)).collect()
    }
}
