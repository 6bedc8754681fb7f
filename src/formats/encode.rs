//! Rows out: JSON lines and CSV, times as RFC 3339 in UTC.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::json::writer::{LineDelimited, WriterBuilder};

use crate::error::{Error, Result};

const TIMESTAMP: &str = "%Y-%m-%dT%H:%M:%S%.fZ";

/// Writes every row as a JSON object and a line end; nulls are written.
pub fn write_json_lines(out: impl Write, data: &RecordBatch) -> Result<()> {
    let builder = WriterBuilder::new().with_explicit_nulls(true).with_timestamp_format(TIMESTAMP.to_string());
    let mut writer = builder.build::<_, LineDelimited>(out);
    writer.write(data)?;
    Ok(writer.finish()?)
}

/// Writes every row as a line of CSV, below a header where asked for.
pub fn write_csv(out: impl Write, data: &RecordBatch, header: bool) -> Result<()> {
    let builder = CsvBuilder::new().with_header(header).with_timestamp_format(TIMESTAMP.to_string());
    builder.build(out).write(data).map_err(Error::from)
}

/// One row as a JSON object.
pub fn json_line(data: &RecordBatch, row: usize) -> String {
    let mut line = Vec::new();
    match write_json_lines(&mut line, &data.slice(row, 1)) {
        Ok(()) => String::from_utf8_lossy(line.trim_ascii_end()).into_owned(),
        Err(error) => error.to_string(),
    }
}
