//! What groups of the trades of a run come to, in a topic and tables, compared with a plain recomputation.

use super::check::shortened;
use super::flow::Places;
use super::table::Stored;
use super::windows::{last_of, messages};
use crate::recovery::groups::key;
use crate::recovery::market::Trade;
use crate::recovery::windows::values;
use crate::support::bars::{Table, Tick, differences};
use crate::support::groups::{RECENTLY, SIZES, TOTALS, recent, sizes, totals};

/// What is wrong with all outputs that hold groups, where event time has come to `passed`.
pub fn wrong(places: &Places, trades: &[Trade], passed: i64) -> Vec<String> {
    let numbered = (0..).zip(trades);
    let ticks: Vec<Tick<'_>> = numbered
        .map(|(n, Trade { symbol, time, price, volume })| Tick {
            symbol,
            n,
            time: *time,
            price: *price,
            volume: *volume,
        })
        .collect();
    let table = |name: &str, columns: &[&str]| -> Table {
        let table = Stored { server: &places.cassandra, name: places.table(name) };
        let rows = table.all(&[&["symbol"], columns].concat());
        rows.iter().map(|row| (key(row), values(row, columns))).collect()
    };
    let compare = |output, expected: &Table, found: &Table| shortened(output, differences(output, expected, found));
    let totals = totals(&ticks);
    [
        compare("the totals", &totals, &last_of(messages(&places.brokers, &places.topic("totals")), key, &TOTALS)),
        compare("the table of totals", &totals, &table("totals", &TOTALS)),
        compare("the table of large and small trades", &sizes(&ticks), &table("sizes", &SIZES)),
        compare("the table of recent trades", &recent(&ticks, passed), &table("recent", &RECENTLY)),
    ]
    .concat()
}
