//! What the trades of a run were joined with, in topics and tables, compared with a plain recomputation.

use std::collections::BTreeMap;

use super::check::shortened;
use super::flow::{Places, partition, symbol, trade};
use super::table::Stored;
use super::windows::messages;
use crate::recovery::joins::{barred, differences_of_barred, differences_of_now, now};
use crate::recovery::market::Trade;
use crate::recovery::windows::bars;
use crate::support::Row;

/// What is wrong with all outputs that hold joined rows.
pub fn wrong(places: &Places, seed: u64, count: u64) -> Vec<String> {
    let trades: Vec<Trade> = (0..count).map(|n| trade(seed, n)).collect();
    let all = || (0..).zip(&trades).map(|(n, trade)| (partition(symbol(seed, n)), n as i64, trade));
    let expected = bars(all());
    let passed = expected.passed();
    let ended = expected.in_time(passed);
    let topic = |name: &str| messages(&places.brokers, &places.topic(name)).into_iter();
    let told = topic("barred").map(|told| told.row.expect("a joined trade"));
    let last = last(topic("now").map(|told| (told.key, told.row)));
    let table = Stored { server: &places.cassandra, name: places.table("now") };
    let stored = table.all(&["symbol", "n", "bar", "bar_close"]).into_iter();
    let inserted = stored.map(|mut row| {
        row.insert("__op".to_string(), "insert".into());
        row
    });
    let now = now(all(), &ended);
    [
        shortened("the joined trades", differences_of_barred(&barred(all(), &ended, passed), told)),
        shortened("the last trades and bars", differences_of_now(&now, last)),
        shortened("the table of the last trades and bars", differences_of_now(&now, inserted)),
    ]
    .concat()
}

/// What stands last under each key, as if it had been inserted.
fn last(messages: impl Iterator<Item = (Vec<u8>, Option<Row>)>) -> impl Iterator<Item = Row> {
    let mut last: BTreeMap<Vec<u8>, Row> = BTreeMap::new();
    for (key, row) in messages {
        match row {
            Some(row) => drop(last.insert(key, row)),
            None => drop(last.remove(&key)),
        }
    }
    last.into_values().map(|mut row| {
        row.insert("__op".to_string(), "insert".into());
        row
    })
}
