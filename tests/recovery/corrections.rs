//! Trades that are cancelled and corrected: what is made of those that are left, whatever is killed.

use std::collections::BTreeMap;

use rand::{SeedableRng, rngs::StdRng};

use super::market::{TRADES, Trade, lines, trades};
use super::windows::{key, values};
use super::{killed_again_and_again, started};
use crate::support::bars::{Key, Table, Tick, differences};
use crate::support::mended::{BAR, CORRECTIONS, Mended, STEP, TRADE, about};
use crate::support::{Folder, Row, rows};

/// All that takes changes, over a source `orders` whose trades may be corrected.
pub const OPERATORS: &str = r#"
        [operators.mended]
        type = "window"
        input = "orders"
        tumbling = "100ms"
        [operators.mended.columns]
        open = "first(price)"
        high = "max(price)"
        low = "min(price)"
        close = "last(price)"
        volume = "sum(volume)"
        trades = "count(*)"
        [operators.steps]
        type = "indicators"
        input = "orders"
        emit = "all"
        columns = { sma_5 = "sma(price, 5)" }
"#;

/// Trades of which many are about others, of the same symbol then.
fn market(seed: u64) -> Vec<Trade> {
    let mut trades = trades(seed);
    for n in 0..trades.len() {
        if let Some(about) = about(n as i64, trades[n].volume) {
            trades[n].symbol = trades[about as usize].symbol.clone();
        }
    }
    trades
}

fn folder(trades: &[Trade], order: &str, checkpoint: &str) -> Folder {
    let flow = format!(
        r#"
        version = 1
        name = "market"
        [job]
        checkpoint = "{checkpoint}"
        epoch = "10ms"
        [sources.orders]
        type = "file"
        path = "trades.jsonl"
        {TRADES}
        order = "{order}"
        lateness = "20ms"
        speed = 1
        {CORRECTIONS}
        {OPERATORS}
        [sinks.written_orders]
        type = "file"
        input = "orders"
        path = "orders.jsonl"
        [sinks.written_mended]
        type = "file"
        input = "mended"
        path = "mended.jsonl"
        [sinks.written_steps]
        type = "file"
        input = "steps"
        path = "steps.jsonl"
        "#
    );
    let folder = Folder::new();
    folder.write("trades.jsonl", lines(trades));
    folder.write("flow.toml", flow);
    folder
}

/// The key of a trade: its symbol and its number.
pub fn trade_key(row: &Row) -> Key {
    (row["symbol"].as_str().expect("a symbol").to_string(), row["n"].as_i64().expect("a number"))
}

/// What changes come to, by what `id` says a row is known by, and then by its key.
fn in_the_end(
    folder: &Folder,
    file: &str,
    id: impl Fn(&Row) -> String,
    key: fn(&Row) -> Key,
    columns: &[&str],
) -> Table {
    let mut table: BTreeMap<String, (Key, Vec<Option<f64>>)> = BTreeMap::new();
    for row in rows(&folder.read(file)) {
        let now = (key(&row), values(&row, columns));
        match row["__op"].as_str() {
            Some("delete") => drop(table.remove(&id(&row))),
            _ => drop(table.insert(id(&row), now)),
        }
    }
    table.into_values().collect()
}

fn check(folder: &Folder, trades: &[Trade]) {
    let mut mended = Mended::default();
    for (n, trade) in (0..).zip(trades) {
        let Trade { symbol, time, price, volume } = trade;
        mended.take(0, Tick { symbol, n, time: *time, price: *price, volume: *volume });
    }
    assert!(mended.corrected > 50, "{} trades were corrected late: that tells little", mended.corrected);
    let seq = |row: &Row| row["seq"].to_string();
    let bar = |row: &Row| format!("{:?}", key(row));
    let wrong = [
        differences("orders", &mended.trades(), &in_the_end(folder, "orders.jsonl", seq, trade_key, &TRADE)),
        differences("mended", &mended.bars(true), &in_the_end(folder, "mended.jsonl", bar, key, &BAR)),
        differences("steps", &mended.steps(), &in_the_end(folder, "steps.jsonl", seq, trade_key, &STEP)),
    ]
    .concat();
    assert!(wrong.is_empty(), "{} differences: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
}

#[test]
fn killed_at_any_moment_corrected_trades_are_what_they_are_otherwise() {
    for (seed, order) in [(61, "arrival"), (62, "event_time")] {
        let trades = market(seed);
        let folder = folder(&trades, order, "100ms");
        killed_again_and_again(&folder, &mut StdRng::seed_from_u64(seed), 900);
        check(&folder, &trades);
    }
}

#[test]
fn corrections_go_on_with_more_and_fewer_workers() {
    let trades = market(63);
    let folder = folder(&trades, "arrival", "1h");
    for workers in ["1", "3", "2"] {
        let running = started(&folder, &["--workers", workers], 1000);
        running.signal("INT");
        running.wait().fine();
    }
    let ended = folder.tapeflow(&["run", "flow.toml", "--state", "state", "--workers", "2"]).fine();
    assert!(ended.stderr.contains("goes on from checkpoint"), "{}", ended.stderr);
    check(&folder, &trades);
}

#[test]
fn trades_that_were_held_are_not_forgotten_without_a_word() {
    let trades = market(64);
    let folder = folder(&trades, "arrival", "1h");
    let running = started(&folder, &[], 800);
    running.signal("INT");
    running.wait().fine();
    folder.write("flow.toml", folder.read("flow.toml").replace(CORRECTIONS, ""));
    let refused = folder.tapeflow(&["run", "flow.toml", "--state", "state"]).with_code(5);
    assert!(refused.stderr.contains("`orders` held trades to be corrected, and does so no more"), "{}", refused.stderr);
}
