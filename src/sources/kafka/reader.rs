//! Runs one worker's part of the topic: takes messages, hands on rows and marks, commits what is durable.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::KafkaPlan;
use super::consumer::{Consumer, Failure};
use super::durable::Durable;
use super::idle::Idling;
use super::marks::Marks;
use super::messages::Messages;
use super::partitions::Partitions;
use super::position::Position;
use crate::batch::{Epoch, Origin};
use crate::error::Result;
use crate::runtime::epochs;
use crate::sources::{Cut, Read, Reader, ReaderContext};
use crate::state::Entry;

/// Reads the partitions of one worker.
pub struct KafkaReader {
    consumer: Option<Consumer>,
    begun: bool,
    partitions: Partitions,
    messages: Messages,
    marks: Marks,
    durable: Durable,
    /// An epoch, in microseconds.
    epoch: u64,
    context: ReaderContext,
}

impl KafkaReader {
    /// A reader of what `consumer` fetches; there is none where the worker has no partition.
    pub fn new(
        plan: &KafkaPlan,
        consumer: Option<Consumer>,
        idling: Idling,
        untold: Arc<AtomicBool>,
        context: ReaderContext,
    ) -> Self {
        let ranges = consumer.as_ref().map(Consumer::ranges).unwrap_or_default();
        let partitions = Partitions::new(ranges);
        let epoch = (plan.epoch.as_micros() as u64).max(1);
        KafkaReader {
            marks: Marks::new(
                context.node,
                partitions.numbers().zip(ranges.iter().map(|range| range.watermark)),
                plan.shape.lateness,
                idling.of(&context.job),
            ),
            messages: Messages::new(plan, context.refusals.clone(), untold),
            durable: Durable::new(epoch),
            epoch,
            begun: false,
            partitions,
            consumer,
            context,
        }
    }

    fn begin(&mut self) -> Result<()> {
        self.begun = true;
        // What has nothing to read ends before it began.
        self.partitions.ended().for_each(|at| self.marks.close(at));
        self.consumer.as_mut().map_or(Ok(()), |consumer| consumer.begin(self.context.wake.clone()))
    }

    /// Rows of what has come; nothing where nothing has.
    fn take(&mut self) -> Result<Option<Read>> {
        let Some(consumer) = &mut self.consumer else { return Ok(None) };
        consumer.listen(self.partitions.positions())?;
        let Some(batch) = consumer.take().filter(|batch| batch.len() > 0) else { return Ok(None) };
        let rows = self.messages.rows(&batch, &mut self.partitions, &mut self.marks)?;
        drop(batch);
        consumer.answered();
        for failed in rows.failed {
            match consumer.failure(&failed) {
                Failure::Fatal(error) => return Err(error),
                Failure::Passing(message) => tracing::warn!("{message}; trying again"),
            }
        }
        for at in self.partitions.ended() {
            self.marks.close(at);
            consumer.stop(self.partitions.number(at))?;
        }
        self.durable.note(self.partitions.positions());
        let extent = self.partitions.advanced();
        Ok(Some(Read::Rows { epoch: None, data: rows.data, bytes: rows.bytes, extent }))
    }
}

impl Reader for KafkaReader {
    fn cut(&self) -> Cut {
        Cut::Clock
    }

    fn origins(&self) -> Vec<(Origin, i64)> {
        // What they have shown before tells where late rows belong; that it is passed is said in an epoch to come.
        self.marks.origins().map(|origin| (origin, i64::MIN)).collect()
    }

    fn read(&mut self) -> Result<Read> {
        if !self.begun {
            self.begin()?;
        }
        if let Some(mark) = self.marks.next() {
            return Ok(Read::Mark(mark));
        }
        if self.partitions.all_ended() {
            return Ok(Read::End);
        }
        let rows = self.take()?;
        self.marks.look(epochs::now() / self.epoch);
        // Rows go first: a mark speaks of what was sent before it.
        Ok(rows.or_else(|| self.marks.next().map(Read::Mark)).unwrap_or(Read::Idle(None)))
    }

    fn position(&self, _boundary: Epoch) -> Result<Vec<Entry>> {
        let positions = self.partitions.list().zip(self.marks.watermarks());
        positions
            .map(|((number, offset, stop), watermark)| Position { offset, stop, watermark }.entry(number))
            .collect()
    }

    fn durable(&mut self, frontier: Epoch) {
        let Some(consumer) = &mut self.consumer else { return };
        self.durable.settle(frontier);
        let Some(positions) = self.durable.fresh() else { return };
        if consumer.commit(self.partitions.numbers().zip(positions.iter().copied())) {
            self.durable.committed();
        }
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        let Some(consumer) = self.consumer.take() else { return };
        // A dataflow that has ended has written all it read, unless it ended by a failure.
        if self.context.job.failure().is_none() {
            self.durable.all(self.partitions.positions());
        }
        let offsets = self.durable.settled().unwrap_or_default();
        consumer.close(self.partitions.numbers().zip(offsets.iter().copied()));
    }
}
