//! What the bare client does with a topic, for comparison: `BaseConsumer::poll` over all partitions to their
//! ends, nothing decoded.
//!
//!     KAFKA_BROKERS=127.0.0.1:9092 TOPIC=ticks cargo bench --bench kafka_poll -- [CONSUMERS]
//!
//! With several consumers, partition `p` belongs to consumer `p % CONSUMERS`, each on a thread of its own.

#![allow(clippy::print_stdout, reason = "the result of a benchmark")]

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_string())
}

fn consumer(brokers: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "kafka-poll-bench");
    config.set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    // A full queue is left alone for a second by default, and that wait is not what is to be measured.
    config.set("fetch.queue.backoff.ms", "2");
    config.create().expect("a consumer")
}

/// Reads partitions to their ends; how many messages and bytes they hold.
fn read(brokers: &str, topic: &str, partitions: &[i32]) -> (u64, u64) {
    let client = consumer(brokers);
    let mut all = TopicPartitionList::new();
    for partition in partitions {
        all.add_partition_offset(topic, *partition, Offset::Beginning).expect("an offset");
    }
    client.assign(&all).expect("assigned");
    let (mut messages, mut bytes, mut ended) = (0, 0, 0);
    while ended < partitions.len() {
        match client.poll(Duration::from_secs(10)).expect("the broker answers within 10 s") {
            Ok(message) => {
                messages += 1;
                bytes += message.payload().map_or(0, <[u8]>::len) as u64;
            }
            Err(KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => panic!("{error}"),
        }
    }
    (messages, bytes)
}

/// CPU seconds of this process.
fn cpu_seconds() -> f64 {
    const TICKS_A_SECOND: f64 = 100.0; // USER_HZ, the same on every Linux
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = fields.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_A_SECOND
}

fn main() {
    let (brokers, topic) = (variable("KAFKA_BROKERS", "127.0.0.1:9092"), variable("TOPIC", "ticks"));
    let consumers: usize = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1);
    let metadata = consumer(&brokers).fetch_metadata(Some(&topic), Duration::from_secs(10)).expect("a broker");
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    let began = Instant::now();
    let threads: Vec<_> = (0..consumers)
        .map(|own| {
            let own: Vec<i32> = (own..partitions).step_by(consumers).map(|number| number as i32).collect();
            let (brokers, topic) = (brokers.clone(), topic.clone());
            std::thread::spawn(move || read(&brokers, &topic, &own))
        })
        .collect();
    let read = threads.into_iter().map(|thread| thread.join().expect("a reader"));
    let (messages, bytes) = read.fold((0, 0), |sum, read| (sum.0 + read.0, sum.1 + read.1));
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds());
    let millions = messages as f64 / 1e6;
    println!(
        "{messages} messages, {bytes} bytes, {consumers} consumers: {wall:.2} s, {:.2} million/s, {:.2} CPU s a million",
        millions / wall,
        cpu / millions
    );
}
