//! The rows of a file as JSON texts, every value as it stands in the file.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::formats::{ColumnType, CsvOptions, infer_csv, write_json_lines};

/// How much of a CSV file is looked at to tell texts from numbers.
const SAMPLE: u64 = 1 << 20;

/// Rows as JSON objects, in the order of the file.
pub type Records = Box<dyn Iterator<Item = Result<String>>>;

/// Opens a file; its name tells the format.
pub fn open(path: &Path) -> Result<Records> {
    let cannot = |error: &dyn std::fmt::Display| Error::connect(format!("{}: {error}", path.display()));
    let open = || File::open(path).map_err(|error| cannot(&error));
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json" | "jsonl" | "ndjson") => Ok(lines(open()?, path)),
        Some("csv") => csv(open()?, path, b','),
        Some("tsv") => csv(open()?, path, b'\t'),
        Some("parquet" | "pq") => {
            let reader = ParquetRecordBatchReaderBuilder::try_new(open()?).and_then(|builder| builder.build());
            Ok(rows(reader.map_err(|error| cannot(&error))?))
        }
        _ => Err(Error::Usage(format!("{}: not a .csv, .tsv, .jsonl or .parquet file", path.display()))),
    }
}

/// A field of a record, as text: a JSON text without its quotes, all else as it is written.
pub fn field(record: &str, name: &str) -> Result<Option<String>> {
    let fields: std::collections::HashMap<String, &RawValue> =
        serde_json::from_str(record).map_err(|error| Error::run(format!("not a JSON object: {error}: {record}")))?;
    let Some(value) = fields.get(name).map(|value| value.get()) else { return Ok(None) };
    match serde_json::from_str::<Value>(value) {
        Ok(Value::Null) => Ok(None),
        Ok(Value::String(text)) => Ok(Some(text)),
        _ => Ok(Some(value.to_string())),
    }
}

fn lines(file: File, path: &Path) -> Records {
    let path = path.to_path_buf();
    let lines = BufReader::new(file).lines().enumerate();
    Box::new(lines.filter_map(move |(number, line)| match line {
        Ok(line) if line.trim().is_empty() => None,
        Ok(line) => Some(Ok(line)),
        Err(error) => Some(Err(Error::run(format!("{}:{}: {error}", path.display(), number + 1)))),
    }))
}

fn csv(file: File, path: &Path, delimiter: u8) -> Result<Records> {
    let cannot = |error: &dyn std::fmt::Display| Error::run(format!("{}: {error}", path.display()));
    let mut sample = Vec::new();
    file.take(SAMPLE).read_to_end(&mut sample).map_err(|error| cannot(&error))?;
    let options = CsvOptions { delimiter, ..CsvOptions::default() };
    let schema = infer_csv(&sample, &options).map_err(|mistake| cannot(&mistake))?;
    let columns: Vec<(String, bool)> =
        schema.fields.into_iter().map(|field| (field.name, is_written_bare(field.kind))).collect();
    let reader = ::csv::ReaderBuilder::new().delimiter(delimiter).from_path(path).map_err(|error| cannot(&error))?;
    let path = path.to_path_buf();
    Ok(Box::new(reader.into_records().map(move |record| {
        let record = record.map_err(|error| Error::run(format!("{}: {error}", path.display())))?;
        Ok(object(columns.iter().zip(record.iter())))
    })))
}

/// Numbers and booleans need no quotes.
fn is_written_bare(kind: ColumnType) -> bool {
    use ColumnType::{Bigint, Boolean, Decimal, Double, Float, Int};
    matches!(kind, Bigint | Boolean | Decimal { .. } | Double | Float | Int)
}

fn object<'a>(fields: impl Iterator<Item = (&'a (String, bool), &'a str)>) -> String {
    let mut out = "{".to_string();
    for ((name, bare), text) in fields {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&Value::from(name.as_str()).to_string());
        out.push(':');
        match text {
            "" => out.push_str("null"),
            text if *bare && is_json(text) => out.push_str(text),
            text => out.push_str(&Value::from(text).to_string()),
        }
    }
    out.push('}');
    out
}

/// Whether it is a number or a boolean as JSON writes them (`007` is not).
fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok_and(|value| value.get() == text)
}

fn rows(reader: ParquetRecordBatchReader) -> Records {
    let batches = reader.map(|batch| json(&batch?));
    Box::new(batches.flat_map(|lines| match lines {
        Ok(lines) => lines.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    }))
}

fn json(batch: &RecordBatch) -> Result<Vec<String>> {
    let mut text = Vec::new();
    write_json_lines(&mut text, batch)?;
    Ok(String::from_utf8_lossy(&text).lines().map(str::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_as_they_are_written() {
        let columns = [("price", true), ("code", true), ("name \"x\"", false), ("n", true)];
        let columns = columns.map(|(name, bare)| (name.to_string(), bare));
        let made = object(columns.iter().zip(["105433.60000", "007", "1\"2", ""]));
        assert_eq!(made, r#"{"price":105433.60000,"code":"007","name \"x\"":"1\"2","n":null}"#);
        assert_eq!(field(&made, "price").expect("reads").as_deref(), Some("105433.60000"));
        assert_eq!(field(&made, "name \"x\"").expect("reads").as_deref(), Some("1\"2"));
        assert_eq!(field(&made, "n").expect("reads"), None);
        assert_eq!(field(&made, "none").expect("reads"), None);
        assert!(field("[1]", "price").is_err());
    }
}
