//! Rows of a topic that come late for their window: by the event time of their own partition, however many workers read
//! them; and by the time that a partition was given while it was idle, also after a crash.

use std::path::Path;

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::json;

use super::topics::{Flow, START, Topic, Written, source};
use crate::recovery::windows::{key, table, values};
use crate::support::bars::{BAR, Bars, REVISED, Tick, appended, differences};
use crate::support::cluster::wait_until;
use crate::support::{Folder, Row, rows};

const PARTITIONS: i32 = 3;

/// A tick of a symbol of this partition; its price is its number.
fn tick(partition: i32, n: i64, time: i64) -> Written {
    let symbol = format!("S{partition}{}", n % 2);
    let tick = json!({ "symbol": symbol, "timestamp": START + time, "price": n, "volume": n % 7 });
    Written::new(partition, &symbol, tick.to_string())
}

/// Of each partition so many rows, numbered from `first` on, in the order of event time but for some of half a second.
fn disordered(random: &mut StdRng, partitions: &[i32], first: i64, count: i64) -> Vec<Written> {
    let mut numbers: Vec<i64> = (first..first + count).collect();
    numbers.chunks_mut(50).for_each(|some| some.shuffle(random));
    let one = |n: &i64| {
        // No place of its own depends on which of two rows of the same instant comes first.
        let ticks = partitions.iter().map(|partition| tick(*partition, n * 10 + i64::from(*partition), n * 10));
        ticks.collect::<Vec<_>>()
    };
    numbers.iter().flat_map(one).collect()
}

fn take(bars: &mut Bars, written: &[Written]) {
    for message in written {
        let row = message.json();
        let number = |column: &str| row[column].as_i64().expect("a number");
        let (symbol, n) = (row["symbol"].as_str().expect("a symbol"), number("price"));
        let (time, volume) = (number("timestamp") * 1000, number("volume"));
        bars.take(message.partition, Tick { symbol, n, time, price: n as f64, volume });
    }
}

/// Windows that drop, tell of and revise by late rows, each into a file.
fn windows() -> String {
    let window = |name: &str, late: &str| {
        format!(
            "[operators.{name}]\ntype = \"window\"\ninput = \"ticks\"\ntumbling = \"100ms\"\n{late}\n\
             [operators.{name}.columns]\nopen = \"first(price)\"\nhigh = \"max(price)\"\nlow = \"min(price)\"\n\
             close = \"last(price)\"\nvolume = \"sum(volume)\"\ntrades = \"count(*)\"\n"
        )
    };
    let sink = |name: &str, input: &str| {
        format!("[sinks.to_{name}]\ntype = \"file\"\ninput = \"{input}\"\npath = \"{name}.jsonl\"\n")
    };
    [
        window("dropping", ""),
        window("telling", "late = \"side_output\""),
        window("revising", "late = \"revise\"\nrevise_for = \"150ms\""),
        sink("dropping", "dropping"),
        sink("telling", "telling"),
        sink("late", "telling.late"),
        sink("revising", "revising"),
    ]
    .concat()
}

/// What is wrong with the files of [`windows`].
fn wrong(bars: &Bars, folder: &Path) -> Vec<String> {
    let read = |name: &str| rows(&std::fs::read_to_string(folder.join(name)).expect("a file"));
    let mut wrong = Vec::new();
    for name in ["dropping", "telling"] {
        let found = read(&format!("{name}.jsonl")).iter().map(|row| (key(row), values(row, &BAR))).collect();
        let (found, again) = appended(name, found);
        wrong.extend(again.into_iter().chain(differences(name, &bars.in_time(i64::MAX), &found)));
    }
    let revised = table(&read("revising.jsonl"), &REVISED);
    wrong.extend(differences("revising", &bars.revised(i64::MAX), &revised));
    let number = |row: &Row| row["price"].as_f64().expect("a number") as i64;
    let mut late: Vec<i64> = read("late.jsonl").iter().map(number).collect();
    late.sort_unstable();
    if !late.iter().eq(&bars.late) {
        wrong.push(format!("{} late rows are told of, not {}", late.len(), bars.late.len()));
    }
    wrong
}

