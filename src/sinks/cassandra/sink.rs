//! The sink of one worker: encodes rows and hands them to its writer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::rows::{Encoder, Row};
use crate::batch::{Epoch, Rows};
use crate::error::Result;
use crate::metrics::Meter;
use crate::runtime::epochs;
use crate::sinks::Sink;
use crate::sinks::dead_letters::Refusals;
use crate::sinks::progress::Progress;
use crate::spec::surviving;

/// Writes the rows of one worker.
pub struct CassandraSink {
    /// How rows become bytes.
    pub encoder: Encoder,
    /// Set where rows may overwrite each other: they are reduced, by epoch, to the last one of each key.
    pub reduced: Option<BTreeMap<Epoch, HashMap<Bytes, Row>>>,
    /// Where rows go: never more than `progress` has room for.
    pub writer: mpsc::UnboundedSender<Vec<Row>>,
    /// How far the writer is.
    pub progress: Arc<Progress>,
    /// Where rows go that the table cannot take.
    pub refusals: Refusals,
    /// Counters of the sink.
    pub meter: Meter,
}

impl Sink for CassandraSink {
    fn ready(&mut self) -> bool {
        self.progress.has_room()
    }

    fn write(&mut self, epoch: Epoch, rows: &Rows) -> Result<()> {
        let rows = self.encode(epoch, &rows.data)?;
        match &mut self.reduced {
            Some(epochs) => epochs.entry(epoch).or_default().extend(rows.into_iter().map(|row| (row.key(), row))),
            None => self.send(rows),
        }
        Ok(())
    }

    fn flush(&mut self, frontier: Epoch) -> Result<()> {
        let Some(epochs) = &mut self.reduced else { return Ok(()) };
        let open = epochs.split_off(&frontier);
        for (_, rows) in std::mem::replace(epochs, open) {
            self.send(rows.into_values().collect());
        }
        Ok(())
    }

    fn unacknowledged(&mut self) -> Result<Option<Epoch>> {
        self.progress.least()
    }
}

impl CassandraSink {
    fn encode(&self, epoch: Epoch, data: &RecordBatch) -> Result<Vec<Row>> {
        let now = (epochs::now() as i64).saturating_mul(1_000);
        let mut refused = Vec::new();
        let encoded = surviving(data.clone(), &mut refused, |data| self.encoder.encode(epoch, data, now))?;
        refused.iter().try_for_each(|row| self.refusals.refuse_row(row))?;
        let Some((_, encoded)) = encoded else { return Ok(Vec::new()) };
        self.meter.expired.inc_by(encoded.expired);
        Ok(encoded.rows)
    }

    fn send(&self, rows: Vec<Row>) {
        if !rows.is_empty() {
            self.progress.begin(&rows);
            // It fails where the writer has failed, and then `progress` says why.
            let _ = self.writer.send(rows);
        }
    }
}
