//! From which offset to which: worked out before anything is read.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use super::Stop;
use crate::error::{Error, Result};
use crate::kafka::{ANSWER, Health, Inspector};

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first message there is.
    Earliest,
    /// Behind the last one.
    Latest,
    /// At the first message with this timestamp or a later one.
    At(DateTime<Utc>),
}

impl FromStr for Start {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => Ok(Start::Earliest),
            "latest" => Ok(Start::Latest),
            time => DateTime::parse_from_rfc3339(time)
                .map(|time| Start::At(time.to_utc()))
                .map_err(|_| format!("`{time}` is not earliest, latest or a time like 2026-01-05T14:30:00Z")),
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Start::Earliest => f.write_str("the earliest message"),
            Start::Latest => f.write_str("the latest message"),
            Start::At(time) => write!(f, "messages of {}", time.to_rfc3339()),
        }
    }
}

/// The offsets of a partition that are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The partition.
    pub partition: i32,
    /// The first one.
    pub start: i64,
    /// The one after the last, where there is a last.
    pub stop: Option<i64>,
    /// The watermark that the partition has shown before, in ns since 1970 UTC.
    pub watermark: Option<i64>,
}

impl Range {
    /// How many there are.
    pub fn length(&self) -> Option<u64> {
        self.stop.map(|stop| (stop - self.start).max(0) as u64)
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.length() == Some(0)
    }
}

/// What is done where messages that were not read are not there any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum OnGap {
    /// The job does not go on.
    #[default]
    Fail,
    /// It goes on with the first message there is.
    Earliest,
    /// It goes on behind the last one.
    Latest,
}

/// The first offset that the broker keeps of a partition, and the next one.
pub fn bounds(inspector: &Inspector, topic: &str, partition: i32) -> Result<(i64, i64)> {
    let look = |timestamp| {
        let found = look_up(inspector, topic, &[partition], timestamp)?;
        found.get(&partition).copied().ok_or_else(|| unknown(topic, partition))
    };
    Ok((look(EARLIEST)?, look(LATEST)?))
}

/// What `ListOffsets` takes in place of a timestamp.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// The offsets to be read of these partitions.
pub fn resolve(inspector: &Inspector, topic: &str, partitions: &[i32], start: Start, stop: Stop) -> Result<Vec<Range>> {
    let look = |timestamp| look_up(inspector, topic, partitions, timestamp);
    // The ends come first: what is written in between is then behind a `start` at the end, not lost before it.
    let ends = look(LATEST)?;
    let starts = match start {
        Start::Latest => ends.clone(),
        Start::Earliest => look(EARLIEST)?,
        Start::At(time) => look(time.timestamp_millis().max(0))?,
    };
    let range = |partition: &i32| {
        let end = *ends.get(partition).ok_or_else(|| unknown(topic, *partition))?;
        // A time after the last message has no offset yet: it begins at the end.
        let start = starts.get(partition).copied().unwrap_or(end);
        Ok(Range { partition: *partition, start, stop: (stop == Stop::End).then_some(end), watermark: None })
    };
    partitions.iter().map(range).collect()
}

/// The offsets of a timestamp, in the partitions that have one.
fn look_up(inspector: &Inspector, topic: &str, partitions: &[i32], timestamp: i64) -> Result<HashMap<i32, i64>> {
    let deadline = Instant::now() + ANSWER;
    inspector.ask(deadline, |client| offsets_at(client, topic, partitions, timestamp))
}

fn offsets_at(
    client: &BaseConsumer<Health>,
    topic: &str,
    partitions: &[i32],
    timestamp: i64,
) -> Result<HashMap<i32, i64>, KafkaError> {
    let mut wanted = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        wanted.add_partition_offset(topic, *partition, Offset::from_raw(timestamp))?;
    }
    let found = client.offsets_for_times(wanted, ANSWER / 2)?;
    let mut offsets = HashMap::new();
    for element in found.elements() {
        element.error()?;
        if let Offset::Offset(offset) = element.offset() {
            offsets.insert(element.partition(), offset);
        }
    }
    Ok(offsets)
}

fn unknown(topic: &str, partition: i32) -> Error {
    Error::connect(format!("topic {topic}, partition {partition}: the broker does not tell where it ends"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_word_or_a_time() {
        assert_eq!("latest".parse(), Ok(Start::Latest));
        let time = "2026-01-05T15:30:00+01:00".parse::<Start>().expect("a time");
        assert_eq!(time.to_string(), "messages of 2026-01-05T14:30:00+00:00");
        assert!("yesterday".parse::<Start>().is_err());
    }
}
