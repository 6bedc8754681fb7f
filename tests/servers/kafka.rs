//! Topics in, topics out, against a real broker. What is expected is worked out here, not by the program.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::topics::{
    Flow, PATIENCE, START, Topic, Written, brokers, name, said, source, tapeflow, tick, ticks, to_file,
};

pub const MEANS: &str = "[operators.means]\ntype = \"indicators\"\ninput = \"ticks\"\nemit = \"all\"\n\
                     columns = { mean = \"sma(price, 3)\" }\n";

/// Rows by symbol, each symbol's in the order given.
pub fn by_symbol(rows: impl IntoIterator<Item = Value>) -> BTreeMap<String, Vec<Value>> {
    let mut symbols: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in rows {
        symbols.entry(row["symbol"].as_str().expect("a symbol").to_string()).or_default().push(row);
    }
    symbols
}

/// The prices of each symbol in order, and the mean of the last three beside each.
pub fn expected_means(messages: &[Written]) -> BTreeMap<String, Vec<(f64, Option<f64>)>> {
    let prices = by_symbol(messages.iter().map(Written::json));
    let means = |rows: Vec<Value>| {
        let prices: Vec<f64> = rows.iter().map(|row| row["price"].as_f64().expect("a price")).collect();
        let mean = |at: usize| (at >= 2).then(|| prices[at - 2..=at].iter().sum::<f64>() / 3.0);
        (0..prices.len()).map(|at| (prices[at], mean(at))).collect()
    };
    prices.into_iter().map(|(symbol, rows)| (symbol, means(rows))).collect()
}

pub fn assert_means(found: BTreeMap<String, Vec<Value>>, expected: &BTreeMap<String, Vec<(f64, Option<f64>)>>) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (symbol, rows) in found {
        let expected = &expected[&symbol];
        assert_eq!(rows.len(), expected.len(), "{symbol}");
        for (row, (price, mean)) in rows.iter().zip(expected) {
            assert_eq!(row["price"].as_f64(), Some(*price), "{symbol}");
            match (row["mean"].as_f64(), mean) {
                (Some(found), Some(mean)) => assert!((found - mean).abs() < 1e-9, "{symbol}: {found}, not {mean}"),
                (found, mean) => assert_eq!(found, *mean, "{symbol}"),
            }
        }
    }
}

#[test]
fn any_number_of_workers_reads_any_number_of_partitions() {
    // Partitions 5 and 6 stay empty.
    let topic = Topic::new(7);
    let messages = ticks(3000, 10, 5);
    topic.write(&messages);
    let expected = expected_means(&messages);
    for workers in [1, 2, 3, 9] {
        let flow = Flow::new(&(source(&topic.name, "") + MEANS + &to_file("means")));
        assert_eq!(flow.run(workers)["totals"]["rows_in"], 3000);
        assert_means(by_symbol(flow.rows("out.jsonl")), &expected);
    }
}

#[test]
fn reading_begins_where_it_shall() {
    let topic = Topic::new(2);
    let at = |n: i64| Written { timestamp: Some(START + n), ..ticks(100, 4, 2)[n as usize].clone() };
    topic.write(&(0..100).map(at).collect::<Vec<_>>());
    // 2023-11-14T22:13:20Z is START.
    for (start, first) in [
        ("earliest", Some(0)),
        ("latest", None),
        ("2023-11-14T22:13:20.060Z", Some(60)),
        ("2023-11-14T23:13:20.060+01:00", Some(60)),
        ("2000-01-01T00:00:00Z", Some(0)),
        ("2100-01-01T00:00:00Z", None),
    ] {
        let flow = Flow::new(&(source(&topic.name, &format!("start = \"{start}\"")) + &to_file("ticks")));
        flow.run(2);
        let prices: Vec<f64> =
            flow.rows("out.jsonl").iter().map(|row| row["price"].as_f64().expect("a price")).collect();
        let expected: Vec<f64> = (first.unwrap_or(100)..100).map(|n| n as f64 / 4.0).collect();
        let mut sorted = prices.clone();
        sorted.sort_by(f64::total_cmp);
        assert_eq!(sorted, expected, "{start}");
    }
}

