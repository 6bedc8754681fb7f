//! A file that is read as a whole, as it must be right as a whole: a table that rows are looked up in.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::Schema;

use super::{Batches, Format, parquet, splits};
use crate::formats::{
    ColumnType, CsvDecoder, CsvOptions, Decoder, JsonDecoder, JsonOptions, MessageField, MessageSchema, SchemaSpec,
    csv_header, infer_csv, infer_json, record_length,
};
use crate::spec::{At, Check, did_you_mean};

/// All rows of a file.
pub struct Whole {
    /// The rows.
    pub rows: RecordBatch,
    /// Where each of them stands: `line 7`.
    unit: &'static str,
    at: Vec<u64>,
}

/// A file, as it is named in a dataflow file.
pub struct WholeFile<'a> {
    /// Its path: .csv, .tsv, .json, .jsonl or .parquet.
    pub path: &'a At<String>,
    /// Its columns; read from it where they are not declared.
    pub schema: Option<&'a At<SchemaSpec>>,
    /// Columns that it must have, and their types whatever it seems to hold.
    pub needed: &'a [(At<String>, ColumnType)],
}

impl Whole {
    /// Where a row stands.
    pub fn place(&self, row: usize) -> String {
        format!("{} {}", self.unit, self.at[row])
    }
}

impl WholeFile<'_> {
    /// Reads it; what is wrong with it is noted where it is named, with the line. Text travels with the dataflow file,
    /// so that a replay finds what was there.
    pub fn read(&self, check: &Check<'_>) -> Option<Whole> {
        let declared = match self.schema {
            Some(schema) => Some(schema.value.resolve(check)?),
            None => None,
        };
        let read = || match Format::of(self.path).ok_or(": a table is a .csv, .tsv, .json, .jsonl or .parquet file")? {
            Format::Csv => self.csv(&check.files.text(self.path)?, declared),
            Format::Json => self.json(&check.files.text(self.path)?, declared),
            Format::Parquet => self.parquet(&check.files.path(self.path), declared),
        };
        let mistake = |message: String| {
            let message =
                if message.starts_with([':', ',']) { format!("{}{message}", self.path.value) } else { message };
            check.findings.mistake(&self.path.span, message);
        };
        read().map_err(mistake).ok()
    }

    /// The columns to be read, of all that the file has.
    fn columns(
        &self,
        declared: Option<MessageSchema>,
        inferred: impl FnOnce() -> Result<MessageSchema, String>,
    ) -> Result<MessageSchema, String> {
        let mut messages = declared.map_or_else(inferred, Ok)?;
        for (name, kind) in self.needed {
            match messages.fields.iter_mut().find(|field| field.name == name.value) {
                Some(field) => field.kind = *kind,
                None => return Err(missing(name, messages.fields.iter().map(|field| field.name.as_str()))),
            }
        }
        Ok(messages)
    }

    fn csv(&self, text: &str, declared: Option<MessageSchema>) -> Result<Whole, String> {
        let bytes = text.as_bytes();
        let delimiter = if self.path.ends_with(".tsv") { b'\t' } else { b',' };
        let mut options = CsvOptions { delimiter, ..CsvOptions::default() };
        let infer = || infer_csv(bytes, &options).map_err(|wrong| format!(": {wrong}"));
        let messages = self.columns(declared, infer)?;
        let (header, mut rest) = bytes.split_at(record_length(bytes, delimiter));
        let names = csv_header(header, delimiter).map_err(|wrong| format!(": {wrong}"))?;
        if let Some(field) = messages.fields.iter().find(|field| !names.contains(&field.name)) {
            return Err(missing(&field.name, names.iter().map(String::as_str)));
        }
        options.header = Some(names);
        let mut lines = Lines::of(CsvDecoder::new(&messages, None, options), header);
        while !rest.is_empty() {
            let (record, after) = rest.split_at(record_length(rest, delimiter));
            lines.take(record)?;
            rest = after;
        }
        lines.end()
    }

    fn json(&self, text: &str, declared: Option<MessageSchema>) -> Result<Whole, String> {
        let infer = || infer_json(text.as_bytes()).map_err(|wrong| format!(": {wrong}"));
        let messages = self.columns(declared, infer)?;
        let mut lines = Lines::of(JsonDecoder::new(&messages, None, JsonOptions::default()), b"");
        text.split_inclusive('\n').try_for_each(|line| lines.take(line.as_bytes()))?;
        lines.end()
    }

    fn parquet(&self, path: &Path, declared: Option<MessageSchema>) -> Result<Whole, String> {
        let broken = |error: &dyn std::fmt::Display| format!(": {error}");
        let there = parquet::schema(path).map_err(|error| error.to_string())?;
        let field = |field: &arrow::datatypes::Field| Some(MessageField::new(field.name(), ColumnType::of(field)?));
        let infer = || Ok(MessageSchema { fields: there.iter().filter_map(field).collect() });
        let messages = self.columns(declared, infer)?;
        if let Some(lacking) = messages.fields.iter().find(|field| !there.iter().any(|it| *it.name() == field.name)) {
            return Err(missing(&lacking.name, there.iter().map(|field| field.name().as_str())));
        }
        let mut batches = Vec::new();
        for found in splits::find(path).map_err(|error| error.to_string())? {
            let groups = parquet::row_groups(&found.path).map_err(|error| broken(&error))?;
            for group in 0..groups.len() {
                let mut rows = parquet::open(&found, group, 0, &messages).map_err(|error| broken(&error))?;
                let mut bad = Vec::new();
                while let Some((data, _)) = rows.next(&mut bad).map_err(|error| broken(&error))? {
                    batches.push(data);
                }
                if let Some(bad) = bad.first() {
                    return Err(format!(", row {} of a row group: {}", bad.offset + 1, bad.reason));
                }
            }
        }
        let schema = Arc::new(Schema::new(messages.arrow_fields()));
        let rows = concat_batches(&schema, &batches).map_err(|error| broken(&error))?;
        let at = (1..=rows.num_rows() as u64).collect();
        Ok(Whole { rows, unit: "row", at })
    }
}

fn missing<'n>(name: &str, there: impl Iterator<Item = &'n str>) -> String {
    format!(": there is no column `{name}`{}", did_you_mean(name, there))
}

/// Records of text, and the lines that they begin in.
struct Lines<D> {
    decoder: D,
    line: u64,
    at: Vec<u64>,
}

impl<D: Decoder> Lines<D> {
    fn of(decoder: D, header: &[u8]) -> Self {
        Lines { decoder, line: 1 + breaks(header), at: Vec::new() }
    }

    fn take(&mut self, record: &[u8]) -> Result<(), String> {
        if !record.trim_ascii().is_empty() {
            let rows = self.decoder.decode(None, record);
            let rows = rows.map_err(|undecodable| format!(", line {}: {undecodable}", self.line))?;
            self.at.extend(std::iter::repeat_n(self.line, rows));
        }
        self.line += breaks(record);
        Ok(())
    }

    fn end(mut self) -> Result<Whole, String> {
        let rows = self.decoder.finish().map_err(|error| format!(": {error}"))?;
        Ok(Whole { rows, unit: "line", at: self.at })
    }
}

fn breaks(record: &[u8]) -> u64 {
    record.iter().filter(|byte| **byte == b'\n').count() as u64
}
