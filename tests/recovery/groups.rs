//! What groups of trades come to, for all time and of late, whatever is killed.

use std::path::Path;

use super::windows::values;
use crate::support::bars::{Key, Table, Tick, differences as differ};
use crate::support::groups::{LATENESS, RECENTLY, SIZES, TOTALS, recent, sizes, totals};
use crate::support::{Row, rows};

/// All groups, into files.
pub const FILES: &str = r#"
        [sinks.written_totals]
        type = "file"
        input = "totals"
        path = "totals.jsonl"
        [sinks.written_recent]
        type = "file"
        input = "recent"
        path = "recent.jsonl"
        [sinks.written_sizes]
        type = "file"
        input = "sizes"
        path = "sizes.jsonl"
"#;

/// The key of a row of a group: its symbol, where it has one.
pub fn key(row: &Row) -> Key {
    (row.get("symbol").and_then(|symbol| symbol.as_str()).unwrap_or_default().to_string(), 0)
}

/// What rows that replace and delete one another come to.
pub fn table<'r>(changes: impl IntoIterator<Item = &'r Row>, columns: &[&str]) -> Table {
    let mut table = Table::new();
    for row in changes {
        match row["__op"].as_str() {
            Some("delete") => drop(table.remove(&key(row))),
            _ => drop(table.insert(key(row), values(row, columns))),
        }
    }
    table
}

/// What is wrong with the files of [`FILES`], when all trades of `trades.jsonl` have come.
pub fn differences(folder: &Path) -> Vec<String> {
    let read = |name: &str| rows(&std::fs::read_to_string(folder.join(format!("{name}.jsonl"))).expect("text"));
    let text = std::fs::read_to_string(folder.join("trades.jsonl")).expect("text");
    // A line may be no trade.
    let trades: Vec<Row> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let ticks: Vec<Tick<'_>> = trades.iter().map(tick).collect();
    let passed = ticks.iter().map(|tick| tick.time).max().expect("a trade") - LATENESS;
    let compare = |name, columns: &[&str], expected| differ(name, &expected, &table(&read(name), columns));
    [
        compare("totals", &TOTALS, totals(&ticks)),
        compare("recent", &RECENTLY, recent(&ticks, passed)),
        compare("sizes", &SIZES, sizes(&ticks)),
    ]
    .concat()
}

fn tick(row: &Row) -> Tick<'_> {
    let number = |name: &str| row[name].as_i64().expect("a number");
    let (symbol, price) = (row["symbol"].as_str().expect("a symbol"), row["price"].as_f64().expect("a price"));
    Tick { symbol, n: number("n"), time: number("time"), price, volume: number("volume") }
}
