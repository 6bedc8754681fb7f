//! What is left of the trades of a run when some of them are taken for cancels and corrections of others, and what is made of
//! it: in topics and tables, compared with a plain recomputation.

use std::collections::BTreeMap;

use super::check::shortened;
use super::flow::{Places, partition, symbol, trade};
use super::table::Stored;
use super::windows::{Told, last, messages};
use crate::recovery::corrections::trade_key;
use crate::recovery::market::Trade;
use crate::recovery::windows::{key, values};
use crate::support::bars::{Key, Table, Tick, differences};
use crate::support::mended::{BAR, Mended, STEP, TRADE};

/// What is wrong with all outputs that hold corrected trades.
pub fn wrong(places: &Places, seed: u64, count: u64) -> Vec<String> {
    let mut mended = Mended::default();
    for n in 0..count {
        let Trade { symbol: of, time, price, volume } = trade(seed, n);
        mended.take(partition(symbol(seed, n)), Tick { symbol: &of, n: n as i64, time, price, volume });
    }
    let topic = |name: &str| messages(&places.brokers, &places.topic(name));
    let table = |name: &str, known: &[&str], columns: &[&str]| {
        let table = Stored { server: &places.cassandra, name: places.table(name) };
        table.all(&[known, columns].concat())
    };
    let bars: Table =
        table("mended", &["symbol", "start"], &BAR).iter().map(|row| (key(row), values(row, &BAR))).collect();
    let steps: Table =
        table("steps", &["symbol", "n"], &STEP).iter().map(|row| (trade_key(row), values(row, &STEP))).collect();
    let compare = |output, expected: &Table, found: &Table| shortened(output, differences(output, expected, found));
    let mut wrong = [
        compare("the corrected trades", &mended.trades(), &last_trades(topic("orders"))),
        compare("the mended bars", &mended.bars(false), &last(topic("mended"), &BAR)),
        compare("the table of mended bars", &mended.bars(false), &bars),
        compare("the table of steps", &mended.steps(), &steps),
    ]
    .concat();
    // A run without them would tell nothing.
    if mended.corrected == 0 || mended.refused == 0 {
        wrong.push(format!("{} trades were corrected late, and {} refused", mended.corrected, mended.refused));
    }
    wrong
}

/// What stands last under each `seq`, by the number of the trade.
fn last_trades(messages: Vec<Told>) -> Table {
    let mut last: BTreeMap<Vec<u8>, (Key, Vec<Option<f64>>)> = BTreeMap::new();
    for message in messages {
        match &message.row {
            Some(row) => drop(last.insert(message.key, (trade_key(row), values(row, &TRADE)))),
            None => drop(last.remove(&message.key)),
        }
    }
    last.into_values().collect()
}