#[test]
fn the_end_is_found_behind_markers_aborted_messages_and_in_empty_topics() {
    let topic = Topic::new(4);
    topic.write_transaction(&ticks(40, 2, 2), true);
    topic.write_transaction(&ticks(10, 2, 2), false);
    // A partition that holds nothing but what was aborted.
    topic.write_transaction(&[Written::new(2, "S2", tick("S2", 1))], false);
    for workers in [1, 3] {
        let flow = Flow::new(&(source(&topic.name, "") + &to_file("ticks")));
        assert_eq!(flow.run(workers)["totals"]["rows_in"], 40);
    }
    let empty = Flow::new(&(source(&Topic::new(3).name, "") + &to_file("ticks")));
    assert_eq!(empty.run(2)["totals"]["rows_in"], 0);
}

#[test]
fn keys_and_arrays_hold_records() {
    let topic = Topic::new(2);
    let message = |n: i64| {
        let values: Vec<Value> = (0..n).map(|row| json!({ "price": n * 10 + row, "t": START + n })).collect();
        Written::new(
            (n % 2) as i32,
            &format!("{{\"stock\": \"K{n}\"}}"),
            json!({ "data": { "trades": values } }).to_string(),
        )
    };
    topic.write(&(0..5).map(message).collect::<Vec<_>>());
    let source = format!(
        "[sources.trades]\ntype = \"kafka\"\ntopic = \"{}\"\ntime = \"t\"\nkey = \"stock\"\nstop = \"end\"\n\
         schema = {{ price = \"double\", t = \"bigint\" }}\nkey_schema = {{ stock = \"text\" }}\narray = \"data.trades\"\n",
        topic.name
    );
    let flow = Flow::new(&(source + &to_file("trades")));
    flow.run(2);
    let rows = flow.rows("out.jsonl");
    let mut found: Vec<(String, i64)> = rows
        .iter()
        .map(|row| (row["stock"].as_str().expect("a key").to_string(), row["price"].as_f64().expect("a price") as i64))
        .collect();
    found.sort();
    let expected: Vec<(String, i64)> =
        (0..5).flat_map(|n| (0..n).map(move |row| (format!("K{n}"), n * 10 + row))).collect();
    assert_eq!(found, expected);
    let mut seqs: Vec<i64> = rows.iter().map(|row| row["seq"].as_i64().expect("a seq")).collect();
    seqs.sort_unstable();
    seqs.dedup();
    assert_eq!(seqs.len(), expected.len());
}

#[test]
fn rows_of_a_key_come_back_in_order_by_any_number_of_workers() {
    let topic = Topic::new(4);
    let messages = ticks(2000, 9, 4);
    topic.write(&messages);
    let expected = expected_means(&messages);
    for workers in [1, 2, 3] {
        let out = Topic::named(&name("out"), 3);
        let sink = format!(
            "[sinks.out]\ntype = \"kafka\"\ninput = \"means\"\ntopic = \"{}\"\ncreate = {{ partitions = 3 }}\n",
            out.name
        );
        let flow = Flow::new(&(source(&topic.name, "") + MEANS + &sink));
        flow.run(workers);
        let rows = out.read();
        assert!(rows.iter().all(|row| row.key.as_deref() == row.json()["symbol"].as_str().map(str::as_bytes)));
        assert_means(by_symbol(rows.iter().map(Written::json)), &expected);
        let times = rows.iter().map(|row| row.json()["timestamp"].as_str().map(|time| time.ends_with('Z')));
        assert!(times.into_iter().all(|utc| utc == Some(true)));
        // What was read is durable, and lag tools see it.
        let lengths = (0..4).map(|partition| messages.iter().filter(|message| message.partition == partition).count());
        let committed: Vec<Option<i64>> = lengths.map(|length| Some(length as i64)).collect();
        assert_eq!(topic.committed(&flow.job), committed);
    }
}

