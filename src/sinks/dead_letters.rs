//! Dead letters: records that could not be used, kept with their raw bytes, their place and the reason.

use std::fmt;
use std::fs::{File, OpenOptions, create_dir_all};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::formats::json_line;
use crate::metrics::Meter;
use crate::sources::letters::Letters;
use crate::sources::shape::OnError;
use crate::spec::Refused;

/// Where a record came from.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The topic, or the file.
    pub topic: &'a str,
    /// The partition, or the position of the file.
    pub partition: i32,
    /// The offset, or the position in the file.
    pub offset: i64,
    /// The message's own timestamp, in ms.
    pub timestamp: Option<i64>,
}

/// A record that could not be used. Bytes that are no UTF-8 are written in hexadecimal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The job.
    pub job: String,
    /// The node that refused it.
    pub node: String,
    /// The topic, or the file.
    pub topic: String,
    /// The partition, or the position of the file.
    pub partition: i32,
    /// The offset, or the position in the file.
    pub offset: i64,
    /// The message's own timestamp, in ms.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timestamp: Option<i64>,
    /// Why it could not be used.
    pub reason: String,
    /// The message's key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<Raw>,
    /// The message itself; a tombstone has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub payload: Option<Raw>,
}

/// Raw bytes in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Raw {
    /// As text.
    Text(String),
    /// In hexadecimal.
    Hex(String),
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raw::Text(text) => f.write_str(text),
            Raw::Hex(digits) => write!(f, "0x{digits}"),
        }
    }
}

impl Raw {
    /// The bytes, written down.
    pub fn of(bytes: &[u8]) -> Raw {
        match std::str::from_utf8(bytes) {
            Ok(text) => Raw::Text(text.to_string()),
            Err(_) => Raw::Hex(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }

    /// The bytes again.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let digits = match self {
            Raw::Text(text) => return Ok(text.as_bytes().to_vec()),
            Raw::Hex(digits) => digits.as_bytes(),
        };
        let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
        digits.chunks(2).map(byte).collect::<Option<_>>().ok_or_else(|| Error::run("a dead letter is not hexadecimal"))
    }
}

/// Where dead letters go.
pub trait DeadLetters: Send + Sync {
    /// Keeps one.
    fn write(&self, letter: &DeadLetter) -> Result<()>;
    /// Waits until all are kept.
    fn flush(&self, timeout: Duration) -> Result<()>;
}

/// They are counted and not kept: what a rehearsal does.
pub struct OnlyCounted;

impl DeadLetters for OnlyCounted {
    fn write(&self, _letter: &DeadLetter) -> Result<()> {
        Ok(())
    }

    fn flush(&self, _timeout: Duration) -> Result<()> {
        Ok(())
    }
}

/// JSON lines in a folder, a file for each job.
pub struct InFolder {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl InFolder {
    /// The dead letters of `job` in `folder`; nothing is made before the first.
    pub fn new(folder: &Path, job: &str) -> Self {
        InFolder { path: file_of(folder, job), file: Mutex::new(None) }
    }
}

/// The file with the dead letters of `job`.
pub fn file_of(folder: &Path, job: &str) -> PathBuf {
    folder.join(format!("{job}.jsonl"))
}

impl DeadLetters for InFolder {
    fn write(&self, letter: &DeadLetter) -> Result<()> {
        let cannot =
            |error: &dyn std::fmt::Display| Error::run(format!("dead letters, {}: {error}", self.path.display()));
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.is_none() {
            self.path.parent().map_or(Ok(()), create_dir_all).map_err(|error| cannot(&error))?;
            let opened = OpenOptions::new().create(true).append(true).open(&self.path);
            *file = Some(opened.map_err(|error| cannot(&error))?);
        }
        let mut line = serde_json::to_vec(letter).map_err(|error| cannot(&error))?;
        line.push(b'\n');
        file.as_mut().map_or(Ok(()), |file| file.write_all(&line)).map_err(|error| cannot(&error))
    }

    fn flush(&self, _timeout: Duration) -> Result<()> {
        // Beside the lock: who writes does not wait for the disk.
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(File::try_clone);
        let synced = file.transpose().and_then(|file| file.map_or(Ok(()), |file| file.sync_data()));
        synced.map_err(|error| Error::run(format!("dead letters, {}: {error}", self.path.display())))
    }
}

/// Reads the dead letters of a file.
pub fn read(path: &Path) -> Result<impl Iterator<Item = Result<DeadLetter>> + use<>> {
    let path = path.to_path_buf();
    let file = File::open(&path).map_err(|error| Error::connect(format!("{}: {error}", path.display())))?;
    Ok(BufReader::new(file).lines().enumerate().map(move |(number, line)| {
        let broken = |error: &dyn std::fmt::Display| Error::run(format!("{}:{}: {error}", path.display(), number + 1));
        let line = line.map_err(|error| broken(&error))?;
        serde_json::from_str(&line).map_err(|error| broken(&error))
    }))
}

/// What a node does with records it cannot use.
#[derive(Clone)]
pub struct Refusals {
    /// The job.
    pub job: String,
    /// The node.
    pub node: String,
    /// What becomes of them.
    pub on_error: OnError,
    /// Where they go, if they are kept.
    pub letters: Arc<dyn DeadLetters>,
    /// Where they are counted, in every case.
    pub meter: Meter,
    /// Where those that are kept go as well, where the dataflow reads them.
    pub read: Option<Arc<Letters>>,
}

impl Refusals {
    /// The same for a row that has no record of its own any more.
    pub fn refuse_row(&self, refused: &Refused) -> Result<()> {
        self.refuse_json(&json_line(&refused.data, 0), &refused.reason)
    }

    /// The same for a row that is JSON already.
    pub fn refuse_json(&self, row: &str, reason: &str) -> Result<()> {
        let place = Place { topic: &self.node, partition: -1, offset: -1, timestamp: None };
        self.refuse(&place, None, Some(row.as_bytes()), reason)
    }

    /// Keeps, counts or fails, as the node's `on_error` says.
    pub fn refuse(&self, place: &Place<'_>, key: Option<&[u8]>, payload: Option<&[u8]>, reason: &str) -> Result<()> {
        match self.on_error {
            OnError::Skip => {
                self.meter.skipped.inc();
                Ok(())
            }
            OnError::Fail => Err(Error::run(format!(
                "{}, partition {}, offset {}: {reason}",
                place.topic, place.partition, place.offset
            ))),
            OnError::DeadLetter => {
                self.meter.dead_letters.inc();
                let letter = DeadLetter {
                    job: self.job.clone(),
                    node: self.node.clone(),
                    topic: place.topic.to_string(),
                    partition: place.partition,
                    offset: place.offset,
                    timestamp: place.timestamp,
                    reason: reason.to_string(),
                    key: key.map(Raw::of),
                    payload: payload.map(Raw::of),
                };
                self.letters.write(&letter)?;
                self.read.iter().for_each(|letters| letters.push(letter.clone()));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive() {
        for bytes in [&b"{\"a\": 1}"[..], b"", b"\xff\x00\xfe"] {
            let written = serde_json::to_string(&Raw::of(bytes)).expect("json");
            let read: Raw = serde_json::from_str(&written).expect("raw");
            assert_eq!(read.bytes().expect("bytes"), bytes);
        }
    }
}
