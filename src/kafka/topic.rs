//! Topics: whether they are there, with how many partitions, and how they are made.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};

use super::{ANSWER, Connection, Health};
use crate::error::{Error, Result};
use crate::runtime::blocking;
use crate::spec::did_you_mean;

/// One request; several make up the time that brokers have to answer.
const REQUEST: Duration = Duration::from_secs(1);

/// Asks brokers about topics; reads nothing.
pub struct Inspector {
    client: BaseConsumer<Health>,
    health: Health,
    brokers: String,
}

impl Inspector {
    /// A client for `who`. Nothing is asked yet.
    pub fn new(connection: &Connection, who: &str) -> Result<Self> {
        let health = Health::new(who);
        let config = connection.config([]);
        let client = config.create_with_context(health.clone()).map_err(|error| cannot_connect(connection, error))?;
        Ok(Inspector { client, health, brokers: connection.brokers.clone() })
    }

    /// The client itself, for further questions.
    pub fn client(&self) -> &BaseConsumer<Health> {
        &self.client
    }

    /// How many partitions `topic` has.
    pub fn partitions(&self, topic: &str) -> Result<usize> {
        let deadline = Instant::now() + ANSWER;
        loop {
            let metadata = self.ask(deadline, |client| client.fetch_metadata(Some(topic), REQUEST))?;
            let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
                return Err(self.missing(topic, deadline));
            };
            match found.error() {
                None => return Ok(found.partitions().len()),
                Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => {
                    return Err(self.missing(topic, deadline));
                }
                Some(error) => {
                    return Err(Error::connect(format!("topic `{topic}` at {}: {}", self.brokers, Code::from(error))));
                }
            }
        }
    }

    /// Asks until there is an answer, or the deadline has passed, or waiting cannot help.
    pub fn ask<T>(
        &self,
        deadline: Instant,
        question: impl Fn(&BaseConsumer<Health>) -> Result<T, KafkaError>,
    ) -> Result<T> {
        loop {
            let error = match question(&self.client) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // What the client has to tell comes with a poll; there are no messages.
            while self.client.poll(Duration::ZERO).is_some() {}
            let reason = self.health.fatal();
            if reason.is_some() || Instant::now() >= deadline {
                let reason = reason.or_else(|| self.health.trouble()).unwrap_or_else(|| error.to_string());
                return Err(Error::connect(format!("no Kafka broker answers at {}: {reason}", self.brokers)));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn missing(&self, topic: &str, deadline: Instant) -> Error {
        let names = match self.ask(deadline, |client| client.fetch_metadata(None, REQUEST)) {
            Ok(metadata) => names(&metadata),
            Err(_) => Vec::new(),
        };
        let near = did_you_mean(topic, names.iter().map(String::as_str));
        Error::connect(format!("there is no topic `{topic}` at {}{near}", self.brokers))
    }
}

/// The topics that users have made.
fn names(metadata: &Metadata) -> Vec<String> {
    let names = metadata.topics().iter().map(|topic| topic.name().to_string());
    names.filter(|name| !name.starts_with("__")).collect()
}

/// A client that cannot even be made: a property, a file of certificates.
pub fn cannot_connect(connection: &Connection, error: KafkaError) -> Error {
    let reason = match error {
        KafkaError::ClientConfig(_, reason, ..) | KafkaError::ClientCreation(reason) => reason,
        other => other.to_string(),
    };
    Error::connect(format!("Kafka at {}: {reason}", connection.brokers))
}

/// How a topic is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateTopic {
    /// How many partitions.
    pub partitions: i32,
    /// How many copies.
    pub replication: i32,
}

/// Makes `topic` where it is missing.
pub fn create_topic(connection: &Connection, who: &str, topic: &str, how: CreateTopic) -> Result<()> {
    let config = connection.config([]);
    let client: AdminClient<Health> =
        config.create_with_context(Health::new(who)).map_err(|error| cannot_connect(connection, error))?;
    let (name, brokers) = (topic.to_string(), connection.brokers.clone());
    let cannot = move |topic: &str, reason: String| {
        Error::connect(format!("topic `{topic}` cannot be created at {brokers}: {reason}"))
    };
    // The answer is waited for a little longer than the client itself waits, so that it can say why.
    blocking(ANSWER + REQUEST, async move {
        let new = NewTopic::new(&name, how.partitions, TopicReplication::Fixed(how.replication));
        let options = AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER));
        let made = client.create_topics([&new], &options).await.map_err(|error| cannot(&name, error.to_string()))?;
        match made.into_iter().next() {
            Some(Err((_, error))) if error != Code::TopicAlreadyExists => Err(cannot(&name, error.to_string())),
            _ => Ok(()),
        }
    })
}
