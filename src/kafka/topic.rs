//! Topics: whether they are there, with how many partitions, and how they are made.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};
use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use super::{ANSWER, Connection, Health};
use crate::error::{Error, Result};
use crate::runtime::blocking;
use crate::spec::{Fields, Findings, FromToml, did_you_mean, expected};

/// One request; several make up the time that brokers have to answer.
pub const REQUEST: Duration = Duration::from_secs(1);

/// Asks brokers about topics; reads nothing.
pub struct Inspector {
    client: BaseConsumer<Health>,
    health: Health,
    brokers: String,
}

impl Inspector {
    /// A client for `who`. Nothing is asked yet.
    pub fn new(connection: &Connection, who: &str) -> Result<Self> {
        Inspector::with(connection, who, &[])
    }

    /// Likewise, with properties that go before those of the user.
    pub fn with(connection: &Connection, who: &str, properties: &[(&str, &str)]) -> Result<Self> {
        let health = Health::new(who);
        let mut config = connection.config([]);
        for (name, value) in properties {
            config.set(*name, *value);
        }
        let client = config.create_with_context(health.clone()).map_err(|error| cannot_connect(connection, error))?;
        Ok(Inspector { client, health, brokers: connection.brokers.clone() })
    }

    /// The client itself, for further questions.
    pub fn client(&self) -> &BaseConsumer<Health> {
        &self.client
    }

    /// Whether a broker answers.
    pub fn answers(&self) -> Result<()> {
        let all_brokers = |client: &BaseConsumer<Health>| client.fetch_metadata(None, REQUEST);
        self.ask(Instant::now() + ANSWER, all_brokers).map(drop)
    }

    /// How many partitions `topic` has.
    pub fn partitions(&self, topic: &str) -> Result<usize> {
        self.partitions_by(topic, Instant::now())
    }

    /// Likewise, of a topic that was made a moment ago, which not every broker may know yet.
    pub fn partitions_of_new(&self, topic: &str) -> Result<usize> {
        self.partitions_by(topic, Instant::now() + ANSWER)
    }

    /// A missing topic is missing when it still is at `known_by`.
    fn partitions_by(&self, topic: &str, known_by: Instant) -> Result<usize> {
        let deadline = Instant::now() + ANSWER;
        loop {
            let metadata = self.ask(deadline, |client| client.fetch_metadata(Some(topic), REQUEST))?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let wait_until = match found.map(MetadataTopic::error) {
                Some(None) => return Ok(found.map_or(0, |found| found.partitions().len())),
                Some(Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)) => deadline,
                None | Some(Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)) => known_by,
                Some(Some(error)) => {
                    return Err(Error::connect(format!("topic `{topic}` at {}: {}", self.brokers, Code::from(error))));
                }
            };
            if Instant::now() >= wait_until {
                return Err(self.missing(topic, deadline));
            }
            std::thread::sleep(Duration::from_millis(50));
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
    /// How many partitions; as many as the brokers think fit by default.
    pub partitions: Option<u16>,
    /// How many copies; likewise.
    pub replication: Option<u16>,
}

impl FromToml for CreateTopic {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else { return expected(value, findings, "a table") };
        let before = findings.len();
        let mut fields = Fields::new("`create`", table, value.span(), findings);
        let create = CreateTopic {
            partitions: count(&mut fields, "partitions", "how many partitions"),
            replication: count(&mut fields, "replication", "how many copies of each"),
        };
        fields.finish();
        (findings.len() == before).then_some(create)
    }
    fn schema() -> Json {
        let count = json!({ "type": "integer", "minimum": 1 });
        json!({ "type": "object", "properties": { "partitions": count.clone(), "replication": count } })
    }
}

fn count(fields: &mut Fields<'_>, key: &'static str, doc: &'static str) -> Option<u16> {
    let given = fields.get::<u64>(key, doc).optional()?;
    let read = u16::try_from(given.value).ok().filter(|count| *count > 0);
    if read.is_none() {
        fields.findings().mistake(&given.span, format!("`{key}` is a number from 1 to {}", u16::MAX));
    }
    read
}

/// A broker takes -1 for its own default.
fn or_default(count: Option<u16>) -> i32 {
    count.map_or(-1, i32::from)
}

/// A client that asks brokers to do things.
pub fn admin(connection: &Connection, who: &str) -> Result<AdminClient<Health>> {
    let client = connection.config([]).create_with_context(Health::new(who));
    client.map_err(|error| cannot_connect(connection, error))
}

/// Makes `topic` where it is missing, with these settings.
pub fn create_topic(
    connection: &Connection,
    who: &str,
    topic: &str,
    how: CreateTopic,
    settings: &'static [(&'static str, &'static str)],
) -> Result<()> {
    let client = admin(connection, who)?;
    let (name, brokers) = (topic.to_string(), connection.brokers.clone());
    let cannot = move |topic: &str, reason: String| {
        Error::connect(format!("topic `{topic}` cannot be created at {brokers}: {reason}"))
    };
    // The answer is waited for a little longer than the client itself waits, so that it can say why.
    blocking(ANSWER + REQUEST, async move {
        let new =
            NewTopic::new(&name, or_default(how.partitions), TopicReplication::Fixed(or_default(how.replication)));
        let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
        let options = AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER));
        let made = client.create_topics([&new], &options).await.map_err(|error| cannot(&name, error.to_string()))?;
        match made.into_iter().next() {
            Some(Err((_, error))) if error != Code::TopicAlreadyExists => Err(cannot(&name, error.to_string())),
            _ => Ok(()),
        }
    })
}
