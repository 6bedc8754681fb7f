//! What is written when: overwrites, replays, nulls, times to live, workers, back-pressure.

use std::collections::HashMap;

use tapeflow::runtime::run_local;

use super::support::Keyspace;

const COLUMNS: &str = r#"k = "text", t = "timestamp_ms", price = "double", side = "text""#;
const SOURCE: &str = "time = \"t\"\nkey = \"k\"";
const TICKS: &str = "table = \"ticks\"\ncreate = true\npartition_key = \"k\"\nclustering_key = [\"t\", \"seq\"]";
const LATEST: &str = "table = \"latest\"\ncreate = true\npartition_key = \"k\"\non_conflict = \"last\"";

/// `count` rows, which take turns to be of one of seven keys; prices fall, so that the last one is not the one that
/// wins where two writes have the same time.
fn rows(count: usize) -> String {
    let row = |at: usize| {
        let time = 1_767_623_400_000_u64 + at as u64 / 100;
        format!("{{\"k\": \"K{}\", \"t\": {time}, \"price\": {}}}\n", at % 7, price(at))
    };
    (0..count).map(row).collect()
}

fn price(at: usize) -> f64 {
    (1_000_000 - at) as f64
}

#[test]
fn rows_that_would_overwrite_each_other_are_refused_unless_asked_for() {
    let keyspace = Keyspace::new("refused");
    keyspace.input(&rows(1));
    let sink = "table = \"ticks\"\ncreate = true\npartition_key = \"k\"\nclustering_key = \"t\"";
    let told = keyspace.run(&keyspace.flow(COLUMNS, SOURCE, sink), 1).with_code(3).stderr;
    assert!(told.contains("rows with the same key would overwrite each other: add `seq`"), "{}", told);
    keyspace.run_well(&keyspace.flow(COLUMNS, SOURCE, &format!("{sink}\non_conflict = \"last\"")));
}

#[test]
fn the_last_row_of_a_key_stays() {
    let keyspace = Keyspace::new("last");
    let count = 200_000;
    keyspace.input(&rows(count));
    for workers in [1, 3] {
        keyspace.cql("DROP TABLE IF EXISTS KS.latest");
        keyspace.run(&keyspace.flow(COLUMNS, SOURCE, LATEST), workers).fine();
        let latest: HashMap<String, f64> =
            keyspace.rows::<(String, f64)>("SELECT k, price FROM KS.latest").into_iter().collect();
        let expected = (count - 7..count).map(|at| (format!("K{}", at % 7), price(at))).collect();
        assert_eq!(latest, expected, "{workers} workers");
    }
}

#[test]
fn the_last_row_of_a_key_that_is_not_the_key_of_the_source_stays_too() {
    let keyspace = Keyspace::new("by_side");
    let count = 100_000;
    let row = |at: usize| {
        format!("{{\"k\": \"K{}\", \"t\": 1, \"price\": {}, \"side\": \"S{}\"}}\n", at % 7, price(at), at % 3)
    };
    keyspace.input(&(0..count).map(row).collect::<String>());
    let sink = "table = \"by_side\"\ncreate = true\npartition_key = \"side\"\non_conflict = \"last\"";
    keyspace.run(&keyspace.flow(COLUMNS, SOURCE, sink), 3).fine();
    let latest: HashMap<String, f64> =
        keyspace.rows::<(String, f64)>("SELECT side, price FROM KS.by_side").into_iter().collect();
    assert_eq!(latest, (count - 3..count).map(|at| (format!("S{}", at % 3), price(at))).collect());
}

#[test]
fn an_older_epoch_that_comes_later_hides_nothing() {
    let keyspace = Keyspace::new("replay");
    let flow = keyspace.flow(COLUMNS, SOURCE, LATEST);
    let (older, newer) = (1_700_000_000_000_000, 1_700_000_000_500_000);
    for (start, price) in [(newer, 2.0), (older, 1.0)] {
        keyspace.input(&format!("{{\"k\": \"A\", \"t\": 1767623400000, \"price\": {price}}}"));
        let prepared = keyspace.prepare(&flow, start);
        run_local(vec![prepared], 1).expect("it starts").join().expect("it ends well");
    }
    let (price, time) = keyspace.row::<(f64, i64)>("SELECT price, writetime(price) FROM KS.latest");
    assert_eq!((price, time), (2.0, newer as i64));
}

