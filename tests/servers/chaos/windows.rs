//! The bars of a run and what is computed of them, in topics and tables, compared with a plain recomputation.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::error::KafkaError;

use super::check::shortened;
use super::flow::{PARTITIONS, Places, partition, symbol, trade};
use super::table::Stored;
use super::tail::consumer;
use crate::recovery::alerts;
use crate::recovery::market::Trade;
use crate::recovery::windows::{bars, key, late, values};
use crate::support::Row;
use crate::support::bars::{BAR, REVISED, SURGES, TREND, Table, appended, differences, surges, trend};

/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is wrong with all outputs that hold windows, alerts and late trades.
pub fn wrong(places: &Places, seed: u64, count: u64, folder: &Path) -> Vec<String> {
    let trades: Vec<Trade> = (0..count).map(|n| trade(seed, n)).collect();
    let expected = bars((0..).zip(&trades).map(|(n, trade)| (partition(symbol(seed, n)), n as i64, trade)));
    let passed = expected.passed();
    let (in_time, revised) = (expected.in_time(passed), expected.revised(passed));
    let topic = |name: &str| messages(&places.brokers, &places.topic(name));
    let table = |name: &str, columns: &[&str]| {
        let table = Stored { server: &places.cassandra, name: places.table(name) };
        let rows = table.all(&[&["symbol", "start"], columns].concat());
        rows.iter().map(|row| (key(row), values(row, columns))).collect()
    };
    let bars = topic("bars").into_iter().map(|told| told.row.expect("a bar"));
    let (bars, again) = appended("the bars", bars.map(|row| (key(&row), values(&row, &BAR))).collect());
    let compare = |output, expected: &Table, found: &Table| shortened(output, differences(output, expected, found));
    let mut wrong = [
        shortened("the bars", again),
        compare("the bars", &in_time, &bars),
        compare("the table of bars", &in_time, &table("bars", &BAR)),
        compare("the revised bars", &revised, &last(topic("revised"), &REVISED)),
        compare("the table of revised bars", &revised, &table("revised", &REVISED)),
        compare("the table of trends", &trend(&revised), &table("trend", &TREND)),
        compare("the surges", &surges(&revised), &last(topic("surges"), &SURGES)),
        shortened("the late trades", differences_of_late(&expected.late, &late(folder))),
        shortened("the alerts", alerts::differences(&trades, folder)),
    ]
    .concat();
    // A run without late trades would tell nothing of them.
    if expected.late.len() <= expected.lost.len() || expected.lost.is_empty() {
        wrong.push(format!("{} trades are late, and {} of them lost", expected.late.len(), expected.lost.len()));
    }
    wrong
}

/// Late trades that are missing, come twice, or are none; both sorted.
fn differences_of_late(expected: &BTreeSet<i64>, found: &[i64]) -> Vec<String> {
    let twice = found.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| format!("late trade {} twice", pair[0]));
    let missing = expected.iter().filter(|n| found.binary_search(n).is_err());
    let in_time = found.iter().filter(|n| !expected.contains(n));
    twice
        .chain(missing.map(|n| format!("late trade {n} is missing")))
        .chain(in_time.map(|n| format!("trade {n} is not late")))
        .collect()
}

/// A message of a topic.
pub struct Told {
    pub key: Vec<u8>,
    pub row: Option<Row>,
}

/// What stands last under each key.
fn last(messages: Vec<Told>, columns: &[&str]) -> Table {
    let mut last = Table::new();
    for message in messages {
        let key = key(&serde_json::from_slice(&message.key).expect("a key of several columns"));
        match &message.row {
            Some(row) => drop(last.insert(key, values(row, columns))),
            None => drop(last.remove(&key)),
        }
    }
    last
}

/// All messages of a topic, those of each partition in order; of transactions only what is committed.
pub fn messages(brokers: &str, topic: &str) -> Vec<Told> {
    let consumer = consumer(brokers, topic);
    let (mut read, mut ended, began) = (Vec::new(), HashSet::new(), Instant::now());
    while ended.len() < PARTITIONS as usize {
        match consumer.poll(Duration::from_secs(1)) {
            Some(Ok(message)) => read.push(Told {
                key: message.key().expect("a key").to_vec(),
                row: message.payload().map(|payload| serde_json::from_slice(payload).expect("a row")),
            }),
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
            Some(Err(_)) | None => assert!(began.elapsed() < PATIENCE, "no answer"),
        }
    }
    read
}
