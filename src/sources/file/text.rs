//! Ranges of the lines of JSON files and of the records of CSV files.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use arrow::array::RecordBatch;

use super::borders::Borders;
use super::splits::{Found, TEXT_SPLIT};
use super::{BATCH_ROWS, Bad, Batches};
use crate::error::{Error, Result};
use crate::formats::{
    CsvDecoder, CsvOptions, Decoder, JsonDecoder, JsonOptions, MessageSchema, csv_header, record_length,
};

/// How much of a file is looked at to learn its columns.
const SAMPLE: u64 = 1 << 20;
/// A line longer than this is a mistake rather than data.
pub const LONGEST_LINE: u64 = 64 << 20;
/// So much is kept of one.
const KEPT: usize = 64 << 10;

/// The first lines of a file.
pub fn sample(path: &Path) -> Result<Vec<u8>> {
    let cannot = |error| Error::connect(format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(cannot)?;
    let length = file.metadata().map_err(cannot)?.len();
    let mut sample = Vec::new();
    file.take(SAMPLE).read_to_end(&mut sample).map_err(cannot)?;
    if length > SAMPLE {
        // The last line is cut off.
        let end = sample.iter().rposition(|byte| *byte == b'\n').map_or(sample.len(), |at| at + 1);
        sample.truncate(end);
    } else if sample.last().is_some_and(|byte| *byte != b'\n') {
        sample.push(b'\n');
    }
    sample.drain(..byte_order_mark(&sample));
    Ok(sample)
}

/// How many bytes the mark takes with which some programs begin a file.
fn byte_order_mark(file: &[u8]) -> usize {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    if file.starts_with(MARK) { MARK.len() } else { 0 }
}

/// The lines that begin in `from..to`.
pub fn open_json(found: &Found, from: u64, to: u64, messages: &MessageSchema) -> Result<Box<dyn Batches>> {
    let cannot = |error| Error::connect(format!("{}: {error}", found.name));
    let mut file = File::open(&found.path).map_err(cannot)?;
    let (start, block) = whole_lines(&mut file, from, to).map_err(cannot)?;
    let decoder = Box::new(JsonDecoder::new(messages, None, JsonOptions::default()));
    let at = if start == 0 { byte_order_mark(&block) } else { 0 };
    Ok(Box::new(Records { block, at, start, decoder, delimiter: None }))
}

/// The records that begin in the split of a CSV file that begins at `from`.
pub fn open_csv(
    found: &Found,
    from: u64,
    borders: &Borders,
    csv: &CsvOptions,
    messages: &MessageSchema,
) -> Result<Box<dyn Batches>> {
    let cannot = |error| Error::connect(format!("{}: {error}", found.name));
    let split = from / TEXT_SPLIT;
    let header = borders.header().map_err(cannot)?;
    let start = borders.of(split).map_err(cannot)?;
    let length = borders.of(split + 1).map_err(cannot)? - start;
    let mut file = File::open(&found.path).map_err(cannot)?;
    file.seek(SeekFrom::Start(start)).map_err(cannot)?;
    let mut block = Vec::with_capacity(length as usize);
    file.take(length).read_to_end(&mut block).map_err(cannot)?;
    let names = csv_header(&header, csv.delimiter).map_err(|wrong| Error::run(format!("{}: {wrong}", found.name)))?;
    let options = CsvOptions { header: Some(names), ..csv.clone() };
    let decoder = Box::new(CsvDecoder::new(messages, None, options));
    let at = if start == 0 { header.len() } else { 0 };
    Ok(Box::new(Records { block, at, start, decoder, delimiter: Some(csv.delimiter) }))
}

/// The bytes of the lines that begin in `from..to`, and where they begin.
fn whole_lines(file: &mut File, from: u64, to: u64) -> std::io::Result<(u64, Vec<u8>)> {
    // A line begins at `from` only if the byte before it ends one.
    let first = from.saturating_sub(1);
    file.seek(SeekFrom::Start(first))?;
    let mut block = Vec::with_capacity((to - first) as usize + 4096);
    file.by_ref().take(to - first).read_to_end(&mut block)?;
    if from > 0 && !block.contains(&b'\n') {
        // All of it belongs to a line that begins before.
        return Ok((to, Vec::new()));
    }
    while block.last().is_some_and(|byte| *byte != b'\n') && (block.len() as u64) < LONGEST_LINE {
        let more = file.by_ref().take(64 << 10).read_to_end(&mut block)?;
        if more == 0 {
            break;
        }
        let searched = block.len() - more;
        if let Some(end) = block[searched..].iter().position(|byte| *byte == b'\n') {
            block.truncate(searched + end + 1);
        }
    }
    if from == 0 {
        return Ok((0, block));
    }
    let skip = block.iter().position(|byte| *byte == b'\n').map_or(block.len(), |at| at + 1);
    // The first line may begin only after the range: then it belongs to the next split.
    if first + skip as u64 >= to {
        return Ok((to, Vec::new()));
    }
    block.drain(..skip);
    Ok((first + skip as u64, block))
}

struct Records {
    block: Vec<u8>,
    at: usize,
    start: u64,
    decoder: Box<dyn Decoder>,
    /// Set where quoted fields may hold line ends.
    delimiter: Option<u8>,
}

/// The first record of `rest`, without its line end, and how many bytes it takes with it.
fn first(rest: &[u8], delimiter: Option<u8>) -> (&[u8], usize) {
    let length = match delimiter {
        Some(delimiter) => record_length(rest, delimiter),
        None => rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1),
    };
    let record = &rest[..length];
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    (record.strip_suffix(b"\r").unwrap_or(record), length)
}