#[test]
fn a_null_leaves_what_is_there() {
    let keyspace = Keyspace::new("nulls");
    let flow = keyspace.flow(COLUMNS, SOURCE, LATEST);
    for row in
        [r#"{"k": "A", "t": 1, "price": 1.5, "side": "buy"}"#, r#"{"k": "A", "t": 2, "price": 2.5, "side": null}"#]
    {
        keyspace.input(row);
        keyspace.run_well(&flow);
    }
    let row = keyspace.row::<(f64, Option<String>)>("SELECT price, side FROM KS.latest");
    assert_eq!(row, (2.5, Some("buy".to_string())));
}

#[test]
fn rows_without_a_key_become_dead_letters_and_the_others_are_written() {
    let keyspace = Keyspace::new("unkeyed");
    keyspace.input("{\"k\": \"A\", \"t\": 1, \"side\": \"\"}\n{\"k\": \"B\", \"t\": 1}\n{\"k\": \"C\", \"t\": 1, \"side\": \"buy\"}\n",
    );
    let sink = "table = \"by_side\"\ncreate = true\npartition_key = \"side\"\nclustering_key = \"seq\"";
    let totals = keyspace.run_well(&keyspace.flow(COLUMNS, SOURCE, sink));
    assert_eq!(keyspace.rows::<(String,)>("SELECT k FROM KS.by_side"), [("C".to_string(),)]);
    assert_eq!(totals["totals"]["dead_letters"], 2);
    let letters = keyspace.dead_letters();
    for reason in
        ["column `side`: it is empty, and it is the partition key", "column `side`: it is null, and it is part of"]
    {
        assert!(letters.contains(reason), "{letters}");
    }
}

#[test]
fn rows_live_for_what_is_left_of_their_time() {
    let keyspace = Keyspace::new("ttl");
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    let row = |key: &str, age: i64| format!("{{\"k\": \"{key}\", \"t\": {}, \"price\": 1}}\n", now - age * 1000);
    let (hour, day) = (3600, 86_400);
    keyspace.input(&(row("new", 0) + &row("old", day - hour) + &row("gone", day + hour)));
    let totals = keyspace.run_well(&keyspace.flow(COLUMNS, SOURCE, &format!("{TICKS}\nttl = \"1d\"")));
    assert_eq!(totals["totals"]["expired"], 1);
    let left: HashMap<String, i32> =
        keyspace.rows::<(String, i32)>("SELECT k, ttl(price) FROM KS.ticks").into_iter().collect();
    assert_eq!(left.len(), 2);
    // However long the test takes, less than an hour of it is gone.
    let within = |left: i32, of: i64| i64::from(left) > of - hour && i64::from(left) <= of;
    assert!(within(left["new"], day) && within(left["old"], hour), "{left:?}");
}

#[test]
fn any_number_of_workers_and_requests_gives_the_same_table() {
    let keyspace = Keyspace::new("workers");
    let count = 60_000;
    keyspace.input(&rows(count));
    let mut tables = Vec::new();
    for (workers, more) in [(1, ""), (3, ""), (2, "in_flight = 1\nbatch_rows = 7\nbatch_bytes = \"200B\"")] {
        keyspace.cql("DROP TABLE IF EXISTS KS.ticks");
        keyspace.run(&keyspace.flow(COLUMNS, SOURCE, &format!("{TICKS}\n{more}")), workers).fine();
        let mut table = Vec::new();
        for key in 0..7 {
            table.extend(
                keyspace.rows::<(String, i64, f64)>(&format!("SELECT k, seq, price FROM KS.ticks WHERE k = 'K{key}'")),
            );
        }
        assert_eq!(table.len(), count);
        tables.push(table);
    }
    assert!(tables[0] == tables[1] && tables[0] == tables[2]);
}
