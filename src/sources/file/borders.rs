//! Where the records of a CSV file begin. A quoted field may hold line ends, so that depends on all that stands before:
//! a file is looked through once, as far as it is read, by the worker that needs to know first.

use std::fs::File;
use std::io::{Read, Result, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::splits::TEXT_SPLIT;
use super::text::LONGEST_LINE;
use crate::formats::record_length;

/// How much is looked at behind the place in question: more than a quoted field may hold.
const AHEAD: u64 = 256 << 10;

/// The records of one file.
pub struct Borders {
    path: PathBuf,
    delimiter: u8,
    /// For each split, as far as it is known, where its first record begins.
    known: Mutex<Vec<u64>>,
}

impl Borders {
    /// Those of the file at `path`.
    pub fn new(path: &Path, delimiter: u8) -> Self {
        Borders { path: path.to_path_buf(), delimiter, known: Mutex::new(vec![0]) }
    }

    /// Where the first record begins that begins in this split or a later one.
    pub fn of(&self, split: u64) -> Result<u64> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(border) = known.get(split as usize) {
                return Ok(*border);
            }
            let last = known.last().copied().unwrap_or(0);
            let next = self.first_after(last, known.len() as u64 * TEXT_SPLIT)?;
            known.push(next);
        }
    }

    /// The first record of the file.
    pub fn header(&self) -> Result<Vec<u8>> {
        let mut window = Window::open(&self.path, 0, AHEAD)?;
        let length = window.record(0, self.delimiter)?;
        window.bytes.truncate(length);
        Ok(window.bytes)
    }

    /// Where the first record at or behind `target` begins, as one begins at `from`.
    fn first_after(&self, from: u64, target: u64) -> Result<u64> {
        if from >= target {
            return Ok(from);
        }
        let wanted = (target - from) as usize;
        let mut window = Window::open(&self.path, from, target - from + AHEAD)?;
        let before = &window.bytes[..wanted.min(window.bytes.len())];
        // Without quotes every line is a record.
        let mut at = if before.contains(&b'"') { 0 } else { wanted - 1 };
        while at < wanted.min(window.bytes.len()) {
            at += window.record(at, self.delimiter)?;
        }
        Ok(from + at.min(window.bytes.len()) as u64)
    }
}

/// A part of a file, and what follows it as far as it is needed.
struct Window {
    file: File,
    bytes: Vec<u8>,
    ended: bool,
}

impl Window {
    fn open(path: &Path, from: u64, length: u64) -> Result<Window> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        let mut window = Window { file, bytes: Vec::new(), ended: false };
        window.more(length)?;
        Ok(window)
    }

    fn more(&mut self, length: u64) -> Result<()> {
        let read = self.file.by_ref().take(length).read_to_end(&mut self.bytes)?;
        self.ended = (read as u64) < length;
        Ok(())
    }

    /// The length of the record that begins at `at`; of one that is too long, as much as was looked at.
    fn record(&mut self, at: usize, delimiter: u8) -> Result<usize> {
        loop {
            let rest = &self.bytes[at..];
            let length = record_length(rest, delimiter);
            if length < rest.len() || self.ended || rest.ends_with(b"\n") || length as u64 > LONGEST_LINE {
                return Ok(length);
            }
            self.more(AHEAD.max(length as u64))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_not_cut_where_their_quotes_hold_line_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.csv");
        let record = "A,\"one\ntwo, \"\"three\"\"\",1\nB,plain,2\n";
        let text = record.repeat(9 * TEXT_SPLIT as usize / record.len() / 2);
        std::fs::write(&path, &text).expect("a file");
        let borders = Borders::new(&path, b',');
        for split in [3, 0, 1, 2, 4] {
            let border = borders.of(split).expect("a border") as usize;
            assert!(border as u64 >= split * TEXT_SPLIT, "{split}");
            assert!(matches!(&text[border..border + 2], "A," | "B,"), "{split}");
        }
        assert_eq!(borders.of(5).expect("the end"), text.len() as u64);
        assert_eq!(borders.of(6).expect("the end"), text.len() as u64);
        assert_eq!(borders.header().expect("a header"), &record.as_bytes()[..record.len() - 10]);
    }
}
