//! Messages to topics, one at a time, by whoever can wait for a moment: dead letters, the command line.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::{Connection, Health, PRODUCER, cannot_connect};
use crate::error::{Error, Result};

/// How long a message may wait until the client has room for it.
const ROOM: Duration = Duration::from_secs(30);

/// A message to be sent.
pub struct Outgoing<'a> {
    /// Where to.
    pub topic: &'a str,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its payload; a tombstone has none.
    pub payload: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Option<OwnedHeaders>,
}

/// Sends messages and remembers the first that failed.
pub struct Outbox {
    producer: ThreadedProducer<Deliveries>,
    deliveries: Deliveries,
}

impl Outbox {
    /// An empty one.
    pub fn new(connection: &Connection, who: &str) -> Result<Self> {
        let deliveries = Deliveries { health: Health::new(who), failure: Arc::default() };
        let config = connection.config(PRODUCER.iter().map(|(name, value)| (*name, (*value).to_string())));
        let producer = config.create_with_context(deliveries.clone());
        Ok(Outbox { producer: producer.map_err(|error| cannot_connect(connection, error))?, deliveries })
    }

    /// Sends a message; waits for a while where the client has no room.
    pub fn send(&self, message: Outgoing<'_>) -> Result<()> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(message.topic);
        record.key = message.key;
        record.payload = message.payload;
        record.headers = message.headers;
        let deadline = Instant::now() + ROOM;
        loop {
            self.check()?;
            record = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, record)) if error.rdkafka_error_code() == Some(Code::QueueFull) => record,
                Err((error, _)) => return Err(Error::run(format!("topic {}: {error}", message.topic))),
            };
            if Instant::now() >= deadline {
                return Err(self.late(ROOM));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the brokers have everything.
    pub fn flush(&self, timeout: Duration) -> Result<()> {
        let flushed = self.producer.flush(timeout);
        self.check()?;
        flushed.map_err(|_| self.late(timeout))
    }

    fn check(&self) -> Result<()> {
        let failure = self.deliveries.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        failure.or_else(|| self.deliveries.health.fatal()).map_or(Ok(()), |reason| Err(Error::run(reason)))
    }

    fn late(&self, after: Duration) -> Error {
        let waiting = self.producer.in_flight_count();
        let reason = self.deliveries.health.trouble().map_or(String::new(), |reason| format!(": {reason}"));
        Error::TimedOut(format!("{waiting} messages were not acknowledged within {after:?}{reason}"))
    }
}

#[derive(Clone)]
struct Deliveries {
    health: Health,
    failure: Arc<Mutex<Option<String>>>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.health.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.error(error, reason);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => self.health.answered(),
            Err((error, message)) => {
                let place = format!("topic {}, partition {}", message.topic(), message.partition());
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(format!("{place}: {error}"));
            }
        }
    }
}
