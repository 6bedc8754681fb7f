//! Which Kafka a command speaks to.

use std::path::{Path, PathBuf};

use clap::Args;
use toml::{Table, Value};

use crate::error::{Error, Result};
use crate::kafka::{Connection, PRODUCER_REFUSED};

/// `--brokers`, or the `[kafka]` of a dataflow file.
#[derive(Args)]
pub struct BrokersArgs {
    /// host:port of Kafka brokers, separated by commas.
    #[arg(long, env = "KAFKA_BROKERS", default_value = "127.0.0.1:9092")]
    brokers: String,
    /// Instead, a dataflow file whose [kafka] says where the brokers are, with TLS, user and password.
    #[arg(long, value_name = "FILE")]
    kafka: Option<PathBuf>,
}

impl BrokersArgs {
    /// As the `[kafka]` of a dataflow file; secrets are not expanded.
    pub fn section(&self) -> Result<Table> {
        let Some(path) = &self.kafka else {
            return Ok(Table::from_iter([("brokers".to_string(), literal(&self.brokers))]));
        };
        let file: Table = read(path)?.parse().map_err(|error| Error::Usage(format!("{}: {error}", path.display())))?;
        match file.get("kafka") {
            Some(Value::Table(kafka)) => Ok(kafka.clone()),
            _ => Err(Error::Usage(format!("{} has no section [kafka]", path.display()))),
        }
    }

    /// For a client.
    pub fn connection(&self) -> Result<Connection> {
        match &self.kafka {
            Some(path) => connection_of(path),
            None => Ok(Connection::to(&self.brokers)),
        }
    }
}

/// The Kafka that the `[kafka]` of the dataflow file at `path` names.
pub fn connection_of(path: &Path) -> Result<Connection> {
    Connection::of_file(path, &read(path)?, PRODUCER_REFUSED)
}

/// A text that stands for itself: `${...}` in it is not expanded.
pub fn literal(text: &str) -> Value {
    Value::String(text.replace('$', "$$"))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| Error::Usage(format!("cannot read {}: {error}", path.display())))
}
