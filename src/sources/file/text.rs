//! Ranges of lines of JSON and CSV files.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use arrow::array::RecordBatch;

use super::splits::Found;
use super::{BATCH_ROWS, Bad, Batches, Format};
use crate::error::{Error, Result};
use crate::formats::{CsvDecoder, CsvOptions, Decoder, JsonDecoder, JsonOptions, MessageSchema, csv_header};

/// How much of a file is looked at to learn its columns.
const SAMPLE: u64 = 1 << 20;
/// A line longer than this is a mistake rather than data.
const LONGEST_LINE: u64 = 64 << 20;

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
    }
    Ok(sample)
}

/// The lines that begin in `from..to`.
pub fn open(
    found: &Found,
    from: u64,
    to: u64,
    format: Format,
    csv: &CsvOptions,
    messages: &MessageSchema,
) -> Result<Box<dyn Batches>> {
    let cannot = |error| Error::connect(format!("{}: {error}", found.name));
    let mut file = File::open(&found.path).map_err(cannot)?;
    let (start, block) = whole_lines(&mut file, from, to).map_err(cannot)?;
    let (decoder, skip): (Box<dyn Decoder>, usize) = match format {
        Format::Csv => {
            let header = header(&mut file).map_err(cannot)?;
            let names = csv_header(header.trim_ascii_end(), csv.delimiter).map_err(Error::run)?;
            let skip = if start == 0 { header.len() } else { 0 };
            let options = CsvOptions { header: Some(names), ..csv.clone() };
            (Box::new(CsvDecoder::new(messages, None, options)), skip)
        }
        _ => (Box::new(JsonDecoder::new(messages, None, JsonOptions::default())), 0),
    };
    Ok(Box::new(Lines { block, at: skip, start, decoder }))
}

/// The bytes of the lines that begin in `from..to`, and where they begin.
fn whole_lines(file: &mut File, from: u64, to: u64) -> std::io::Result<(u64, Vec<u8>)> {
    // A line begins at `from` only if the byte before it ends one.
    let first = from.saturating_sub(1);
    file.seek(SeekFrom::Start(first))?;
    let mut block = Vec::with_capacity((to - first) as usize + 4096);
    file.by_ref().take(to - first).read_to_end(&mut block)?;
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

fn header(file: &mut File) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(0))?;
    let mut header = Vec::new();
    let mut reader = std::io::BufReader::new(file);
    std::io::BufRead::read_until(&mut reader, b'\n', &mut header)?;
    Ok(header)
}

struct Lines {
    block: Vec<u8>,
    at: usize,
    start: u64,
    decoder: Box<dyn Decoder>,
}

impl Lines {
    /// The next line, without its end, and where it begins in the block.
    fn line(&mut self) -> Option<(usize, std::ops::Range<usize>)> {
        if self.at >= self.block.len() {
            return None;
        }
        let begin = self.at;
        let end = self.block[begin..].iter().position(|byte| *byte == b'\n').map_or(self.block.len(), |at| begin + at);
        self.at = end + 1;
        let content = if end > begin && self.block[end - 1] == b'\r' { begin..end - 1 } else { begin..end };
        Some((begin, content))
    }
}

impl Batches for Lines {
    fn next(&mut self, bad: &mut Vec<Bad>) -> Result<Option<(RecordBatch, Vec<u64>)>> {
        let mut offsets = Vec::with_capacity(BATCH_ROWS);
        while offsets.len() < BATCH_ROWS {
            let Some((begin, content)) = self.line() else { break };
            let line = &self.block[content];
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let offset = self.start + begin as u64;
            match self.decoder.decode(None, line) {
                Ok(rows) => offsets.extend(std::iter::repeat_n(offset, rows)),
                Err(error) => bad.push(Bad { offset, raw: line.to_vec(), reason: error.reason }),
            }
        }
        if offsets.is_empty() && self.at >= self.block.len() {
            return Ok(None);
        }
        Ok(Some((self.decoder.finish()?, offsets)))
    }

    fn raw(&self, offset: u64) -> Option<&[u8]> {
        let rest = self.block.get((offset - self.start) as usize..)?;
        rest.split(|byte| *byte == b'\n').next()
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
