//! The trades of a run, the dataflow over them, and what must come out of it.

use std::collections::HashMap;
use std::time::Duration;

use rand::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::recovery::market::{OPERATORS, TRADES, Trade, Values};
use crate::support::running::Running;

pub const SYMBOLS: u64 = 200;
pub const PARTITIONS: i32 = 6;
const START: i64 = 1_700_000_000_000_000;

/// The trade with the number `n`: the same whenever it is asked for.
pub fn trade(seed: u64, n: u64) -> Trade {
    let bits = random(seed, n);
    let price = 90.0 + (bits >> 40) as f64 / 1_000_000.0;
    let symbol = format!("S{}", bits % SYMBOLS);
    Trade { symbol, time: START + n as i64 * 100, price, volume: (bits >> 20 & 1023) as i64 + 1 }
}

/// Which symbol the trade with the number `n` is of.
pub fn symbol(seed: u64, n: u64) -> u64 {
    random(seed, n) % SYMBOLS
}

/// The partition of a symbol.
pub fn partition(symbol: u64) -> i32 {
    (symbol % PARTITIONS as u64) as i32
}

fn random(seed: u64, n: u64) -> u64 {
    Xoshiro256PlusPlus::seed_from_u64(seed ^ (n << 20)).next_u64()
}

/// What must come out of the first `count` trades, in their order.
pub fn expected(seed: u64, count: u64) -> Vec<Values> {
    let mut symbols: HashMap<String, Running> = HashMap::new();
    let values = |n| {
        let Trade { symbol, price, volume, .. } = trade(seed, n);
        symbols.entry(symbol).or_default().next(price, volume as f64)
    };
    (0..count).map(values).collect()
}

/// Where the dataflow reads and writes.
pub struct Places {
    pub job: String,
    pub brokers: String,
    pub cassandra: String,
    pub source: String,
    pub sink: String,
}

/// Of the table, which has the name of the job.
pub const KEYSPACE: &str = "chaos";

/// All operators, and every sink that promises each row once.
pub fn dataflow(places: &Places, checkpoint: Duration) -> String {
    let Places { job, brokers, cassandra, source, sink } = places;
    let checkpoint = humantime::format_duration(checkpoint);
    format!(
        r#"
        version = 1
        name = "{job}"
        [job]
        checkpoint = "{checkpoint}"
        epoch = "50ms"
        [kafka]
        brokers = "{brokers}"
        [cassandra]
        contact_points = "{cassandra}"
        keyspace = "{KEYSPACE}"
        create = true
        [sources.trades]
        type = "kafka"
        topic = "{source}"
        {TRADES}
        {OPERATORS}
        [sinks.topic]
        type = "kafka"
        input = "few"
        topic = "{sink}"
        guarantee = "exactly_once"
        [sinks.table]
        type = "cassandra"
        input = "few"
        table = "{job}"
        partition_key = "symbol"
        clustering_key = ["n"]
        on_conflict = "last"
        [sinks.lines]
        type = "file"
        input = "few"
        path = "lines/"
        [sinks.lake]
        type = "parquet"
        input = "few"
        path = "lake/"
        "#
    )
}
