//! Where logs are written.

use std::io::{Result, Write, stderr};

use crate::spec::masked;

/// Stderr, without what `${...}` stands for in dataflow files. A line is written at once.
pub struct Masked;

impl Write for Masked {
    fn write(&mut self, line: &[u8]) -> Result<usize> {
        stderr().lock().write_all(masked(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> Result<()> {
        stderr().lock().flush()
    }
}
