//! The newest trades, the dearest of them, and those that repeat none, whatever is killed.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value as Json;

use super::market::Trade;
use crate::support::tables::{Tick, Trades};
use crate::support::{Row, rows};

/// What the files of [`TABLES`](super::market::TABLES) come to, by the numbers of the trades.
#[derive(PartialEq)]
pub struct Tables {
    pub newest: BTreeMap<String, i64>,
    pub dearest: BTreeMap<i64, i64>,
    /// Sorted.
    pub once: Vec<i64>,
    pub wrong: Vec<String>,
}

impl Tables {
    /// As the files in the folder of a run tell it.
    pub fn of(folder: &Path) -> Tables {
        let mut wrong = Vec::new();
        let mut left = |name: &str| {
            let text = std::fs::read_to_string(folder.join(name)).expect("text");
            left(name, rows(&text), &mut wrong)
        };
        let newest = left("newest.jsonl").iter().map(|row| (text(row, "symbol"), number(row, "n"))).collect();
        let dearest = left("dearest.jsonl").iter().map(|row| (number(row, "rank"), number(row, "n"))).collect();
        Tables { newest, dearest, once: once(folder), wrong }
    }

    /// As a recomputation finds it, of trades in the order in which they came, each with its partition.
    pub fn expected<'t>(trades: impl Iterator<Item = (i32, i64, &'t Trade)>) -> Tables {
        let mut all = Trades::default();
        for (partition, n, Trade { symbol, time, price, volume }) in trades {
            all.take(partition, Tick { symbol, n, time: *time, price: *price, volume: *volume });
        }
        let (newest, dearest) = (all.newest(), all.dearest());
        all.once.sort_unstable();
        Tables { newest, dearest, once: all.once, wrong: Vec::new() }
    }

    /// What differs from `expected`.
    pub fn differences(mut self, expected: &Tables) -> Vec<String> {
        let mut wrong = std::mem::take(&mut self.wrong);
        if self.newest != expected.newest {
            wrong.push(format!("the newest are {:?}, not {:?}", self.newest, expected.newest));
        }
        if self.dearest != expected.dearest {
            wrong.push(format!("the dearest are {:?}, not {:?}", self.dearest, expected.dearest));
        }
        if self.once != expected.once {
            let (found, wanted) = (&self.once, &expected.once);
            let at =
                found.iter().zip(wanted).position(|(one, other)| one != other).unwrap_or(found.len().min(wanted.len()));
            let (one, other) = (found.get(at), wanted.get(at));
            wrong.push(format!(
                "{} are no repeats, not {}; the first that differ are {one:?} and {other:?}",
                found.len(),
                wanted.len()
            ));
        }
        wrong
    }
}

/// What is wrong with these files, where all trades have come in order.
pub fn differences(trades: &[Trade], folder: &Path) -> Vec<String> {
    Tables::of(folder).differences(&Tables::expected((0..).zip(trades).map(|(n, trade)| (0, n, trade))))
}

/// The rows that were inserted and not deleted; each must be deleted as it was inserted.
fn left(name: &str, told: Vec<Row>, wrong: &mut Vec<String>) -> Vec<Row> {
    let mut left: BTreeMap<String, Row> = BTreeMap::new();
    for mut row in told {
        let is_deleted = row.remove("__op") == Some(Json::from("delete"));
        let text = Json::from(row.clone()).to_string();
        let was = if is_deleted { left.remove(&text) } else { left.insert(text.clone(), row) };
        if was.is_some() != is_deleted {
            wrong.push(format!("{name}: {} {text}", if is_deleted { "there was no" } else { "twice" }));
        }
    }
    left.into_values().collect()
}

/// The numbers of the trades that went on, sorted.
pub fn once(folder: &Path) -> Vec<i64> {
    let files = std::fs::read_dir(folder.join("once")).expect("a folder").flatten();
    let rows = files.flat_map(|file| rows(&std::fs::read_to_string(file.path()).expect("text")));
    let mut once: Vec<i64> = rows.map(|row| number(&row, "n")).collect();
    once.sort_unstable();
    once
}

fn number(row: &Row, name: &str) -> i64 {
    row[name].as_i64().unwrap_or_else(|| panic!("{row:?}"))
}

fn text(row: &Row, name: &str) -> String {
    row[name].as_str().unwrap_or_else(|| panic!("{row:?}")).to_string()
}
