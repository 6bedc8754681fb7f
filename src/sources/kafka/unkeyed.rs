//! A look at the last messages of a topic: have they keys?

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};

use super::KafkaPlan;
use super::messages::warn_of_no_key;
use crate::error::Result;
use crate::kafka::{Health, cannot_connect};

/// How long is looked for a message.
const LOOK: Duration = Duration::from_secs(2);
/// Partitions that are looked at.
const PARTITIONS: usize = 8;
/// Messages of each: a transaction's marker among them is none.
const MESSAGES: i64 = 10;

/// Warns where a message without a key is found, and rows of one key are to stay in order.
pub fn warn(plan: &KafkaPlan, partitions: usize) -> Result<()> {
    if !plan.wants_keys(partitions) {
        return Ok(());
    }
    let mut config = plan.connection.config([]);
    config.set("group.id", "tapeflow-validate").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    let client: BaseConsumer<Health> = config
        .create_with_context(Health::new(format!("topic {}", plan.topic)))
        .map_err(|error| cannot_connect(&plan.connection, error))?;
    let mut last = TopicPartitionList::new();
    let looked_at = partitions.min(PARTITIONS);
    for partition in 0..looked_at {
        // A partition that cannot be named is not looked at.
        let _ = last.add_partition_offset(&plan.topic, partition as i32, Offset::OffsetTail(MESSAGES));
    }
    let (deadline, mut ends) = (Instant::now() + LOOK, 0);
    if client.assign(&last).is_err() {
        return Ok(());
    }
    while ends < looked_at && Instant::now() < deadline {
        match client.poll(LOOK / 20) {
            Some(Ok(message)) if message.key().is_none() => {
                warn_of_no_key(&plan.topic);
                return Ok(());
            }
            Some(Err(_)) => ends += 1,
            _ => {}
        }
    }
    Ok(())
}
