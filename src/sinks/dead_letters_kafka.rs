//! Dead letters in a topic: the raw bytes as payload, the key as it was, the place and the reason in headers.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::message::{Header, Headers, OwnedHeaders};

use super::dead_letters::{DeadLetter, DeadLetters, Raw};
use crate::error::{Error, Result};
use crate::kafka::{Connection, Inspector, Outbox, Outgoing};

const JOB: &str = "job";
const NODE: &str = "node";
const TOPIC: &str = "source_topic";
const PARTITION: &str = "source_partition";
const OFFSET: &str = "source_offset";
const TIMESTAMP: &str = "source_timestamp";
const REASON: &str = "reason";

struct InTopic {
    topic: String,
    outbox: Outbox,
}

/// Dead letters in `topic`, which must be there.
pub fn in_topic(connection: Option<&Connection>, topic: &str) -> Result<Arc<dyn DeadLetters>> {
    let connection = connection.ok_or_else(|| Error::Usage("dead letters in a topic need `brokers`".to_string()))?;
    let who = format!("dead letters, topic {topic}");
    Inspector::new(connection, &who)?.partitions(topic)?;
    Ok(Arc::new(InTopic { topic: topic.to_string(), outbox: Outbox::new(connection, &who)? }))
}

impl DeadLetters for InTopic {
    fn write(&self, letter: &DeadLetter) -> Result<()> {
        let (key, payload) = (bytes(&letter.key)?, bytes(&letter.payload)?);
        self.outbox.send(Outgoing {
            topic: &self.topic,
            key: key.as_deref(),
            payload: payload.as_deref(),
            headers: Some(headers(letter)),
        })
    }

    fn flush(&self, timeout: Duration) -> Result<()> {
        self.outbox.flush(timeout)
    }
}

fn bytes(raw: &Option<Raw>) -> Result<Option<Vec<u8>>> {
    raw.as_ref().map(Raw::bytes).transpose()
}

fn headers(letter: &DeadLetter) -> OwnedHeaders {
    let numbers = [
        (PARTITION, Some(letter.partition.to_string())),
        (OFFSET, Some(letter.offset.to_string())),
        (TIMESTAMP, letter.timestamp.map(|timestamp| timestamp.to_string())),
    ];
    let texts = [(JOB, &letter.job), (NODE, &letter.node), (TOPIC, &letter.topic), (REASON, &letter.reason)];
    let mut headers = OwnedHeaders::new();
    for (key, value) in texts {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    for (key, value) in &numbers {
        headers = value.iter().fold(headers, |headers, value| headers.insert(Header { key, value: Some(value) }));
    }
    headers
}

/// The dead letter that a message of such a topic is; nothing where its headers say otherwise.
pub fn read(message: &impl rdkafka::Message) -> Option<DeadLetter> {
    let headers = message.headers()?;
    let find = |key: &str| {
        let value = headers.iter().find(|header| header.key == key)?.value?;
        std::str::from_utf8(value).ok().map(str::to_string)
    };
    Some(DeadLetter {
        job: find(JOB)?,
        node: find(NODE)?,
        topic: find(TOPIC)?,
        partition: find(PARTITION)?.parse().ok()?,
        offset: find(OFFSET)?.parse().ok()?,
        timestamp: find(TIMESTAMP).and_then(|timestamp| timestamp.parse().ok()),
        reason: find(REASON)?,
        key: message.key().map(Raw::of),
        payload: message.payload().map(Raw::of),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    #[test]
    fn a_dead_letter_survives_its_message() {
        let letter = DeadLetter {
            job: "j".to_string(),
            node: "ticks".to_string(),
            topic: "t".to_string(),
            partition: 3,
            offset: 1 << 40,
            timestamp: Some(1_700_000_000_000),
            reason: "price: \"é\" is not a double".to_string(),
            key: None,
            payload: Some(Raw::of(b"\xff{")),
        };
        let payload = bytes(&letter.payload).expect("bytes");
        let topic = "dead".to_string();
        let message = OwnedMessage::new(payload, None, topic, Timestamp::now(), 0, 0, Some(headers(&letter)));
        assert_eq!(read(&message), Some(letter));
    }
}
