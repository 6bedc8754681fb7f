//! The trades of a run, the dataflow over them, and what must come out of it.

use std::collections::HashMap;
use std::time::Duration;

use rand::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::recovery::corrections;
use crate::recovery::market::{FOLDERS, OPERATORS, TRADES, Trade, Values};
use crate::support::groups::OPERATORS as GROUPS;
use crate::support::mended::{CORRECTIONS, about};
use crate::support::running::Running;

pub const SYMBOLS: u64 = 200;
pub const PARTITIONS: i32 = 6;
const START: i64 = 1_700_000_000_000_000;

/// The trade with the number `n`: the same whenever it is asked for. One in sixteen comes late, by up to 0.4 s.
pub fn trade(seed: u64, n: u64) -> Trade {
    let bits = random(seed, n);
    let price = 90.0 + (bits >> 40) as f64 / 1_000_000.0;
    let symbol = format!("S{}", symbol(seed, n));
    let late = if bits >> 30 & 15 == 0 { (bits >> 34 & 4095) as i64 } else { 0 };
    Trade { symbol, time: START + (n as i64 - late) * 100, price, volume: volume(bits) }
}

/// Which symbol the trade with the number `n` is of: that of the trade it is about, where it may be taken for a message
/// about one.
pub fn symbol(seed: u64, n: u64) -> u64 {
    let bits = random(seed, n);
    match about(n as i64, volume(bits)) {
        Some(other) => symbol(seed, other as u64),
        None => bits % SYMBOLS,
    }
}

fn volume(bits: u64) -> i64 {
    (bits >> 20 & 1023) as i64 + 1
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
}

/// The topics of a job: that of the source, and what comes out.
pub const TOPICS: [&str; 10] =
    ["trades", "few", "bars", "revised", "surges", "totals", "orders", "mended", "barred", "now"];
/// Its tables.
pub const TABLES: [&str; 12] =
    ["few", "bars", "revised", "trend", "totals", "recent", "sizes", "mended", "steps", "newest", "dearest", "now"];
/// Where they are.
pub const KEYSPACE: &str = "chaos";

impl Places {
    /// The full name of one of the [`TOPICS`].
    pub fn topic(&self, name: &str) -> String {
        format!("{}-{name}", self.job)
    }

    /// The full name of one of the [`TABLES`].
    pub fn table(&self, name: &str) -> String {
        format!("{}_{name}", self.job)
    }
}

/// All operators, and every sink that promises each row once.
pub fn dataflow(places: &Places, checkpoint: Duration) -> String {
    let Places { job, brokers, cassandra } = places;
    let checkpoint = humantime::format_duration(checkpoint);
    let of_corrections = corrections::OPERATORS;
    let tables: String =
        ["bars", "revised", "trend", "mended"].iter().map(|node| table_of_windows(job, node)).collect();
    let groups: String = ["totals", "recent", "sizes"].iter().map(|node| table_of_groups(job, node)).collect();
    format!(
        r#"
        version = 1
        name = "{job}"
        [job]
        checkpoint = "{checkpoint}"
        epoch = "100ms"
        [kafka]
        brokers = "{brokers}"
        [cassandra]
        contact_points = "{cassandra}"
        keyspace = "{KEYSPACE}"
        create = true
        [sources.trades]
        type = "kafka"
        topic = "{job}-trades"
        lateness = "20ms"
        {TRADES}
        {OPERATORS}
        {GROUPS}
        [sources.orders]
        type = "kafka"
        topic = "{job}-trades"
        lateness = "20ms"
        {TRADES}
        {CORRECTIONS}
        {of_corrections}
        [sinks.topic]
        type = "kafka"
        input = "few"
        topic = "{job}-few"
        guarantee = "exactly_once"
        [sinks.topic_of_bars]
        type = "kafka"
        input = "bars"
        topic = "{job}-bars"
        guarantee = "exactly_once"
        [sinks.changelog]
        type = "kafka"
        input = "revised"
        topic = "{job}-revised"
        [sinks.changelog_of_surges]
        type = "kafka"
        input = "surges"
        topic = "{job}-surges"
        [sinks.changelog_of_totals]
        type = "kafka"
        input = "totals"
        topic = "{job}-totals"
        [sinks.changelog_of_orders]
        type = "kafka"
        input = "orders"
        topic = "{job}-orders"
        [sinks.changelog_of_mended]
        type = "kafka"
        input = "mended"
        topic = "{job}-mended"
        [sinks.table_of_steps]
        type = "cassandra"
        input = "steps"
        table = "{job}_steps"
        partition_key = "symbol"
        clustering_key = ["seq"]
        [sinks.topic_of_barred]
        type = "kafka"
        input = "barred"
        topic = "{job}-barred"
        guarantee = "exactly_once"
        [sinks.changelog_of_now]
        type = "kafka"
        input = "now"
        topic = "{job}-now"
        [sinks.table_of_now]
        type = "cassandra"
        input = "now"
        table = "{job}_now"
        partition_key = "symbol"
        [sinks.table]
        type = "cassandra"
        input = "few"
        table = "{job}_few"
        partition_key = "symbol"
        clustering_key = ["n"]
        on_conflict = "last"
        [sinks.table_of_newest]
        type = "cassandra"
        input = "newest"
        table = "{job}_newest"
        partition_key = "symbol"
        [sinks.table_of_dearest]
        type = "cassandra"
        input = "dearest"
        table = "{job}_dearest"
        partition_key = "rank"
        {FOLDERS}
        {tables}
        {groups}
        "#
    )
}

/// A table of rows that are known by their symbol and their interval.
fn table_of_windows(job: &str, node: &str) -> String {
    format!(
        r#"
        [sinks.table_of_{node}]
        type = "cassandra"
        input = "{node}"
        table = "{job}_{node}"
        partition_key = "symbol"
        clustering_key = ["start"]
        "#
    )
}

/// A table of rows that are known by their symbol alone.
fn table_of_groups(job: &str, node: &str) -> String {
    format!(
        r#"
        [sinks.table_of_{node}]
        type = "cassandra"
        input = "{node}"
        table = "{job}_{node}"
        partition_key = "symbol"
        "#
    )
}
