//! Trades with the last bar that had ended, and what the last of both are: found by a plain loop over all trades, which
//! shares no code with tapeflow.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::market::Trade;
use super::windows::{bars, key};
use crate::support::bars::{LATENESS, SIZE, Table};
use crate::support::{Row, rows};

/// By the number of a trade, or its symbol: the start of a bar in ms, and its close.
pub type Barred = BTreeMap<i64, Option<(i64, f64)>>;
/// The last trade and the last bar of each symbol.
pub type Now = BTreeMap<String, (i64, i64, f64)>;

/// What each trade finds, as far as event time has `passed` in all partitions (in microseconds): of the bars that had ended
/// where its partition had come to by then the newest, unless it begins behind the trade.
pub fn barred<'t>(trades: impl Iterator<Item = (i32, i64, &'t Trade)>, bars: &Table, passed: i64) -> Barred {
    let mut watermarks: HashMap<i32, i64> = HashMap::new();
    let told = passed.div_euclid(SIZE).saturating_mul(SIZE);
    let find = |(partition, n, trade): (i32, i64, &Trade)| {
        let watermark = watermarks.entry(partition).or_insert(i64::MIN);
        let place = trade.time.max(*watermark);
        *watermark = trade.time.saturating_sub(LATENESS).max(*watermark);
        let ended = (place.div_euclid(SIZE) - 1) * SIZE / 1000;
        let first = (trade.symbol.clone(), i64::MIN);
        let newest = bars.range(first..=(trade.symbol.clone(), ended)).next_back();
        let found = newest.filter(|((_, start), _)| start * 1000 <= trade.time);
        let found = found.map(|((_, start), values)| (*start, values[3].expect("a close")));
        (place < told || passed == i64::MAX).then_some((n, found))
    };
    trades.filter_map(find).collect()
}

/// The last trade of each symbol that has a bar, and the last bar.
pub fn now<'t>(trades: impl Iterator<Item = (i32, i64, &'t Trade)>, bars: &Table) -> Now {
    let mut last: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for (_, n, trade) in trades {
        let newest = last.entry(&trade.symbol).or_insert((trade.time, n));
        *newest = (trade.time, n).max(*newest);
    }
    let ended: BTreeMap<&str, (i64, f64)> =
        bars.iter().map(|((symbol, start), values)| (symbol.as_str(), (*start, values[3].expect("a close")))).collect();
    let both = last.into_iter().filter_map(|(symbol, (_, n))| {
        let (start, close) = ended.get(symbol)?;
        Some((symbol.to_string(), (n, *start, *close)))
    });
    both.collect()
}

/// The bar in a joined row.
fn bar(row: &Row) -> Option<(i64, f64)> {
    let start =
        Row::from_iter([("symbol".to_string(), row["symbol"].clone()), ("start".to_string(), row["bar"].clone())]);
    row["bar"].is_string().then(|| (key(&start).1, row["bar_close"].as_f64().expect("a close")))
}

/// What is wrong with joined trades.
pub fn differences_of_barred(expected: &Barred, found: impl Iterator<Item = Row>) -> Vec<String> {
    let (mut seen, mut wrong) = (BTreeMap::new(), Vec::new());
    for row in found {
        let n = row["n"].as_i64().expect("a number");
        if seen.insert(n, bar(&row)).is_some() {
            wrong.push(format!("joined trade {n} comes again"));
        }
    }
    for n in expected.keys().chain(seen.keys().filter(|n| !expected.contains_key(n))) {
        if expected.get(n) != seen.get(n) {
            wrong.push(format!("trade {n} is joined with {:?}, not with {:?}", seen.get(n), expected.get(n)));
        }
    }
    wrong
}

/// What is wrong with the last trades and bars: rows that are inserted and deleted.
pub fn differences_of_now(expected: &Now, changes: impl Iterator<Item = Row>) -> Vec<String> {
    let (mut found, mut wrong) = (Now::new(), Vec::new());
    for row in changes {
        let symbol = row["symbol"].as_str().expect("a symbol").to_string();
        let (start, close) = bar(&row).expect("a bar");
        let both = (row["n"].as_i64().expect("a number"), start, close);
        let (before, wanted) = match row["__op"].as_str() {
            Some("delete") => (found.remove(&symbol), Some(both)),
            _ => (found.insert(symbol.clone(), both), None),
        };
        if before != wanted {
            wrong.push(format!("{symbol} was {before:?}, and {} {both:?}", row["__op"]));
        }
    }
    for symbol in expected.keys().chain(found.keys().filter(|symbol| !expected.contains_key(*symbol))) {
        if expected.get(symbol) != found.get(symbol) {
            wrong.push(format!("{symbol} is {:?}, not {:?}", found.get(symbol), expected.get(symbol)));
        }
    }
    wrong
}

/// What is wrong with the files of joins, where all trades have come, and in order.
pub fn differences(trades: &[Trade], folder: &Path) -> Vec<String> {
    let read =
        |name: &str| rows(&std::fs::read_to_string(folder.join(format!("{name}.jsonl"))).expect("text")).into_iter();
    let all = || (0..).zip(trades).map(|(n, trade)| (0, n, trade));
    let ended = bars(all()).in_time(i64::MAX);
    let mut wrong = differences_of_barred(&barred(all(), &ended, i64::MAX), read("barred"));
    wrong.extend(differences_of_now(&now(all(), &ended), read("now")));
    wrong
}

#[test]
fn a_difference_is_seen() {
    let trades = super::market::trades(1);
    let all = || (0..).zip(&trades).map(|(n, trade)| (0, n, trade));
    let ended = bars(all()).in_time(i64::MAX);
    let (joined, last) = (barred(all(), &ended, i64::MAX), now(all(), &ended));
    assert!(joined.values().flatten().count() > 10_000 && last.len() == 30);
    let text = |bar: &Option<(i64, f64)>| {
        let time = |start: &i64| chrono::DateTime::from_timestamp_millis(*start).expect("a time").to_rfc3339();
        bar.as_ref().map_or((serde_json::Value::Null, serde_json::Value::Null), |(start, close)| {
            (time(start).into(), (*close).into())
        })
    };
    let row = |(n, bar): (&i64, &Option<(i64, f64)>)| {
        let (start, close) = text(bar);
        let columns = [("n", (*n).into()), ("symbol", "A".into()), ("bar", start), ("bar_close", close)];
        columns.into_iter().map(|(name, value)| (name.to_string(), value)).collect::<Row>()
    };
    let right: Vec<Row> = joined.iter().map(row).collect();
    let wrong = |rows: &[Row]| differences_of_barred(&joined, rows.iter().cloned()).len();
    assert_eq!((wrong(&right), wrong(&right[1..]), wrong(&[&right[..], &right[..1]].concat())), (0, 1, 1));
    let mut other = right.clone();
    other[9000].insert("bar_close".to_string(), 0.0.into());
    assert_eq!(wrong(&other), 1);
    assert_eq!(differences_of_now(&last, std::iter::empty()).len(), 30);
}