impl Batches for Records {
    fn next(&mut self, bad: &mut Vec<Bad>) -> Result<Option<(RecordBatch, Vec<u64>)>> {
        let mut offsets = Vec::with_capacity(BATCH_ROWS);
        while offsets.len() < BATCH_ROWS && self.at < self.block.len() {
            let (record, length) = first(&self.block[self.at..], self.delimiter);
            let offset = self.start + self.at as u64;
            let blank = match self.delimiter {
                Some(_) => record.is_empty(),
                None => record.iter().all(u8::is_ascii_whitespace),
            };
            if length as u64 >= LONGEST_LINE {
                // Its end may be missing, and what is there look like a record.
                let reason = format!("a line of {} MB or more", LONGEST_LINE >> 20);
                bad.push(Bad { offset, raw: record[..KEPT].to_vec(), reason });
            } else if !blank {
                match self.decoder.decode(None, record) {
                    Ok(rows) => offsets.extend(std::iter::repeat_n(offset, rows)),
                    Err(error) => bad.push(Bad { offset, raw: record.to_vec(), reason: error.reason }),
                }
            }
            self.at += length;
        }
        if offsets.is_empty() && self.at >= self.block.len() {
            return Ok(None);
        }
        Ok(Some((self.decoder.finish()?, offsets)))
    }

    fn raw(&self, offset: u64) -> Option<&[u8]> {
        let at = offset.checked_sub(self.start)? as usize;
        self.block.get(at..).map(|rest| first(rest, self.delimiter).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn every_line_belongs_to_exactly_one_range() {
        let mut file = tempfile::tempfile().expect("a file");
        let lines: Vec<String> = (0..200).map(|i| "x".repeat(i * 7 % 50)).collect();
        file.write_all(lines.join("\n").as_bytes()).expect("written");
        let length = file.metadata().expect("metadata").len();
        for size in [1, 3, 50, 64, 1000, length] {
            let mut read = Vec::new();
            let mut from = 0;
            while from < length {
                let to = (from + size).min(length);
                read.extend(whole_lines(&mut file, from, to).expect("read").1);
                from = to;
            }
            assert_eq!(String::from_utf8(read).expect("text"), lines.join("\n"), "ranges of {size}");
        }
    }
}
