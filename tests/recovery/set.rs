//! Thresholds that are set while rows flow: each row is judged by those of its place, also where processes are killed.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value as Json;

use super::market::{ROWS, TRADES, lines, trades};
use crate::support::cluster::{Cluster, Said, wait_until};
use crate::support::rows;

/// Each trade makes an alert that says by which limit. Checkpoints are rare, so that much is done again after a crash.
fn flow() -> String {
    format!(
        r#"
        version = 1
        name = "market"
        [job]
        checkpoint = "1h"
        epoch = "10ms"
        [sources.trades]
        type = "file"
        path = "trades.jsonl"
        {TRADES}
        order = "event_time"
        lateness = "20ms"
        speed = 1
        [operators.all]
        type = "alert"
        input = "trades"
        when = "price > limit or price <= limit"
        repeat = true
        thresholds = "limits.csv"
        message = "{{limit}}"
        [operators.plain]
        type = "alert"
        input = "trades"
        when = "price > 1e9"
        [sinks.alerts]
        type = "file"
        input = "all"
        path = "alerts/"
        [sinks.none]
        type = "discard"
        input = "plain"
        "#
    )
}

fn start(seed: u64, processes: usize) -> Cluster {
    let mut cluster = Cluster::plan(processes, 2);
    cluster.restart = true;
    let state = cluster.folder.path().join("state");
    cluster.environment.push(("TAPEFLOW_STATE".to_string(), state.to_string_lossy().into_owned()));
    cluster.file("trades.jsonl", &lines(&trades(seed)));
    cluster.file("limits.csv", "symbol,limit\n*,1\nS0,2\n");
    cluster.file("flow.toml", &flow());
    (0..processes).for_each(|index| cluster.launch(index));
    cluster.wait_ready();
    cluster.cli(0, &["submit", "flow.toml"]).with(0);
    wait_until("rows flow", || cluster.job(0, "market")["rows_out"].as_u64() > Some(300));
    cluster
}

/// Kills a process, and waits until the job goes on with another one in its place.
fn lose(cluster: &mut Cluster, killed: usize) {
    let generation = |cluster: &Cluster| {
        let version: Option<Json> = serde_json::from_str(&cluster.ask(killed, "GET /version", "").2).ok();
        version.and_then(|version| version["generation"].as_u64())
    };
    let before = generation(cluster);
    cluster.process(killed).signal("KILL");
    cluster.process(killed).ended();
    cluster.launch(killed);
    wait_until("the job goes on", || {
        let status = || cluster.cli(killed, &["status", "market", "--json"]);
        let goes_on = |said: Said| said.code == 0 && said.json()["rows_out"] != 0;
        generation(cluster) > before && goes_on(status())
    });
}

/// The limits that alerts tell of, by the number of the trade; each comes once, and none is missing.
fn limits(cluster: &Cluster) -> BTreeMap<i64, (String, f64)> {
    wait_until("the job is done", || !cluster.folder.path().join("state/jobs/market/job.json").exists());
    let mut limits = BTreeMap::new();
    for entry in std::fs::read_dir(cluster.folder.path().join("alerts")).expect("a folder").flatten() {
        for row in rows(&std::fs::read_to_string(entry.path()).expect("text")) {
            let symbol = row["symbol"].as_str().expect("a symbol").to_string();
            let limit = row["message"].as_str().expect("text").parse().expect("a number");
            let twice = limits.insert(row["n"].as_i64().expect("a number"), (symbol, limit));
            assert!(twice.is_none(), "it comes twice: {row:?}");
        }
    }
    assert_eq!(limits.len(), ROWS, "rows are missing");
    limits
}

/// Checks that one set of limits after the other holds, each for all symbols from one trade on.
fn check(limits: &BTreeMap<i64, (String, f64)>, tables: &[&dyn Fn(&str) -> f64]) {
    let (mut table, mut counts) = (0, vec![0; tables.len()]);
    for (n, (symbol, limit)) in limits {
        while tables[table](symbol) != *limit {
            table += 1;
            assert!(table < tables.len(), "trade {n} of {symbol} by {limit}; {counts:?} before");
        }
        counts[table] += 1;
    }
    assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
}

/// What the status says was set of a node.
fn set_of(cluster: &Cluster, job: &str, node: &str) -> Json {
    let job = cluster.job(0, job);
    let nodes = job["nodes"].as_array().expect("nodes");
    nodes.iter().find(|found| found["name"] == node).expect("a node")["set"].clone()
}

fn one_of(own: f64, other: f64) -> impl Fn(&str) -> f64 {
    move |symbol| if symbol == "S0" { own } else { other }
}

#[test]
fn a_row_is_judged_by_the_thresholds_of_its_place_whatever_is_killed() {
    let mut cluster = start(31, 3);
    cluster.file("others.csv", "limit,symbol\n4,S0\n3,*\n");
    let said = cluster.cli(1, &["set", "market", "all", "--thresholds", "others.csv", "--json"]).with(0).json();
    assert_eq!((&said["kept"], &said["what"]), (&true.into(), &"thresholds".into()), "{said}");
    // Behind the answer it holds, whoever is lost.
    std::thread::sleep(Duration::from_millis(400));
    lose(&mut cluster, 2);
    wait_until("all workers have them", || set_of(&cluster, "market", "all")["workers"] == 6);
    assert_eq!(set_of(&cluster, "market", "all")["epoch"], said["epoch"]);
    cluster.cli(2, &["set", "market", "all", "limit=5"]).with(0);
    lose(&mut cluster, 0);
    check(&limits(&cluster), &[&one_of(2.0, 1.0), &one_of(4.0, 3.0), &one_of(4.0, 5.0)]);
}

