//! From messages to rows, decoded while they are borrowed from the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;

use super::KafkaPlan;
use super::batch::{Batch, Entry, Failed, Message};
use super::marks::Marks;
use super::partitions::Partitions;
use crate::error::{Error, Result};
use crate::formats::Decoder;
use crate::sinks::dead_letters::{Place, Refusals};
use crate::sources::seq::SeqLayout;
use crate::sources::shape::{Shaped, Shaper};

/// Makes rows of messages.
pub struct Messages {
    topic: String,
    decoder: Box<dyn Decoder>,
    shaper: Shaper,
    layout: SeqLayout,
    refusals: Refusals,
    /// Whether it is to be told when a message has no key; told once a source.
    watch_keys: bool,
    untold: Arc<AtomicBool>,
    /// The `seq` of each row, and the place in the batch of the message that it came in.
    seqs: Vec<i64>,
    sources: Vec<u32>,
}

/// What a batch of messages held.
pub struct Rows {
    /// The rows.
    pub data: RecordBatch,
    /// The bytes of their messages.
    pub bytes: usize,
    /// Partitions that could not be read.
    pub failed: Vec<Failed>,
}

impl Messages {
    /// Rows as `plan` says; the first message without a key is told of where `untold` is set.
    pub fn new(plan: &KafkaPlan, refusals: Refusals, untold: Arc<AtomicBool>) -> Self {
        Messages {
            topic: plan.topic.clone(),
            decoder: plan.decoder(),
            shaper: Shaper::new(Arc::clone(&plan.shape)),
            layout: plan.shape.layout,
            refusals,
            watch_keys: untold.load(Ordering::Relaxed),
            untold,
            seqs: Vec::new(),
            sources: Vec::new(),
        }
    }

    /// The rows of a batch. Positions and watermarks go along.
    pub fn rows(&mut self, batch: &Batch<'_>, partitions: &mut Partitions, marks: &mut Marks) -> Result<Rows> {
        let (mut bytes, mut failed) = (0, Vec::new());
        self.sources.clear();
        for at in 0..batch.len() {
            match batch.entry(at) {
                Entry::Message(message) => {
                    let place = partitions.place(message.partition());
                    if partitions.pass(place, message.offset()) {
                        marks.wake(place);
                        bytes += self.decode(message, at as u32)?;
                    }
                }
                Entry::End { partition, offset } => {
                    let place = partitions.place(partition);
                    partitions.reach(place, offset);
                    marks.quiet(place, offset);
                }
                Entry::Failed(entry) => failed.push(entry),
            }
        }
        let mut shaped = self.shape(batch)?;
        let plan = self.shaper.plan();
        let mut order = Vec::with_capacity(if plan.places.is_some() { shaped.data.num_rows() } else { 0 });
        for (seq, time) in shaped.seqs(plan).iter().zip(shaped.times(plan)) {
            let (partition, offset) = (self.layout.partition_of(*seq), self.layout.offset_of(*seq));
            let passed = marks.show(partitions.place(partition), offset, *time);
            if plan.places.is_some() {
                order.push(passed.max(*time));
            }
        }
        if let Some(by) = &plan.places {
            by.put(&mut shaped.data, order)?;
        }
        Ok(Rows { data: shaped.data, bytes, failed })
    }

    /// Appends the rows of a message; returns its size.
    #[inline]
    fn decode(&mut self, message: Message<'_>, source: u32) -> Result<usize> {
        let key = message.key();
        if key.is_none() && self.watch_keys {
            self.watch_keys = false;
            if self.untold.swap(false, Ordering::Relaxed) {
                warn_of_no_key(&self.topic);
            }
        }
        let Some(payload) = message.payload() else {
            self.refuse(message, "it has no payload (a tombstone)")?;
            return Ok(0);
        };
        let before = self.decoder.len();
        match self.decoder.decode(key, payload) {
            Ok(rows) if rows as u64 > self.layout.rows() => {
                self.decoder.take_back(before);
                self.refuse(message, &format!("it holds {rows} records, {} at most", self.layout.rows()))?;
            }
            Ok(rows) => {
                for row in 0..rows {
                    let seq = self.layout.seq(message.partition() as u64, message.offset() as u64, row as u64);
                    self.seqs.push(seq.ok_or_else(|| too_far(&self.topic, message))?);
                    self.sources.push(source);
                }
            }
            Err(undecodable) => self.refuse(message, &undecodable.reason)?,
        }
        Ok(payload.len() + key.map_or(0, <[u8]>::len))
    }

    fn shape(&mut self, batch: &Batch<'_>) -> Result<Shaped> {
        let shaped = self.shaper.shape(self.decoder.finish()?, std::mem::take(&mut self.seqs))?;
        for (row, reason) in &shaped.refused {
            if let Entry::Message(message) = batch.entry(self.sources[*row] as usize) {
                self.refuse(message, reason)?;
            }
        }
        Ok(shaped)
    }

    #[cold]
    fn refuse(&self, message: Message<'_>, reason: &str) -> Result<()> {
        let place = Place {
            topic: &self.topic,
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp(),
        };
        self.refusals.refuse(&place, message.key(), message.payload(), reason)
    }
}

/// Tells that rows of one key may be spread over the partitions.
pub fn warn_of_no_key(topic: &str) {
    tracing::warn!(
        "topic {topic}: messages without a key are spread over its partitions, so the rows of one key may come out \
         of order; write `order = \"event_time\"`, or give the messages a key"
    );
}

#[cold]
fn too_far(topic: &str, message: Message<'_>) -> Error {
    let (partition, offset) = (message.partition(), message.offset());
    Error::run(format!("topic {topic}, partition {partition}, offset {offset}: the offset is too large for `seq`"))
}