#[test]
fn rows_of_a_file_reach_a_topic_in_order_by_any_number_of_workers() {
    // Large enough for several splits, which the workers take in turn.
    let lines: Vec<String> = (0..200_000).map(|n| tick(&format!("S{}", n % 3), n)).collect();
    for workers in [1, 3] {
        let out = Topic::new(2);
        let flow = Flow::new(&format!(
            "[sources.ticks]\ntype = \"file\"\npath = \"in.jsonl\"\ntime = \"timestamp\"\nkey = \"symbol\"\n\
             [sinks.out]\ntype = \"kafka\"\ninput = \"ticks\"\ntopic = \"{}\"\ntimes = \"ms\"\n\
             key = [\"symbol\", \"volume\"]\nselect = [\"symbol\", \"price\"]\n",
            out.name
        ));
        std::fs::write(flow.folder.path().join("in.jsonl"), lines.join("\n")).expect("a file");
        flow.run(workers);
        let rows = out.read();
        assert_eq!(rows.len(), lines.len());
        let mut last: BTreeMap<Vec<u8>, f64> = BTreeMap::new();
        for row in rows {
            let price = row.json()["price"].as_f64().expect("a price");
            let key = row.key.expect("a key");
            let names: BTreeMap<String, Value> = serde_json::from_slice(&key).expect("an object");
            assert_eq!(names.keys().collect::<Vec<_>>(), ["symbol", "volume"]);
            assert!(last.insert(key, price).is_none_or(|before| before < price));
        }
    }
}

#[test]
fn an_unkeyed_topic_is_put_in_order_of_event_time() {
    let topic = Topic::new(3);
    let messages = ticks(900, 4, 4);
    // One partition after the other, so that none is in step with the rest.
    let spread = |n: usize| Written { partition: ((n * 7 / 5) % 3) as i32, key: None, ..messages[n].clone() };
    let mut unkeyed: Vec<Written> = (0..messages.len()).map(spread).collect();
    unkeyed.sort_by_key(|message| message.partition);
    topic.write(&unkeyed);
    let expected = expected_means(&messages);
    for workers in [1, 2, 4] {
        let flow = Flow::new(&(source(&topic.name, "order = \"event_time\"") + MEANS + &to_file("means")));
        flow.run(workers);
        let mut rows = by_symbol(flow.rows("out.jsonl"));
        // The file is sorted by the place in the topic: the order of event time is in the means.
        let price = |row: &Value| row["price"].as_f64().expect("a price");
        rows.values_mut().for_each(|rows| rows.sort_by(|one, other| price(one).total_cmp(&price(other))));
        assert_means(rows, &expected);
    }
}

