//! The sink of one worker: sends as much as the client takes, and tells what has not landed.

use std::collections::{BTreeMap, VecDeque};

use arrow::array::RecordBatch;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::encode::{Encoder, Messages};
use super::flight::Flight;
use super::{Producer, unprepared};
use crate::batch::{Epoch, Rows};
use crate::error::{Error, Result};
use crate::sinks::{Sink, SinkContext};

/// Sends the rows of one worker.
pub struct KafkaSink {
    topic: String,
    encoder: Encoder,
    producer: Option<Producer>,
    /// Rows come from several workers: those of later epochs wait for those of earlier ones.
    in_order: bool,
    least_open: Epoch,
    early: BTreeMap<Epoch, Vec<RecordBatch>>,
    queue: VecDeque<(Epoch, RecordBatch)>,
    sending: Option<Sending>,
    context: SinkContext,
}

/// A batch of which something was not taken yet.
struct Sending {
    epoch: Epoch,
    messages: Messages,
    next: usize,
}

impl KafkaSink {
    /// A sink that sends by `producer`.
    pub fn new(
        topic: &str,
        encoder: Encoder,
        producer: Option<Producer>,
        in_order: bool,
        context: SinkContext,
    ) -> Self {
        if let Some(flight) = producer.as_ref().map(flight) {
            flight.wake_by(context.wake.clone());
        }
        KafkaSink {
            topic: topic.to_string(),
            encoder,
            producer,
            in_order,
            least_open: 0,
            early: BTreeMap::new(),
            queue: VecDeque::new(),
            sending: None,
            context,
        }
    }

    /// Sends what is queued, until the client takes no more; whether it took all.
    fn send(&mut self) -> Result<bool> {
        loop {
            if self.sending.is_none() {
                let Some((epoch, data)) = self.queue.pop_front() else { return Ok(true) };
                self.sending = Some(Sending { epoch, messages: self.encoder.encode(&data)?, next: 0 });
            }
            let (Some(sending), Some(producer)) = (&mut self.sending, &self.producer) else {
                return Err(unprepared(&self.topic));
            };
            if !sending.send(producer, &self.topic)? {
                return Ok(false);
            }
            self.sending = None;
        }
    }
}

fn flight(producer: &Producer) -> &Flight {
    producer.client().context()
}

impl Sending {
    /// Whether the client has taken all of it.
    fn send(&mut self, producer: &Producer, topic: &str) -> Result<bool> {
        let (flight, count) = (flight(producer), self.messages.len() - self.next);
        // They are counted first: the first may have landed before the last is sent.
        flight.take_off(self.epoch, count as u64);
        while self.next < self.messages.len() {
            let mut record: BaseRecord<'_, [u8], [u8], _> = BaseRecord::with_opaque_to(topic, self.epoch as usize);
            (record.key, record.payload) = (self.messages.key(self.next), self.messages.payload(self.next));
            if let Err((error, _)) = producer.send(record) {
                let left = (self.messages.len() - self.next) as u64;
                if error.rdkafka_error_code() == Some(Code::QueueFull) {
                    flight.want_room();
                    flight.land(self.epoch, left);
                    return Ok(false);
                }
                return Err(refused(topic, &error));
            }
            self.next += 1;
        }
        Ok(true)
    }
}

fn refused(topic: &str, error: &KafkaError) -> Error {
    Error::run(format!("topic {topic}: a message is refused: {error}"))
}

impl Sink for KafkaSink {
    fn ready(&mut self) -> bool {
        if self.sending.is_none() && self.queue.is_empty() {
            return true;
        }
        // What fails here fails again, and is told, in `unacknowledged`.
        self.send().unwrap_or(false)
    }

    fn write(&mut self, epoch: Epoch, Rows { data, .. }: &Rows) -> Result<()> {
        if self.in_order && epoch > self.least_open {
            self.early.entry(epoch).or_default().push(data.clone());
            return Ok(());
        }
        self.queue.push_back((epoch, data.clone()));
        self.send().map(drop)
    }

    fn flush(&mut self, frontier: Epoch) -> Result<()> {
        self.least_open = frontier;
        while let Some(first) = self.early.first_entry().filter(|first| *first.key() <= frontier) {
            let epoch = *first.key();
            self.queue.extend(first.remove().into_iter().map(|data| (epoch, data)));
        }
        self.send().map(drop)
    }

    fn unacknowledged(&mut self) -> Result<Option<Epoch>> {
        self.send()?;
        let Some(flight) = self.producer.as_ref().map(flight) else { return Ok(None) };
        if let Some(reason) = flight.failure() {
            self.context.meter.write_errors.inc();
            return Err(Error::run(reason));
        }
        let (least, total) = flight.least();
        self.context.meter.in_flight.set(total as i64);
        let sending = self.sending.as_ref().map(|sending| sending.epoch);
        let queued = self.queue.iter().map(|(epoch, _)| *epoch).min();
        let early = self.early.first_key_value().map(|(epoch, _)| *epoch);
        Ok([least, sending, queued, early].into_iter().flatten().min())
    }
}
