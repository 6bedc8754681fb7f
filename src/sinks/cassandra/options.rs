//! How rows are written, as far as their table does not say it.

use std::time::Duration;

use scylla::statement::Consistency as DriverConsistency;
use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use super::rows::LONGEST_TTL;
use super::waiting::BatchSize;
use super::writer::Limits;
use crate::spec::{At, Fields, Findings, FromToml, Named, Size, expected};
use crate::words;

/// Full batches in flight where `in_flight` is not given, and how many requests of fewer rows.
const BATCHES_IN_FLIGHT: usize = 64;
const REQUESTS_IN_FLIGHT: usize = 1024;
/// What the protocol can number on a connection.
const MOST_IN_FLIGHT: u64 = 32_768;
/// What the protocol can hold in a batch.
const MOST_ROWS: u64 = 65_535;

words! {
    /// How many replicas must acknowledge a write.
    Consistency {
        /// One, or a hint.
        Any = "any",
        /// One.
        One = "one",
        /// Two.
        Two = "two",
        /// Three.
        Three = "three",
        /// Most of them.
        Quorum = "quorum",
        /// All.
        All = "all",
        /// Most of those in the local data centre.
        LocalQuorum = "local_quorum",
        /// Most of those in every data centre.
        EachQuorum = "each_quorum",
        /// One in the local data centre.
        LocalOne = "local_one",
    }
}

impl From<Consistency> for DriverConsistency {
    fn from(consistency: Consistency) -> Self {
        match consistency {
            Consistency::Any => Self::Any,
            Consistency::One => Self::One,
            Consistency::Two => Self::Two,
            Consistency::Three => Self::Three,
            Consistency::Quorum => Self::Quorum,
            Consistency::All => Self::All,
            Consistency::LocalQuorum => Self::LocalQuorum,
            Consistency::EachQuorum => Self::EachQuorum,
            Consistency::LocalOne => Self::LocalOne,
        }
    }
}

/// A text or a number of a replication strategy.
#[derive(Clone, Debug, Default)]
struct Setting(String);

impl FromToml for Setting {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(_) => String::from_toml(value, findings).map(Setting),
            DeValue::Integer(_) => u64::from_toml(value, findings).map(|number| Setting(number.to_string())),
            _ => expected(value, findings, "a text or a whole number"),
        }
    }
    fn schema() -> Json {
        json!({ "type": ["string", "integer"] })
    }
}

/// How rows are written, as written in the dataflow file.
pub struct OptionsSpec {
    create: bool,
    replication: Option<At<Named<Setting>>>,
    ttl: Option<At<Duration>>,
    consistency: Consistency,
    in_flight: Option<At<u64>>,
    batch_rows: Option<At<u64>>,
    batch_bytes: Size,
    rows_per_second: Option<At<u64>>,
}

impl OptionsSpec {
    /// Reads it.
    pub fn read(fields: &mut Fields<'_>) -> Self {
        OptionsSpec {
            create: fields
                .get("create", "whether the keyspace and the table are created where they are missing; else they must be there")
                .or(false),
            replication: fields
                .get("replication", "of a keyspace that is created: { class = \"NetworkTopologyStrategy\", dc1 = 3 }; SimpleStrategy with one replica by default")
                .optional(),
            ttl: fields
                .get("ttl", "how long after its event time a row is kept; rows older than that are counted and not written")
                .optional(),
            consistency: fields
                .get("consistency", "how many replicas must acknowledge a write; local_quorum by default: what they have acknowledged survives the loss of a minority")
                .or(Consistency::LocalQuorum),
            in_flight: fields
                .get("in_flight", "requests of a worker that wait for their answer; by default up to 1024 small ones, or 64 full batches")
                .optional(),
            batch_rows: fields
                .get("batch_rows", "rows, all of one partition, in a request; 50 by default (Amazon Keyspaces takes 30)")
                .optional(),
            batch_bytes: fields.get("batch_bytes", "bytes of rows in a request; 32KiB by default").or(Size(32 << 10)),
            rows_per_second: fields
                .get("max_rows_per_second", "of all workers together; for services that are paid by it")
                .optional(),
        }
    }

    /// Checks it.
    pub fn plan(&self, findings: &Findings) -> Option<Options> {
        let before = findings.len();
        let within = |value: &Option<At<u64>>, most: u64| {
            let outside = value.as_ref().filter(|value| !(1..=most).contains(&value.value));
            outside.into_iter().for_each(|value| findings.mistake(&value.span, format!("it is 1 to {most}")));
            value.as_ref().map(|value| value.value)
        };
        if let Some(ttl) = self.ttl.as_ref().filter(|ttl| ttl.value < Duration::from_secs(1) || ttl.value > LONGEST_TTL)
        {
            findings.mistake(&ttl.span, "rows are kept for a second to 20 years");
        }
        let in_flight = within(&self.in_flight, MOST_IN_FLIGHT).map(|requests| requests as usize);
        let rows_per_second = within(&self.rows_per_second, u32::MAX.into()).map(|rows| rows as f64);
        let rows = within(&self.batch_rows, MOST_ROWS).unwrap_or(50) as usize;
        let limits = Limits {
            requests: in_flight.unwrap_or(REQUESTS_IN_FLIGHT),
            rows: in_flight.map_or(REQUESTS_IN_FLIGHT.max(BATCHES_IN_FLIGHT * rows), |_| usize::MAX),
            rows_per_second,
            batch: BatchSize { rows, bytes: self.batch_bytes.0 as usize },
        };
        (findings.len() == before).then(|| Options {
            create: self.create,
            replication: self.replication(),
            ttl: self.ttl.as_ref().map(|ttl| ttl.value),
            consistency: self.consistency,
            limits,
        })
    }

    fn replication(&self) -> Vec<(String, String)> {
        let simple = [("class", "SimpleStrategy"), ("replication_factor", "1")];
        match &self.replication {
            Some(given) => given.0.iter().map(|(name, value)| (name.value.clone(), value.0.clone())).collect(),
            None => simple.map(|(name, value)| (name.to_string(), value.to_string())).to_vec(),
        }
    }
}

/// How rows are written.
#[derive(Clone)]
pub struct Options {
    /// Whether the keyspace and the table are created.
    pub create: bool,
    /// How a created keyspace is replicated.
    pub replication: Vec<(String, String)>,
    /// How long after its event time a row is kept.
    pub ttl: Option<Duration>,
    /// How many replicas must acknowledge a write.
    pub consistency: Consistency,
    /// How much may be in flight.
    pub limits: Limits,
}