#[test]
fn an_empty_partition_does_not_hold_the_others_back_for_ever() {
    let (topic, out) = (Topic::new(2), Topic::new(1));
    topic.write(&ticks(50, 1, 1));
    let source = source(&topic.name, "order = \"event_time\"\nidle_timeout = \"200ms\"");
    let sink = format!("[sinks.out]\ntype = \"kafka\"\ninput = \"ticks\"\ntopic = \"{}\"\n", out.name);
    let flow = Flow::new(&(source.replace("stop = \"end\"", "") + &sink));
    let program = env!("CARGO_BIN_EXE_tapeflow");
    let mut job = std::process::Command::new(program)
        .args(["run", "--quiet", "flow.toml", "--workers", "2"])
        .current_dir(flow.folder.path())
        .spawn()
        .expect("the program runs");
    let began = std::time::Instant::now();
    // The last row waits for a later one.
    while out.read().len() < 49 && began.elapsed() < PATIENCE {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let found = out.read().len();
    job.kill().expect("it runs still");
    job.wait().expect("it has ended");
    assert_eq!(found, 49);
}

#[test]
fn what_cannot_be_reached_is_said_at_once() {
    let topic = Topic::new(1);
    let misspelt = topic.name.replace("test", "tset");
    let flow = Flow::new(&(source(&misspelt, "") + &to_file("ticks")));
    let output = flow.try_run(1);
    assert_eq!(output.status.code(), Some(4));
    assert!(said(&output).contains(&format!("there is no topic `{misspelt}` at {}", brokers())), "{}", said(&output));

    let sink = "[sinks.out]\ntype = \"kafka\"\ninput = \"ticks\"\ntopic = \"no-such-topic\"\n";
    let flow = Flow::new(&(source(&topic.name, "") + sink));
    let validated = tapeflow(flow.folder.path(), &["validate", "--connect", "flow.toml"]);
    for output in [flow.try_run(1), validated] {
        assert_eq!(output.status.code(), Some(4));
        assert!(said(&output).contains("there is no topic `no-such-topic`"), "{}", said(&output));
    }

    let nowhere = "brokers = \"127.0.0.1:1\"";
    let flow = Flow::new(&(source(&topic.name, nowhere) + &to_file("ticks")));
    let output = flow.try_run(1);
    assert_eq!(output.status.code(), Some(4));
    assert!(said(&output).contains("no Kafka broker answers at 127.0.0.1:1"), "{}", said(&output));
}

#[test]
fn properties_reach_the_client_unless_they_would_break_it() {
    let topic = Topic::new(1);
    topic.write(&ticks(10, 1, 1));
    let flow = Flow::new(
        &(source(&topic.name, "properties = { \"fetch.min.bytes\" = 1, \"fetch.wait.max.ms\" = \"50\" }")
            + &to_file("ticks")),
    );
    assert_eq!(flow.run(1)["totals"]["rows_in"], 10);
    // The brokers of the tests speak no TLS: where the property arrives, nothing else does.
    let flow =
        Flow::new(&(source(&topic.name, "properties = { \"security.protocol\" = \"ssl\" }") + &to_file("ticks")));
    assert_eq!(flow.try_run(1).status.code(), Some(4));
    let wrong = "properties = { \"enable.auto.commit\" = true, \"no.such.property\" = \"x\", \"group.id\" = \"g\" }";
    let flow = Flow::new(&(source(&topic.name, wrong) + &to_file("ticks")));
    let output = flow.try_run(1);
    assert_eq!(output.status.code(), Some(3));
    for expected in ["`enable.auto.commit` cannot be set here", "no.such.property", "write `group`"] {
        assert!(said(&output).contains(expected), "{expected}: {}", said(&output));
    }
}

#[test]
fn ticks_are_generated_and_files_replayed() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let generated = Topic::named(&name("generated"), 2);
    let arguments = ["generate", "--topic", &generated.name, "--count", "500", "--speed", "max", "--partitions", "2"];
    for _ in 0..2 {
        let output =
            tapeflow(folder.path(), &[&arguments[..], &["--seed", "7", "--start", "2026-01-05T14:30:00Z"]].concat());
        assert!(output.status.success(), "{}", said(&output));
    }
    let ticks = generated.read();
    assert_eq!(ticks.len(), 1000);
    // The same seed makes the same ticks, and a symbol stays in its partition.
    for (symbol, ticks) in by_symbol(ticks.iter().map(Written::json)) {
        assert!(ticks.len() % 2 == 0 && ticks[..ticks.len() / 2] == ticks[ticks.len() / 2..], "{symbol}");
    }

    let replayed = Topic::named(&name("replayed"), 1);
    std::fs::write(folder.path().join("trades.csv"), "symbol,price,code\nA,1.50,007\nB,,8\n").expect("a file");
    let arguments = ["replay", "trades.csv", "--topic", &replayed.name, "--key", "symbol", "--partitions", "1"];
    let output = tapeflow(folder.path(), &arguments);
    assert!(output.status.success(), "{}", said(&output));
    let messages: Vec<(Option<Vec<u8>>, String)> =
        replayed.read().iter().map(|message| (message.key.clone(), message.text())).collect();
    let expected = [
        (Some(b"A".to_vec()), r#"{"symbol":"A","price":1.50,"code":"007"}"#.to_string()),
        (Some(b"B".to_vec()), r#"{"symbol":"B","price":null,"code":"8"}"#.to_string()),
    ];
    assert_eq!(messages, expected);
}