#[test]
fn a_row_is_late_by_its_own_partition_however_many_workers_read() {
    let (topic, mut random, mut bars) = (Topic::new(PARTITIONS + 1), StdRng::seed_from_u64(1), Bars::default());
    // The last partition stays empty, and the third is far behind the others, which makes none of its rows late.
    let messages = [disordered(&mut random, &[0, 1], 0, 1000), disordered(&mut random, &[2], 0, 500)].concat();
    topic.write(&messages);
    take(&mut bars, &messages);
    let late = 2 * bars.late.len() + bars.lost.len();
    assert!(bars.lost.len() > 100 && bars.late.len() > bars.lost.len() + 100, "{late}");
    for workers in [1, 2, 3, 5] {
        let flow = Flow::new(&(source(&topic.name, "lateness = \"20ms\"") + &windows()));
        assert_eq!(flow.run(workers)["totals"]["late"], late, "{workers} workers");
        assert_eq!(wrong(&bars, flow.folder.path()), Vec::<String>::new(), "{workers} workers");
    }
}

#[test]
fn rows_of_a_partition_that_was_idle_are_late_by_what_it_was_given_also_after_a_crash() {
    let (topic, mut random, mut bars) = (Topic::new(PARTITIONS), StdRng::seed_from_u64(2), Bars::default());
    let write = |bars: &mut Bars, messages: Vec<Written>| {
        topic.write(&messages);
        take(bars, &messages);
    };
    let flow = Flow::with(
        &(source(&topic.name, "lateness = \"20ms\"\nidle_timeout = \"300ms\"").replace("\"end\"", "\"never\"")
            + &windows()),
        "epoch = \"20ms\"\ncheckpoint = \"1h\"",
    );
    let folder = Folder::new();
    let text = std::fs::read_to_string(flow.folder.path().join("flow.toml")).expect("a file");
    folder.write("flow.toml", &text);
    let run = |workers: &str| folder.start(&["run", "flow.toml", "--workers", workers, "--state", "state"], &[]);
    let running = run("2");
    write(&mut bars, disordered(&mut random, &[0, 1, 2], 0, 100));
    // The third partition is quiet from now on. The last rows are those of the greatest event time, in both others.
    write(&mut bars, disordered(&mut random, &[0, 1], 100, 100));
    write(&mut bars, vec![tick(0, 30_000, 3000), tick(1, 30_001, 3000)]);
    // Up to 2,980 all have ended: so far the third one was given up, too.
    let told = |start: i64| rows_of(&folder, "telling.jsonl").iter().any(|row| key(row).1 >= START + start);
    wait_until("bars end without the partition that is idle", || told(1900));
    bars.give(2, (START + 2980) * 1000);
    // Too late for its bar, and for some also to revise it.
    let late = |time: i64| tick(2, 40_000 + time, time);
    let before = bars.late.len();
    write(&mut bars, (1000..3000).step_by(100).map(late).collect());
    assert_eq!(bars.late.len() - before, 19);
    wait_until("late rows are told of", || rows_of(&folder, "late.jsonl").len() == bars.late.len());
    running.signal("KILL");
    running.wait();
    // All is read again, and more, to the end; what was given is written down.
    write(&mut bars, disordered(&mut random, &[0, 1, 2], 310, 50));
    folder.write("flow.toml", text.replace("\"never\"", "\"end\""));
    run("3").wait().fine();
    assert_eq!(wrong(&bars, &folder.path("")), Vec::<String>::new());
}

/// The whole lines of a file that is being written.
fn rows_of(folder: &Folder, name: &str) -> Vec<Row> {
    let text = folder.read_if_there(name);
    rows(text.rsplit_once('\n').map_or("", |(whole, _)| whole))
}
