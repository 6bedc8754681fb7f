//! The newest trades of a run, the dearest of them, and those that repeat none, compared with a plain recomputation.

use std::path::Path;

use super::check::shortened;
use super::flow::{Places, partition, symbol, trade};
use super::table::Stored;
use crate::recovery::market::Trade;
use crate::recovery::tables::{Tables, once};
use crate::support::Row;

/// What is wrong with all outputs that hold them.
pub fn wrong(places: &Places, seed: u64, count: u64, folder: &Path) -> Vec<String> {
    let trades: Vec<Trade> = (0..count).map(|n| trade(seed, n)).collect();
    let came = (0..).zip(&trades).map(|(n, trade)| (partition(symbol(seed, n)), n as i64, trade));
    let expected = Tables::expected(came);
    let table =
        |name: &str, columns: &[&str]| Stored { server: &places.cassandra, name: places.table(name) }.all(columns);
    let number = |row: &Row, name: &str| row[name].as_i64().expect("a number");
    let newest = table("newest", &["symbol", "n"]);
    let dearest = table("dearest", &["rank", "n"]);
    let found = Tables {
        newest: newest
            .iter()
            .map(|row| (row["symbol"].as_str().expect("text").to_string(), number(row, "n")))
            .collect(),
        dearest: dearest.iter().map(|row| (number(row, "rank"), number(row, "n"))).collect(),
        once: once(folder),
        wrong: Vec::new(),
    };
    let mut wrong = shortened("the tables", found.differences(&expected));
    // A run in which nothing is repeated would tell nothing of it.
    if expected.once.len() == trades.len() {
        wrong.push("no trade is a repeat".to_string());
    }
    wrong
}
