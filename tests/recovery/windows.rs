//! Bars, revised bars and what is computed of them: also where rows come late, whatever is killed.

use std::collections::BTreeMap;
use std::path::Path;

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};

use super::groups::{self, FILES};
use super::market::{FOLDERS, OPERATORS, ROWS, TABLES, TRADES, Trade, WINDOWS, lines, trades};
use super::tables::Tables;
use super::{killed_again_and_again, started};
use crate::support::bars::{
    BAR, Bars, Key, REVISED, SURGES, TREND, Table, Tick, Values, appended, differences as differ, surges, trend,
};
use crate::support::groups::OPERATORS as GROUPS;
use crate::support::{Folder, Row, rows};

/// So many neighbours change places: in a third of a second, where 20 ms are waited for and 150 ms more revise.
const DISORDER: usize = 600;

/// The bars of trades, which have come in this order: with each its partition, and its number there.
pub fn bars<'t>(trades: impl Iterator<Item = (i32, i64, &'t Trade)>) -> Bars {
    let mut bars = Bars::default();
    for (partition, n, Trade { symbol, time, price, volume }) in trades {
        bars.take(partition, Tick { symbol, n, time: *time, price: *price, volume: *volume });
    }
    bars
}

/// The key of a row of a window.
pub fn key(row: &Row) -> Key {
    let start = row["start"].as_str().unwrap_or_else(|| panic!("{row:?}"));
    let instant = start.replace(' ', "T").parse::<chrono::DateTime<chrono::Utc>>();
    (row["symbol"].as_str().expect("a symbol").to_string(), instant.expect("a time").timestamp_millis())
}

/// Some columns of a row, which are numbers.
pub fn values(row: &Row, columns: &[&str]) -> Values {
    columns.iter().map(|column| row[*column].as_f64()).collect()
}

/// The numbers of the trades that came too late for their bar, sorted.
pub fn late(folder: &Path) -> Vec<i64> {
    let files = std::fs::read_dir(folder.join("late")).expect("a folder").flatten();
    let rows = files.flat_map(|file| rows(&std::fs::read_to_string(file.path()).expect("text")));
    let mut late: Vec<i64> = rows.map(|row| row["n"].as_i64().expect("a number")).collect();
    late.sort_unstable();
    late
}

/// What the files of [`WINDOWS`] come to.
struct Windows {
    tables: BTreeMap<&'static str, Table>,
    late: Vec<i64>,
    wrong: Vec<String>,
}

impl Windows {
    fn of(folder: &Path) -> Windows {
        let read = |name: &str| rows(&std::fs::read_to_string(folder.join(format!("{name}.jsonl"))).expect("text"));
        let bars = read("bars").iter().map(|row| (key(row), values(row, &BAR))).collect();
        let (bars, wrong) = appended("bars", bars);
        let mut tables = BTreeMap::from([("bars", bars)]);
        for (name, columns) in [("revised", &REVISED[..]), ("trend", &TREND), ("surges", &SURGES)] {
            tables.insert(name, table(&read(name), columns));
        }
        Windows { tables, late: late(folder), wrong }
    }

    fn differences(&self, expected: &BTreeMap<&'static str, Table>, late: &[i64]) -> Vec<String> {
        let of_table = |(name, expected): (&&str, &Table)| differ(name, expected, &self.tables[name]);
        let mut wrong: Vec<String> = self.wrong.iter().cloned().chain(expected.iter().flat_map(of_table)).collect();
        if self.late != late {
            wrong.push(format!("{} late trades, not {}", self.late.len(), late.len()));
        }
        wrong
    }
}

/// What rows that replace and delete one another come to.
pub fn table(changes: &[Row], columns: &[&str]) -> Table {
    let mut table = Table::new();
    for row in changes {
        match row["__op"].as_str() {
            Some("delete") => drop(table.remove(&key(row))),
            _ => drop(table.insert(key(row), values(row, columns))),
        }
    }
    table
}

/// What is wrong with the files of [`WINDOWS`], where all trades have come, and in order.
pub fn differences(trades: &[Trade], folder: &Path) -> Vec<String> {
    let bars = bars((0..).zip(trades).map(|(n, trade)| (0, n, trade)));
    let revised = bars.revised(i64::MAX);
    let (trend, surges) = (trend(&revised), surges(&revised));
    let tables = [("bars", bars.in_time(i64::MAX)), ("trend", trend), ("surges", surges), ("revised", revised)];
    let of_groups = groups::differences(folder);
    Windows::of(folder).differences(&tables.into(), &[]).into_iter().chain(of_groups).collect()
}

