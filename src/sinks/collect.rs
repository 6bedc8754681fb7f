//! Keeps rows in memory: what `[[tests]]` look at.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;

use super::{PreparedSink, Sink, SinkContext};
use crate::batch::{Epoch, Rows};
use crate::error::Result;

/// Rows, in the order in which they were written.
#[derive(Clone, Default)]
pub struct Collect {
    rows: Arc<Mutex<Vec<RecordBatch>>>,
}

impl Collect {
    /// What has been collected.
    pub fn rows(&self) -> Vec<RecordBatch> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl PreparedSink for Collect {
    fn open(&self, _context: SinkContext) -> Box<dyn Sink> {
        Box::new(self.clone())
    }
}

impl Sink for Collect {
    fn write(&mut self, _epoch: Epoch, rows: &Rows) -> Result<()> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).push(rows.data.clone());
        Ok(())
    }

    fn flush(&mut self, _frontier: Epoch) -> Result<()> {
        Ok(())
    }
}
