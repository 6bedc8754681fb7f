//! The columns of files: declared, or read from the first of them, and those that stand in their paths.

use std::path::Path;

use arrow::datatypes::{DataType, Field};

use super::splits::{self, Found};
use super::{Format, parquet, text};
use crate::error::Result;
use crate::formats::{ColumnType, CsvOptions, MessageField, MessageSchema, SchemaSpec};
use crate::sources::BUILT_IN;
use crate::spec::{At, Check, did_you_mean};

/// What a file source reads, as far as it has to be known before it is opened.
pub struct Columns {
    /// How the files are written.
    pub format: Format,
    /// How CSV is written.
    pub csv: CsvOptions,
    /// What stands in the files.
    pub messages: MessageSchema,
    /// What stands in their paths.
    pub partitions: Vec<String>,
}

/// What a dataflow file says about it.
pub struct Written<'a> {
    pub format: Option<Format>,
    pub schema: Option<&'a At<SchemaSpec>>,
    pub delimiter: Option<u8>,
    pub null: &'a str,
}

impl Columns {
    /// The columns of the files at `location`.
    pub fn of(location: &Path, written: &Written<'_>, check: &Check<'_>) -> Result<Columns, Option<String>> {
        let found = splits::find(location).map_err(|error| error.to_string())?;
        // An empty file tells nothing of its columns.
        let first = found.iter().find(|found| found.bytes > 0).or(found.first());
        let name = first.map_or(location, |found| &found.path).to_string_lossy();
        if first.is_none() && written.schema.is_none() {
            return Err(Some(format!("there is no file {}, and no `schema` either", location.display())));
        }
        let format = written.format.or_else(|| Format::of(&name));
        let format = format.ok_or_else(|| format!("write `format`: the name {name} does not tell it"))?;
        let usual = if name.ends_with(".tsv") { b'\t' } else { b',' };
        let csv =
            CsvOptions { delimiter: written.delimiter.unwrap_or(usual), null: written.null.to_string(), header: None };
        let mut messages = match (written.schema, first) {
            (Some(schema), found) => {
                let messages = schema.resolve(check).ok_or(None)?;
                found.into_iter().for_each(|found| warn_of_absent(&messages, found, format, &csv, schema, check));
                messages
            }
            (None, Some(first)) => infer(first, format, &csv)?,
            (None, None) => MessageSchema::default(),
        };
        let partitions = first.map(|found| found.partitions.iter().map(|(name, _)| name.clone()).collect());
        let partitions: Vec<String> = partitions.unwrap_or_default();
        // What tapeflow wrote itself holds `seq`: it is given anew. What stands in the path holds for all rows.
        let given = |name: &String| written.schema.is_none() && BUILT_IN.contains(&name.as_str());
        messages.fields.retain(|field| !given(&field.name) && !partitions.contains(&field.name));
        Ok(Columns { format, csv, messages, partitions })
    }

    /// All columns, those of the paths last.
    pub fn fields(&self) -> Vec<Field> {
        let mut fields = self.messages.arrow_fields();
        fields.extend(self.partitions.iter().map(|name| Field::new(name, DataType::Utf8, true)));
        fields
    }
}

/// A column that the first file lacks is null, which is seldom meant. Fields of JSON come and go.
fn warn_of_absent(
    messages: &MessageSchema,
    found: &Found,
    format: Format,
    csv: &CsvOptions,
    schema: &At<SchemaSpec>,
    check: &Check<'_>,
) {
    let Ok(there) = infer(found, format, csv) else { return };
    let names = || {
        there
            .fields
            .iter()
            .map(|field| field.name.as_str())
            .chain(found.partitions.iter().map(|(name, _)| name.as_str()))
    };
    let is_there = |field: &&MessageField| {
        names().any(|name| *name == field.name || field.aliases.iter().any(|alias| alias == name))
    };
    for field in messages.fields.iter().filter(|field| format != Format::Json && !is_there(field)) {
        let near = did_you_mean(&field.name, names());
        check.findings.warning(&schema.span, format!("{} has no column `{}`{near}", found.name, field.name));
    }
}

fn infer(found: &Found, format: Format, csv: &CsvOptions) -> Result<MessageSchema, String> {
    let named = |wrong: &dyn std::fmt::Display| format!("{}: {wrong}", found.name);
    let sample = || text::sample(&found.path).map_err(|error| error.to_string());
    match format {
        Format::Parquet => {
            let fields = parquet::schema(&found.path).map_err(|error| error.to_string())?;
            let of_ours = |field: &Field| {
                let kind = ColumnType::of(field);
                // What is no type of ours (lists, structs) is left out.
                kind.map(|kind| MessageField::new(field.name(), kind))
            };
            Ok(MessageSchema { fields: fields.iter().filter_map(of_ours).collect() })
        }
        Format::Json => crate::formats::infer_json(&sample()?).map_err(|wrong| named(&wrong)),
        Format::Csv => crate::formats::infer_csv(&sample()?, csv).map_err(|wrong| named(&wrong)),
    }
}