#[test]
fn a_row_is_judged_by_one_set_of_thresholds_wherever_setting_them_is_interrupted() {
    let mut random = StdRng::seed_from_u64(34);
    let mut cluster = start(34, 2);
    // One that nothing interrupts: of the others it may be that none comes to hold.
    cluster.cli(0, &["set", "market", "all", "limit=9"]).with(0);
    let mut held = vec![9.0];
    for limit in 10..14 {
        let mut command = cluster.command();
        let at = format!("127.0.0.1:{}", cluster.http[limit % 2]);
        command.args(["set", "market", "all", &format!("limit={limit}"), "--at", &at]);
        let mut asking = command.spawn().expect("starts");
        std::thread::sleep(Duration::from_millis(random.random_range(200..1200)));
        let killed = random.random_range(0..2);
        lose(&mut cluster, killed);
        if asking.wait().expect("ends").success() {
            held.push(limit as f64);
        }
    }
    let others = limits(&cluster).into_values().filter(|(symbol, _)| symbol != "S0");
    let mut found: Vec<f64> = others.map(|(_, limit)| limit).collect();
    found.dedup();
    // What is not known to hold may hold.
    assert!(found.is_sorted() && held.iter().all(|limit| found.contains(limit)), "{held:?} {found:?}");
}

#[test]
fn values_of_a_key_are_set_and_what_does_not_fit_is_refused() {
    let cluster = start(32, 2);
    let refused = |args: &[&str], code: i32, words: &str| {
        let said = cluster.cli(0, &[&["set"], args].concat()).with(code);
        assert!(said.err.contains(words), "{}", said.err);
    };
    cluster.file("bad.csv", "symbol,limit\n*,1\nS0,x\n");
    refused(&["market", "all", "--thresholds", "bad.csv"], 2, "the thresholds of `all`, line 3: `limit`: \"x\" is not");
    refused(&["market", "all", "limt=1"], 2, "there is no value `limt`; did you mean `limit`?");
    refused(&["market", "all", "limit=1", "--key", "S0", "--key", "S1"], 2, "the key is symbol, and 2 were given");
    refused(&["market", "all", "limit=high"], 2, "\"high\" is not a number");
    refused(&["market", "plain", "limit=1"], 2, "`plain` of job `market` (alert) has no thresholds");
    refused(&["market", "other", "limit=1"], 2, "has no node `other`");
    refused(&["other", "all", "limit=1"], 7, "there is no job `other`");
    refused(&["market", "all"], 2, "--thresholds");
    assert_eq!(set_of(&cluster, "market", "all"), Json::Null);
    let path = "/api/v1/jobs/market/nodes/all/thresholds";
    assert_eq!(cluster.ask(0, &format!("GET {path}"), "").2, "symbol,limit\n*,1\nS0,2\n");
    let (status, _, body) = cluster.ask(0, &format!("PUT {path}"), "symbol,limit\n");
    assert_eq!(status, 415, "{body}");

    cluster.cli(0, &["set", "market", "all", "limit=7", "--key", "S0"]).with(0);
    std::thread::sleep(Duration::from_millis(300));
    cluster.cli(1, &["set", "market", "all", "limit=", "--key", "S0"]).with(0);
    let (status, head, body) = cluster.ask(1, &format!("GET {path}"), "");
    assert_eq!((status, body.as_str()), (200, "symbol,limit\n*,1\nS0,\n"));
    assert!(head.contains("tapeflow-epoch: ") && head.contains("text/csv"), "{head}");
    let saved = cluster.cli(0, &["stop", "market", "--savepoint", "--json"]).with(0).json();
    let back = format!("market@{}", saved["savepoint"]);
    cluster.cli(0, &["submit", "flow.toml", "--from", &back]).with(0);
    check(&limits(&cluster), &[&one_of(2.0, 1.0), &one_of(7.0, 1.0), &one_of(1.0, 1.0)]);
}

#[test]
fn what_was_set_and_does_not_fit_another_file_is_left_behind_by_name() {
    let cluster = start(33, 1);
    cluster.cli(0, &["set", "market", "all", "limit=7"]).with(0);
    cluster.cli(0, &["stop", "market", "--savepoint"]).with(0);
    cluster.file("limits.csv", "symbol,most\n*,1\n");
    cluster.file(
        "flow.toml",
        &flow().replace("limit or", "most or").replace("<= limit", "<= most").replace("{limit}", "{most}"),
    );
    let said = cluster.cli(0, &["submit", "flow.toml", "--from", "market"]).with(5);
    assert!(said.err.contains("`all` had thresholds set there that do not fit any more"), "{}", said.err);
    assert!(said.err.contains("--forget all"), "{}", said.err);
    cluster.cli(0, &["submit", "flow.toml", "--from", "market", "--forget", "all", "--wait"]).with(0);
    assert_eq!(set_of(&cluster, "market", "all"), Json::Null);
}

#[test]
fn without_a_state_store_they_hold_as_long_as_the_job_runs() {
    let cluster = Cluster::start(2, 1);
    cluster.file("limits.csv", "symbol,limit\n*,1\n");
    let flow = crate::cluster::endless("live", 100);
    let alert = "[operators.dear]\ntype = \"alert\"\ninput = \"ticks\"\nwhen = \"price > limit\"\nthresholds = \"limits.csv\"\n\
                 [sinks.dear_ones]\ntype = \"discard\"\ninput = \"dear\"\n";
    cluster.file("live.toml", &format!("{flow}\n{alert}"));
    cluster.cli(0, &["submit", "live.toml"]).with(0);
    let said = cluster.cli(1, &["set", "live", "dear", "limit=2"]).with(0);
    assert!(said.err.contains("no state is kept here"), "{}", said.err);
    wait_until("all workers have it", || set_of(&cluster, "live", "dear")["workers"] == 2);
}