/// Trades of which many come late.
fn market(seed: u64, checkpoint: &str) -> Folder {
    let folder = Folder::new();
    let mut trades = trades(seed);
    let mut random = StdRng::seed_from_u64(seed);
    trades.chunks_mut(DISORDER).for_each(|some| some.shuffle(&mut random));
    folder.write("trades.jsonl", lines(&trades));
    folder.write("flow.toml", flow(checkpoint));
    folder
}

/// Trades as they come, late or not.
fn flow(checkpoint: &str) -> String {
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

/// The windows of a run that was not disturbed: every trade is in one of them or late, and some are corrected.
fn undisturbed(seed: u64) -> (Windows, Tables) {
    let folder = market(seed, "1h");
    folder.tapeflow(&["run", "flow.toml", "--workers", "2"]).fine();
    let windows = Windows::of(&folder.path(""));
    let sum = |name: &str, column: usize| -> f64 {
        windows.tables[name].values().map(|values| values[column].expect("a number")).sum()
    };
    let (in_time, revised, corrections) = (sum("bars", 5), sum("revised", 5), sum("revised", 6));
    assert_eq!(in_time + windows.late.len() as f64, ROWS as f64);
    assert_eq!(in_time + corrections, revised);
    assert!(corrections > 500.0 && revised < ROWS as f64, "{corrections} late trades, {revised} in bars");
    for (name, computed) in
        [("trend", trend(&windows.tables["revised"])), ("surges", surges(&windows.tables["revised"]))]
    {
        assert!(computed.len() > 100);
        assert_eq!(differ(name, &computed, &windows.tables[name]), Vec::<String>::new());
    }
    assert_eq!(windows.wrong, Vec::<String>::new());
    let tables = Tables::of(&folder.path(""));
    assert!(tables.newest.len() > 5 && tables.once.len() > ROWS / 10 && tables.wrong.is_empty());
    (windows, tables)
}

fn check(folder: &Folder, (windows, tables): &(Windows, Tables)) {
    let mut wrong = Windows::of(&folder.path("")).differences(&windows.tables, &windows.late);
    wrong.extend(Tables::of(&folder.path("")).differences(tables));
    wrong.extend(groups::differences(&folder.path("")));
    assert!(wrong.is_empty(), "{} differences: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
}

#[test]
fn killed_at_any_moment_it_gives_the_bars_of_a_run_that_was_not() {
    let folder = market(52, "100ms");
    killed_again_and_again(&folder, &mut StdRng::seed_from_u64(52), 900);
    check(&folder, &undisturbed(52));
}

#[test]
fn bars_go_on_with_more_and_fewer_workers() {
    let folder = market(53, "1h");
    for workers in ["1", "3", "2"] {
        let running = started(&folder, &["--workers", workers], 1000);
        running.signal("INT");
        running.wait().fine();
    }
    let ended = folder.tapeflow(&["run", "flow.toml", "--state", "state", "--workers", "2"]).fine();
    assert!(ended.stderr.contains("goes on from checkpoint"), "{}", ended.stderr);
    check(&folder, &undisturbed(53));
}

/// So many bars that the first ones are forgotten, just when the last of these may still be revised.
#[test]
fn a_bar_that_may_still_be_revised_is_not_forgotten_by_what_is_computed_of_it() {
    let times = (0..66).map(|bar| bar * 100).chain([6_660, 6_675, 6_550, 6_450]);
    let trade = |(n, time): (i64, i64)| {
        let price = 100.0 + (n * 7919 % 13) as f64;
        Trade { symbol: "A".to_string(), time: 1_700_000_000_000_000 + time * 1000, price, volume: 1 }
    };
    let trades: Vec<Trade> = (0..).zip(times).map(trade).collect();
    let folder = Folder::new();
    folder.write("trades.jsonl", lines(&trades));
    folder.write("flow.toml", flow("1h"));
    folder.tapeflow(&["run", "flow.toml"]).fine();
    let found = Windows::of(&folder.path("")).tables;
    assert_eq!(found["revised"].values().filter(|values| values[6] == Some(1.0)).count(), 2, "late trades");
    assert_eq!(differ("trend", &trend(&found["revised"]), &found["trend"]), Vec::<String>::new());
}
