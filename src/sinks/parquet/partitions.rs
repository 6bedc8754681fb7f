//! Which folder below that of the sink rows go to: `date=2026-01-31/hour=09/`, as Hive names them.

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, TimestampNanosecondType};
use chrono::{DateTime, Utc};

use crate::error::Result;
use crate::sources::TIME;
use crate::spec::{At, Edge, Findings, did_you_mean};

/// What stands for a null.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// A part of the name of a folder.
#[derive(Clone, Debug)]
enum Level {
    /// The day of event time, UTC: of the column at this position.
    Date(usize),
    /// Its hour.
    Hour(usize),
    /// The value of a column.
    Column(String, usize),
}

/// `partition_by`, typed.
#[derive(Clone, Debug, Default)]
pub struct Partitions {
    levels: Vec<Level>,
}

impl Partitions {
    /// Of rows of `input`: `date` and `hour` are those of event time, unless there are columns named so.
    pub fn plan(names: &[At<String>], input: &Edge, findings: &Findings) -> Option<Partitions> {
        let level = |name: &At<String>| match (name.as_str(), input.position(name), input.position(TIME)) {
            (_, Some(at), _) => Some(Level::Column(name.value.clone(), at)),
            ("date", None, Some(time)) => Some(Level::Date(time)),
            ("hour", None, Some(time)) => Some(Level::Hour(time)),
            _ => {
                let near = did_you_mean(name, input.schema.fields().iter().map(|field| field.name().as_str()));
                let message =
                    format!("there is no column `{}`{near}; `date` and `hour` are those of event time", name.value);
                findings.mistake(&name.span, message);
                None
            }
        };
        let levels: Vec<Option<Level>> = names.iter().map(level).collect();
        levels.into_iter().collect::<Option<Vec<Level>>>().map(|levels| Partitions { levels })
    }

    /// Rows by their folder, which ends in a stroke unless it is that of the sink itself; in the order of their first rows.
    pub fn part(&self, rows: &RecordBatch) -> Result<Vec<(String, UInt32Array)>> {
        let mut folders = vec![String::new(); rows.num_rows()];
        for level in &self.levels {
            level.append(rows, &mut folders)?;
        }
        let mut parts: Vec<(String, Vec<u32>)> = Vec::new();
        for (row, folder) in folders.into_iter().enumerate() {
            // Rows of a folder nearly always follow one another.
            match parts.iter_mut().rev().find(|(other, _)| *other == folder) {
                Some((_, rows)) => rows.push(row as u32),
                None => parts.push((folder, vec![row as u32])),
            }
        }
        Ok(parts.into_iter().map(|(folder, rows)| (folder, UInt32Array::from(rows))).collect())
    }
}

/// Some rows of a batch.
pub fn some_of(data: &RecordBatch, rows: &UInt32Array) -> Result<RecordBatch> {
    if rows.len() == data.num_rows() { Ok(data.clone()) } else { Ok(take_record_batch(data, rows)?) }
}

impl Level {
    fn append(&self, rows: &RecordBatch, folders: &mut [String]) -> Result<()> {
        let instants = |at: usize| rows.column(at).as_primitive::<TimestampNanosecondType>().values();
        match self {
            Level::Date(at) => {
                let dates = instants(*at).iter().map(|time| DateTime::<Utc>::from_timestamp_nanos(*time));
                folders
                    .iter_mut()
                    .zip(dates)
                    .for_each(|(folder, date)| *folder += &format!("date={}/", date.format("%F")));
            }
            Level::Hour(at) => {
                let hours = instants(*at).iter().map(|time| DateTime::<Utc>::from_timestamp_nanos(*time));
                folders
                    .iter_mut()
                    .zip(hours)
                    .for_each(|(folder, hour)| *folder += &format!("hour={}/", hour.format("%H")));
            }
            Level::Column(name, at) => {
                let texts = cast(rows.column(*at), &DataType::Utf8)?;
                let texts = texts.as_string::<i32>();
                for (row, folder) in folders.iter_mut().enumerate() {
                    let value = if texts.is_null(row) { NULL.to_string() } else { escaped(texts.value(row)) };
                    *folder += &format!("{name}={value}/");
                }
            }
        }
        Ok(())
    }
}

/// With everything that names of files cannot hold, or that others read otherwise, as `%` and its code.
fn escaped(value: &str) -> String {
    if value.is_empty() {
        return NULL.to_string();
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_. ".contains(&byte) || byte >= 0x80;
    let mut escaped = Vec::with_capacity(value.len());
    for byte in value.bytes() {
        if is_plain(byte) {
            escaped.push(byte);
        } else {
            escaped.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    String::from_utf8_lossy(&escaped).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_names_of_files() {
        for (value, name) in [("AAPL", "AAPL"), ("a/b=c", "a%2Fb%3Dc"), ("..%", "..%25"), ("", NULL), ("Ä b", "Ä b")]
        {
            assert_eq!(escaped(value), name);
        }
    }
}
