//! What everything that speaks to Kafka has in common: brokers and properties, what the client tells about its
//! connection, topics.

mod compacted;
mod health;
mod outbox;
mod topic;
mod transactions;

use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use compacted::{make_compacted, read_compacted};
pub use health::Health;
pub use outbox::{Outbox, Outgoing};
pub use topic::{CreateTopic, Inspector, cannot_connect, create_topic};
pub use transactions::{Failure, Transactions, Wanted};

use crate::error::{Error, Result};
use crate::spec::{At, Fields, Findings, FromToml, Named, expected};

/// How long the brokers may take to answer when a job starts.
pub const ANSWER: Duration = Duration::from_secs(10);

/// What every producer begins with; `properties` may say otherwise.
pub const PRODUCER: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("acks", "all"),
    // Long enough for company, too short to be felt.
    ("linger.ms", "1"),
    ("compression.type", "lz4"),
    // The same partition for a key as the clients in Java choose.
    ("partitioner", "murmur2_random"),
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "65536"),
];

/// The value of a librdkafka property: as text, whatever it was written as.
struct Property(String);

impl FromToml for Property {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(_) => String::from_toml(value, findings).map(Property),
            DeValue::Boolean(truth) => Some(Property(truth.to_string())),
            DeValue::Integer(number) => Some(Property(number.as_str().to_string())),
            DeValue::Float(number) => Some(Property(number.as_str().to_string())),
            _ => expected(value, findings, "a text, a number, true or false"),
        }
    }
    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"] })
    }
}

/// A property that is not the user's to set, and what to do instead.
pub type Refused = (&'static str, &'static str);

const REFUSED: &[Refused] = &[
    ("bootstrap.servers", "write `brokers`"),
    ("metadata.broker.list", "write `brokers`"),
    ("log.queue", "logs are written by tapeflow"),
];

/// Properties that would break what producers promise.
pub const PRODUCER_REFUSED: &[Refused] = &[
    ("transactional.id", "write `guarantee`"),
    ("enable.idempotence", "retries must not repeat or reorder rows"),
    ("acks", "a row is durable when all replicas have it"),
    ("request.required.acks", "a row is durable when all replicas have it"),
    ("delivery.report.only.error", "every acknowledgement is needed"),
];

/// `brokers` and `properties`, as written.
pub struct ConnectionSpec {
    brokers: At<String>,
    properties: Vec<(At<String>, At<Property>)>,
}

impl ConnectionSpec {
    /// Reads them.
    pub fn read(fields: &mut Fields<'_>) -> Self {
        let brokers = fields.get("brokers", "host:port of brokers, separated by commas").required();
        let doc =
            "properties of librdkafka, passed on as they are (security.protocol, sasl.password, fetch.min.bytes ...)";
        let properties = fields.get::<Named<Property>>("properties", doc).or(Named(Vec::new()));
        ConnectionSpec { brokers, properties: properties.0 }
    }

    /// Checks every property; those in `refused` are not the user's to set.
    pub fn plan(&self, refused: &[Refused], findings: &Findings) -> Option<Connection> {
        let before = findings.len();
        for (name, value) in &self.properties {
            if let Some((_, hint)) = REFUSED.iter().chain(refused).find(|(other, _)| *other == name.value) {
                findings.mistake(&name.span, format!("`{}` cannot be set here: {hint}", name.value));
            } else if let Err(message) = check(&name.value, &value.value.0) {
                findings.mistake(&name.span, message);
            }
        }
        let properties = self.properties.iter().map(|(name, value)| (name.value.clone(), value.value.0.clone()));
        (findings.len() == before)
            .then(|| Connection { brokers: self.brokers.value.clone(), properties: properties.collect() })
    }
}

/// Has librdkafka say whether it knows the property and can read its value. The value may be a secret and is
/// not repeated.
fn check(name: &str, value: &str) -> Result<(), String> {
    let mut config = ClientConfig::new();
    config.set(name, value);
    match config.create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(_, reason, ..)) => Err(reason.replace(value, "...")),
        Err(error) => Err(error.to_string()),
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.brokers)
    }
}

/// How brokers are reached. It may hold secrets, so it is never shown.
#[derive(Clone)]
pub struct Connection {
    /// host:port of brokers, separated by commas.
    pub brokers: String,
    properties: Vec<(String, String)>,
}

impl Connection {
    /// What the `[kafka]` of a dataflow file says; nothing else in the file is looked at.
    pub fn of_file(path: &Path, text: &str, refused: &[Refused]) -> Result<Self> {
        let findings = Findings::below(path.parent().map(Path::to_path_buf).unwrap_or_default());
        let (file, empty) = (DeTable::parse(text), DeTable::new());
        let file = file.map_err(|error| Error::Usage(format!("{}: {}", path.display(), error.message())))?;
        let (span, section) = match file.get_ref().iter().find(|(name, _)| name.get_ref() == "kafka") {
            Some((name, value)) => (name.span(), value.get_ref().as_table().unwrap_or(&empty)),
            None => (0..0, &empty),
        };
        let connection = ConnectionSpec::read(&mut Fields::new("[kafka]", section, span, &findings));
        let connection = connection.plan(refused, &findings).filter(|_| findings.is_empty());
        connection.ok_or_else(|| Error::Dataflow(Box::new(findings.mistakes(path, text))))
    }

    /// Brokers without properties: what the command line names.
    pub fn to(brokers: &str) -> Self {
        Connection { brokers: brokers.to_string(), properties: Vec::new() }
    }

    /// The configuration of a client: `defaults`, then what the user has set.
    pub fn config<'a>(&self, defaults: impl IntoIterator<Item = (&'a str, String)>) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "tapeflow").set("bootstrap.servers", &self.brokers);
        // All log lines come to `Health`, which passes them on to our own logs.
        config.set_log_level(rdkafka::config::RDKafkaLogLevel::Info);
        for (name, value) in defaults {
            config.set(name, value);
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_checked_and_their_values_not_repeated() {
        assert_eq!(check("sasl.password", "secret"), Ok(()));
        assert_eq!(check("fetch.min.bytes", "100"), Ok(()));
        let unknown = check("sasl.pasword", "secret").expect_err("no such property");
        assert!(unknown.contains("sasl.pasword") && !unknown.contains("secret"), "{unknown}");
        let wrong = check("security.protocol", "hunter2").expect_err("no such protocol");
        assert!(wrong.contains("security.protocol") && !wrong.contains("hunter2"), "{wrong}");
    }
}
