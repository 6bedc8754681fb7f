//! A market of a few thousand trades, the dataflow that runs over it, and what must come out.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value as Json;

use super::groups::FILES;
use crate::support::groups::OPERATORS as GROUPS;
use crate::support::naive;

/// The columns that are compared.
pub const COLUMNS: [&str; 3] = ["sma_5", "rsi_14", "obv"];
pub const ROWS: usize = 12_000;
/// Event time goes on by this much with each row.
const STEP: i64 = 500;
const START: i64 = 1_700_000_000_000_000;

/// A trade.
pub struct Trade {
    pub symbol: String,
    pub time: i64,
    pub price: f64,
    pub volume: i64,
}

/// The same trades for the same seed.
pub fn trades(seed: u64) -> Vec<Trade> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut prices = [100.0; 30];
    let trade = |row: usize| {
        let symbol = random.random_range(0..prices.len());
        prices[symbol] *= 1.0 + random.random_range(-0.01..0.01);
        let volume = random.random_range(1..1000);
        Trade { symbol: format!("S{symbol}"), time: START + row as i64 * STEP, price: prices[symbol], volume }
    };
    (0..ROWS).map(trade).collect()
}

pub fn lines(trades: &[Trade]) -> String {
    trades.iter().enumerate().map(|(row, trade)| line(row as i64, trade) + "\n").collect()
}

/// The trade with the number `n`, as JSON.
pub fn line(n: i64, trade: &Trade) -> String {
    let Trade { symbol, time, price, volume } = trade;
    format!("{{\"n\":{n},\"symbol\":\"{symbol}\",\"time\":{time},\"price\":{price},\"volume\":{volume}}}")
}

/// What a source of trades says of them.
pub const TRADES: &str = r#"
        schema = { n = "bigint", symbol = "text", time = "timestamp_us", price = "double", volume = "bigint" }
        time = "time"
        key = "symbol"
"#;

/// Every kind of operator there is, from the source `trades` to the node `few`; `operators_are_all_there` sees to that.
pub const OPERATORS: &str = r#"
        [operators.real]
        type = "filter"
        input = "trades"
        when = "price > 0"
        [operators.means]
        type = "indicators"
        input = "real"
        emit = "all"
        columns = { sma_5 = "sma(price, 5)", rsi_14 = "rsi(price, 14)", obv = "obv(price, volume)" }
        [operators.swings]
        type = "alert"
        input = "real"
        when = "abs(price / last_alert(price) - 1) >= 0.02"
        resolve = "abs(price / mean(price, 5) - 1) < 0.002"
        cooldown = "50ms"
        message = "{symbol} moved {case when price > last_alert(price) then 'up' else 'down' end}"
        [operators.few]
        type = "select"
        input = "means"
        select = ["n", "symbol", "sma_5", "rsi_14", "obv"]
        [operators.bars]
        type = "window"
        input = "real"
        tumbling = "100ms"
        late = "side_output"
        [operators.bars.columns]
        open = "first(price)"
        high = "max(price)"
        low = "min(price)"
        close = "last(price)"
        volume = "sum(volume)"
        trades = "count(*)"
        [operators.revised]
        type = "window"
        input = "real"
        tumbling = "100ms"
        late = "revise"
        revise_for = "150ms"
        [operators.revised.columns]
        open = "first(price)"
        high = "max(price)"
        low = "min(price)"
        close = "last(price)"
        volume = "sum(volume)"
        trades = "count(*)"
        [operators.trend]
        type = "indicators"
        input = "revised"
        emit = "all"
        columns = { sma_5 = "sma(close, 5)", rsi_14 = "rsi(close, 14)", obv = "obv(close, volume)" }
        [operators.newest]
        type = "latest"
        input = "real"
        expire = "100ms"
        [operators.dearest]
        type = "rank"
        input = "newest"
        order = "price desc"
        limit = 10
        [operators.once]
        type = "distinct"
        input = "real"
        id = ["symbol", "volume % 50"]
        horizon = "500ms"
        [operators.barred]
        type = "join"
        left = "real"
        right = "bars"
        kind = "as_of"
        columns = { bar = "start", bar_close = "close" }
        [operators.now]
        type = "join"
        left = "real"
        right = "bars"
        kind = "latest"
        columns = { bar = "start", bar_close = "close" }
        [operators.surges]
        type = "alert"
        input = "revised"
        when = "volume > 3000"
"#;

/// Everything that is appended, into folders of files.
pub const FOLDERS: &str = r#"
        [sinks.lines]
        type = "file"
        input = "few"
        path = "lines/"
        [sinks.alerts]
        type = "file"
        input = ["swings", "swings.resolved"]
        path = "alerts/"
        [sinks.late]
        type = "file"
        input = "bars.late"
        path = "late/"
        [sinks.all_once]
        type = "file"
        input = "once"
        path = "once/"
        [sinks.lake]
        type = "parquet"
        input = "few"
        path = "lake/"
"#;

