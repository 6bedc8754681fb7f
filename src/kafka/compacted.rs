//! Compacted topics, of which the last message of each key is kept: made, checked, read to the end.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::topic::{REQUEST, admin};
use super::{ANSWER, Connection, CreateTopic, Health, Inspector, create_topic};
use crate::error::{Error, Result};
use crate::runtime::blocking;
use crate::sabotage::breaks;

const POLICY: &str = "cleanup.policy";
/// What is written again and again is compacted soon, so that there is little to read.
const SETTINGS: &[(&str, &str)] = &[
    (POLICY, "compact"),
    ("segment.bytes", "16777216"),
    ("min.cleanable.dirty.ratio", "0.1"),
    ("max.compaction.lag.ms", "600000"),
];
/// How long it may take until all transactions that are open are over: those of a job that died are aborted by its next
/// generation, or by the brokers after `transaction.timeout.ms`.
const STABLE: Duration = Duration::from_secs(330);
/// How long the next message may take.
const SILENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// `ListOffsets` takes it for the end.
const LATEST: i64 = -1;

/// Makes `topic` where it is missing, with one partition; refuses one that would lose what is to be kept.
pub fn make_compacted(connection: &Connection, who: &str, topic: &str) -> Result<()> {
    if Inspector::new(connection, who)?.partitions(topic).is_err() {
        create_topic(connection, who, topic, CreateTopic { partitions: Some(1), replication: None }, SETTINGS)?;
        Inspector::new(connection, who)?.partitions_of_new(topic)?;
    }
    match policy(connection, who, topic)? {
        Some(policy) if policy != "compact" => Err(Error::Usage(format!(
            "topic `{topic}` at {} has cleanup.policy={policy}, which would lose what is kept there: set it to compact",
            connection.brokers
        ))),
        _ => Ok(()),
    }
}

/// How the topic is cleaned; nothing where the user may not know.
fn policy(connection: &Connection, who: &str, topic: &str) -> Result<Option<String>> {
    let (client, name) = (admin(connection, who)?, topic.to_string());
    let answer = blocking(ANSWER + REQUEST, async move {
        let options = AdminOptions::new().request_timeout(Some(ANSWER));
        let asked = client.describe_configs(&[ResourceSpecifier::Topic(&name)], &options).await;
        asked.map_err(|error| Error::connect(format!("topic `{name}`: its settings are not told: {error}")))
    })?;
    let found = |resource: ConfigResource| resource.get(POLICY).and_then(|entry| entry.value.clone());
    match answer.into_iter().next() {
        Some(Ok(resource)) => Ok(found(resource)),
        Some(Err(Code::TopicAuthorizationFailed)) | None => Ok(None),
        Some(Err(code)) => Err(Error::connect(format!("topic `{topic}`: its settings are not told: {code}"))),
    }
}

/// Reads all that was committed when the call began: `each` is given keys and payloads, the later of a key after the
/// earlier; a tombstone has no payload. It blocks.
pub fn read_compacted(
    connection: &Connection,
    who: &str,
    topic: &str,
    mut each: impl FnMut(&[u8], Option<&[u8]>),
) -> Result<()> {
    let all = Inspector::with(connection, who, &[("isolation.level", "read_uncommitted")])?;
    let committed = Inspector::with(connection, who, &[("isolation.level", "read_committed")])?;
    let partitions = all.partitions(topic)?;
    let ends = ends(&all, topic, partitions)?;
    if !breaks("fencing") {
        wait_until_stable(&committed, topic, &ends)?;
    }
    let consumer = consumer(connection, who, topic, partitions)?;
    // By the partition's end, or by what another has written behind it meanwhile.
    let mut ended: Vec<bool> = ends.iter().map(|end| *end == 0).collect();
    let mut heard = Instant::now();
    while ended.contains(&false) {
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                heard = Instant::now();
                message.key().into_iter().for_each(|key| each(key, message.payload()));
                let partition = message.partition() as usize;
                if ends.get(partition).is_some_and(|end| message.offset() + 1 >= *end) {
                    ended[partition] = true;
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                heard = Instant::now();
                ended.get_mut(partition as usize).into_iter().for_each(|ended| *ended = true);
            }
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(unread(topic, error)),
            // The client tries again.
            Some(Err(error)) => tracing::debug!("topic {topic}: {error}"),
            None => {}
        }
        if heard.elapsed() > SILENCE {
            return Err(unread(topic, format!("nothing has come for {SILENCE:?}")));
        }
    }
    Ok(())
}

fn consumer(connection: &Connection, who: &str, topic: &str, partitions: usize) -> Result<BaseConsumer<Health>> {
    let mut config = connection.config([]);
    for (name, value) in [
        ("group.id", "tapeflow"),
        ("enable.auto.commit", "false"),
        ("enable.partition.eof", "true"),
        ("isolation.level", "read_committed"),
        ("auto.offset.reset", "earliest"),
        // The end is to be seen at once.
        ("fetch.wait.max.ms", "10"),
    ] {
        config.set(name, value);
    }
    let cannot = |error| super::cannot_connect(connection, error);
    let consumer: BaseConsumer<Health> = config.create_with_context(Health::new(who)).map_err(cannot)?;
    consumer.assign(&list(topic, partitions, Offset::Beginning)?).map_err(|error| unread(topic, error))?;
    Ok(consumer)
}

/// What is open holds back what was committed behind it: nothing may be missed because of that.
fn wait_until_stable(committed: &Inspector, topic: &str, wanted: &[i64]) -> Result<()> {
    let (began, mut told) = (Instant::now(), false);
    loop {
        let stable = ends(committed, topic, wanted.len())?;
        if stable.iter().zip(wanted).all(|(stable, wanted)| stable >= wanted) {
            return Ok(());
        }
        if began.elapsed() > STABLE {
            return Err(unread(topic, format!("a transaction has been open for longer than {STABLE:?}")));
        }
        if began.elapsed() > Duration::from_secs(2) && !std::mem::replace(&mut told, true) {
            tracing::warn!("topic {topic}: waiting until a transaction that another has left open is over");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where the partitions end for the client that asks.
fn ends(inspector: &Inspector, topic: &str, partitions: usize) -> Result<Vec<i64>> {
    let wanted = list(topic, partitions, Offset::from_raw(LATEST))?;
    let found = inspector.ask(Instant::now() + ANSWER, |client| {
        let found = client.offsets_for_times(wanted.clone(), ANSWER / 2)?;
        found.elements().iter().try_for_each(|element| element.error())?;
        Ok(found)
    })?;
    let mut ends = vec![0; partitions];
    for element in found.elements() {
        if let (Some(end), Offset::Offset(offset)) = (ends.get_mut(element.partition() as usize), element.offset()) {
            *end = offset;
        }
    }
    Ok(ends)
}

fn list(topic: &str, partitions: usize, offset: Offset) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(partitions);
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition as i32, offset).map_err(|error| unread(topic, error))?;
    }
    Ok(list)
}

fn unread(topic: &str, reason: impl std::fmt::Display) -> Error {
    Error::run(format!("topic {topic} cannot be read to its end: {reason}"))
}
