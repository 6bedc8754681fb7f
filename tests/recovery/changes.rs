//! Dataflow files that were changed between two runs: nodes are known by their names.

use std::collections::BTreeMap;

use super::market::{Trade, Values, differences, flow, lines, rows_of_lines, trades};
use super::started;
use crate::support::{Ended, Folder, naive};

fn run_for(folder: &Folder, milliseconds: u64) {
    let running = started(folder, &[], milliseconds);
    running.signal("INT");
    running.wait().fine();
}

fn run(folder: &Folder, more: &[&str]) -> Ended {
    folder.tapeflow(&[&["run", "flow.toml", "--state", "state"], more].concat())
}

fn refused(folder: &Folder, words: &[&str]) {
    let refused = run(folder, &[]).with_code(5);
    words.iter().for_each(|words| assert!(refused.stderr.contains(words), "{words} in {}", refused.stderr));
}

fn market(seed: u64) -> Folder {
    let folder = Folder::new();
    folder.write("trades.jsonl", lines(&trades(seed)));
    folder.write("flow.toml", flow("1h"));
    folder
}

/// The means of `length` and the other indicators of trades, where all begin anew with the trade `from`.
fn computed(trades: &[Trade], length: usize, from: usize) -> BTreeMap<i64, Values> {
    let mut histories: BTreeMap<String, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    let values = |(row, trade): (usize, &Trade)| {
        let (prices, volumes) = histories.entry(trade.symbol.clone()).or_default();
        prices.push(trade.price);
        volumes.push(trade.volume as f64);
        (row as i64, [naive::sma(prices, length), naive::rsi(prices, 14), naive::obv(prices, volumes)])
    };
    trades.iter().enumerate().skip(from).map(values).collect()
}

#[test]
fn a_changed_operator_begins_anew_where_that_is_asked_for() {
    let folder = market(41);
    run_for(&folder, 1500);
    let before = rows_of_lines(&folder.path("lines")).len();
    folder.write("flow.toml", flow("1h").replace("sma(price, 5)", "sma(price, 6)"));
    refused(&folder, &["`means` was `indicators sma(price, 5)", "--forget means"]);
    refused(&folder, &["`means` was `indicators"]);
    run(&folder, &["--forget", "means"]).fine();
    // All that were written before were computed in the old way, all others as if there had been none.
    let trades = trades(41);
    let mut expected = computed(&trades, 5, 0);
    expected.extend(computed(&trades, 6, before));
    let wrong = differences(&expected, &rows_of_lines(&folder.path("lines")));
    assert!(before > 100 && wrong.is_empty(), "{} differences: {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
}

#[test]
fn what_was_asked_to_be_forgotten_is_kept_from_then_on() {
    let folder = market(42);
    run_for(&folder, 1000);
    let before = rows_of_lines(&folder.path("lines")).len();
    folder.write("flow.toml", flow("1h").replace("sma(price, 5)", "sma(price, 6)"));
    // The same command again goes on with what fits now.
    let running = started(&folder, &["--forget", "means"], 1000);
    running.signal("INT");
    running.wait().fine();
    run(&folder, &["--forget", "means"]).fine();
    let trades = trades(42);
    let mut expected = computed(&trades, 5, 0);
    expected.extend(computed(&trades, 6, before));
    let wrong = differences(&expected, &rows_of_lines(&folder.path("lines")));
    assert!(wrong.is_empty(), "{} differences: {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
}

#[test]
fn new_nodes_begin_with_nothing_and_removed_ones_are_named() {
    let folder = market(43);
    folder.write("more.jsonl", lines(&trades(44)));
    run_for(&folder, 1000);
    let before = rows_of_lines(&folder.path("lines")).len() as i64;
    let source = flow("1h");
    let (head, tail) = (source.find("[sources.trades]").expect("it"), source.find("[operators.real]").expect("it"));
    let more = source[head..tail].replace("trades", "more");
    let sinks = "[sinks.copy]\ntype = \"file\"\ninput = \"few\"\npath = \"copy/\"\n\
                 [sinks.rest]\ntype = \"file\"\ninput = \"more\"\npath = \"rest.jsonl\"\nselect = [\"n\"]\n";
    folder.write("flow.toml", format!("{source}\n{more}\n{sinks}"));
    run_for(&folder, 1500);
    run_for(&folder, 1500);
    run(&folder, &[]).fine();
    let copied: Vec<i64> = rows_of_lines(&folder.path("copy")).into_iter().map(|(row, _)| row).collect();
    assert!(copied.iter().all(|row| *row >= before) && copied.len() as i64 == super::market::ROWS as i64 - before);
    let numbers: Vec<String> = folder.read("rest.jsonl").lines().map(str::to_string).collect();
    let expected: Vec<String> = (0..super::market::ROWS).map(|row| format!("{{\"n\":{row}}}")).collect();
    assert!(numbers == expected, "{} rows of the new source", numbers.len());
}

#[test]
fn nodes_that_are_gone_or_read_something_else_are_named_and_can_be_forgotten() {
    let folder = market(45);
    run_for(&folder, 800);
    let without = flow("1h").replace("[operators.means]", "[operators.averages]").replace("\"means\"", "\"averages\"");
    let without = without.replace("[sinks.lake]", "[sinks.pond]").replace("lake/", "pond/");
    folder.write("flow.toml", &without);
    refused(
        &folder,
        &[
            "`means` has state there and is not in the file any more",
            "`lake` is not in the file any more",
            "--forget lake",
        ],
    );
    run(&folder, &["--forget", "means"]).with_code(5);
    folder.write("flow.toml", flow("1h").replace("order = \"event_time\"\n", ""));
    refused(&folder, &["`trades` held rows back to put them in order"]);
    folder.write("flow.toml", flow("1h").replace("speed = 1", "speed = 2"));
    refused(&folder, &["`trades` read files of json, 1 times as fast", "2 times as fast"]);
    folder.write("flow.toml", flow("1h").replace("type = \"parquet\"", "type = \"file\"").replace("lake/", "lake.csv"));
    refused(&folder, &["`lake` was a parquet sink, and is a file sink now"]);
    folder.write("flow.toml", without);
    run(&folder, &["--forget", "means", "--forget", "lake"]).fine();
}

#[test]
fn a_source_that_is_forgotten_is_read_from_the_beginning() {
    let folder = Folder::new();
    let write = |rows: usize, file: &str| {
        let lines =
            (0..rows).map(|row| format!("{{\"n\":{row},\"symbol\":\"A\",\"time\":{}}}\n", 1_700_000_000_000_000 + row));
        folder.write(file, lines.collect::<String>());
    };
    write(2000, "rows.jsonl");
    let flow = "version = 1\nname = \"files\"\n[sources.rows]\ntype = \"file\"\npath = \"rows*.jsonl\"\ntime = \"time\"\n\
                schema = { n = \"bigint\", symbol = \"text\", time = \"timestamp_us\" }\nspeed = 0.00025\n\
                [sinks.out]\ntype = \"file\"\ninput = \"rows\"\npath = \"out.jsonl\"\nselect = [\"n\"]\n";
    folder.write("flow.toml", flow);
    run_for(&folder, 800);
    let before = folder.read("out.jsonl").lines().count();
    assert!(before > 0 && before < 2000, "{before} rows");
    write(50, "rows-2.jsonl");
    refused(&folder, &["are not those that the checkpoint knows", "--forget rows"]);
    run(&folder, &["--forget", "rows"]).fine();
    assert_eq!(folder.read("out.jsonl").lines().count(), before + 2050);
}