/// All windows and joins, and what is computed of them, into files.
pub const WINDOWS: &str = r#"
        [sinks.written_bars]
        type = "file"
        input = "bars"
        path = "bars.jsonl"
        [sinks.written_revised]
        type = "file"
        input = "revised"
        path = "revised.jsonl"
        [sinks.written_trend]
        type = "file"
        input = "trend"
        path = "trend.jsonl"
        [sinks.written_surges]
        type = "file"
        input = "surges"
        path = "surges.jsonl"
        [sinks.written_barred]
        type = "file"
        input = "barred"
        path = "barred.jsonl"
        [sinks.written_now]
        type = "file"
        input = "now"
        path = "now.jsonl"
"#;

/// The moves of all tables that are kept, into files.
pub const TABLES: &str = r#"
        [sinks.written_newest]
        type = "file"
        input = "newest"
        path = "newest.jsonl"
        [sinks.written_dearest]
        type = "file"
        input = "dearest"
        path = "dearest.jsonl"
"#;

/// A dataflow of all operators over a file. It takes six seconds.
pub fn flow(checkpoint: &str) -> String {
    format!(
        r#"
        version = 1
        name = "market"
        [job]
        checkpoint = "{checkpoint}"
        epoch = "10ms"
        [sources.trades]
        type = "file"
        path = "trades.jsonl"
        {TRADES}
        order = "event_time"
        lateness = "20ms"
        speed = 1
        {OPERATORS}
        {GROUPS}
        {FOLDERS}
        {WINDOWS}
        {FILES}
        {TABLES}
        "#
    )
}

/// Of a row of the output the [`COLUMNS`].
pub type Values = [Option<f64>; COLUMNS.len()];

/// What must come out, by the number of the trade.
pub fn expected(trades: &[Trade]) -> BTreeMap<i64, Values> {
    let mut histories: BTreeMap<String, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    let values = |(row, trade): (usize, &Trade)| {
        let (prices, volumes) = histories.entry(trade.symbol.clone()).or_default();
        prices.push(trade.price);
        volumes.push(trade.volume as f64);
        (row as i64, [naive::sma(prices, 5), naive::rsi(prices, 14), naive::obv(prices, volumes)])
    };
    trades.iter().enumerate().map(values).collect()
}

/// What is wrong with `found`: rows that are missing, come twice, or have other values.
pub fn differences(expected: &BTreeMap<i64, Values>, found: &[(i64, Values)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut seen: BTreeMap<i64, usize> = BTreeMap::new();
    for (number, values) in found {
        *seen.entry(*number).or_default() += 1;
        match expected.get(number) {
            Some(wanted) if same(wanted, values) => {}
            wanted => wrong.push(format!("row {number} is {values:?}, not {wanted:?}")),
        }
    }
    wrong.extend(
        seen.iter().filter(|(_, count)| **count > 1).map(|(row, count)| format!("row {row} comes {count} times")),
    );
    wrong.extend(expected.keys().filter(|row| !seen.contains_key(row)).map(|row| format!("row {row} is missing")));
    wrong
}

/// Whether all columns are the same, to 1e-9.
pub fn same(one: &Values, other: &Values) -> bool {
    one.iter().zip(other).all(|columns| match columns {
        (Some(one), Some(other)) => (one - other).abs() <= 1e-9 * one.abs().max(1.0),
        (one, other) => one == other,
    })
}

/// The rows in all JSON lines below a folder.
pub fn rows_of_lines(folder: &Path) -> Vec<(i64, Values)> {
    let mut rows = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("text");
        for line in text.lines() {
            rows.push(row(line.as_bytes()));
        }
    }
    rows
}

/// A row of the output, from JSON.
pub fn row(json: &[u8]) -> (i64, Values) {
    let row: Json =
        serde_json::from_slice(json).unwrap_or_else(|error| panic!("{}: {error}", String::from_utf8_lossy(json)));
    (row["n"].as_i64().expect("a number"), COLUMNS.map(|column| row[column].as_f64()))
}

/// The rows in all Parquet files of a folder that can be seen.
pub fn rows_of_lake(folder: &Path) -> Vec<(i64, Values)> {
    let mut rows = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let file = std::fs::File::open(entry.path()).expect("a file");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("a reader");
        for data in reader.map(|data| data.expect("rows")) {
            let numbers = data["n"].as_primitive::<Int64Type>();
            let columns = COLUMNS.map(|column| data[column].as_primitive::<Float64Type>());
            let values = |row: usize| columns.map(|column| column.is_valid(row).then(|| column.value(row)));
            rows.extend(numbers.values().iter().enumerate().map(|(row, number)| (*number, values(row))));
        }
    }
    rows
}

#[test]
fn operators_are_all_there() {
    let flow = flow("1s");
    for (kind, _, _) in tapeflow::operators::KINDS {
        assert!(flow.contains(&format!("type = \"{kind}\"")), "recovery is not tested with `{kind}`");
    }
}

#[test]
fn a_difference_is_seen() {
    let expected = expected(&trades(1));
    let right: Vec<(i64, Values)> = expected.iter().map(|(row, values)| (*row, *values)).collect();
    assert_eq!(differences(&expected, &right), Vec::<String>::new());
    assert_eq!(differences(&expected, &right[1..]).len(), 1, "a gap");
    assert_eq!(differences(&expected, &[&right[..], &right[..1]].concat()).len(), 1, "a repeat");
    let mut other = right.clone();
    other[500].1[0] = other[500].1[0].map(|mean| mean * (1.0 + 1e-8));
    assert_eq!(differences(&expected, &other).len(), 1, "another value");
}
