//! The sink of one worker: packs rows and hands them to its agent.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use tokio::sync::mpsc;
use xxhash_rust::xxh3::Xxh3;

use super::agent::Errand;
use super::{Courier, Parcel};
use crate::batch::{Epoch, Rows};
use crate::error::Result;
use crate::formats::JsonRows;
use crate::sinks::Sink;
use crate::sinks::dead_letters::Refusals;
use crate::sinks::progress::Progress;
use crate::sources::lanes::Lanes;
use crate::spec::surviving;

/// Delivers the rows of one worker.
pub struct DeliverySink<C> {
    courier: Arc<C>,
    keys: Keys,
    /// Where rows go: never more than `progress` has room for.
    agent: mpsc::UnboundedSender<Errand>,
    progress: Arc<Progress>,
    refusals: Refusals,
    /// Rows were handed over since the last flush.
    sent: bool,
}

/// What tells a row from all others, and is the same when it comes again.
pub struct Keys {
    /// The job.
    pub job: String,
    /// The sink.
    pub sink: String,
    /// Where rows have their place in their source.
    pub seq: Option<usize>,
    /// The sources.
    pub lanes: Arc<Lanes>,
}

impl Keys {
    /// The key of a row: of job, sink, source and `seq`, and of what is told, as two alerts may be of one row. None
    /// where rows have no place in a source.
    fn of(&self, rows: &Rows, row: usize, texts: &[String]) -> Option<String> {
        let seqs = rows.data.column(self.seq?).as_primitive_opt::<Int64Type>()?;
        let mut hash = Xxh3::new();
        let source = self.lanes.name(rows.source)?;
        for part in [self.job.as_str(), &self.sink, source].into_iter().chain(texts.iter().map(String::as_str)) {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.update(&seqs.is_valid(row).then(|| seqs.value(row))?.to_le_bytes());
        Some(format!("{:032x}", hash.digest128()))
    }
}

impl<C: Courier> DeliverySink<C> {
    /// Its rows go to `agent`.
    pub fn new(
        courier: Arc<C>,
        keys: Keys,
        agent: mpsc::UnboundedSender<Errand>,
        progress: Arc<Progress>,
        refusals: Refusals,
    ) -> Self {
        DeliverySink { courier, keys, agent, progress, refusals, sent: false }
    }

    fn parcels(&self, epoch: Epoch, rows: &Rows, texts: Vec<Vec<String>>) -> Result<Vec<Parcel>> {
        let json = JsonRows::of(&rows.data)?;
        let parcel = |(row, texts): (usize, Vec<String>)| Parcel {
            epoch,
            key: self.keys.of(rows, row, &texts),
            texts,
            row: String::from_utf8_lossy(json.row(row)).into_owned(),
        };
        Ok(texts.into_iter().enumerate().map(parcel).collect())
    }
}

impl<C: Courier> Sink for DeliverySink<C> {
    fn ready(&mut self) -> bool {
        self.progress.has_room()
    }

    fn write(&mut self, epoch: Epoch, rows: &Rows) -> Result<()> {
        let mut refused = Vec::new();
        let packed = surviving(rows.data.clone(), &mut refused, |data: &RecordBatch| self.courier.pack(data))?;
        refused.iter().try_for_each(|row| self.refusals.refuse_row(row))?;
        let Some((data, texts)) = packed else { return Ok(()) };
        let parcels = self.parcels(epoch, &Rows { data, source: rows.source }, texts)?;
        self.progress.begin(&parcels);
        self.sent = true;
        // It fails where the agent has failed, and then `progress` says why.
        let _ = self.agent.send(Errand::Deliver(parcels));
        Ok(())
    }

    fn flush(&mut self, frontier: Epoch) -> Result<()> {
        let end = frontier == Epoch::MAX;
        if std::mem::take(&mut self.sent) || end {
            let _ = self.agent.send(Errand::Flush { end });
        }
        Ok(())
    }

    fn unacknowledged(&mut self) -> Result<Option<Epoch>> {
        self.progress.least()
    }
}
