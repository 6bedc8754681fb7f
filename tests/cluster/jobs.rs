//! What a cluster does with the jobs it is given.

use std::fs;

use super::{endless, market};
use crate::support::cluster::{Cluster, TOKEN, ask, run, tapeflow, wait_until};

/// The rows that `tapeflow run` with one worker writes to `out`.
fn alone(cluster: &Cluster, file: &str, out: &str) -> String {
    let mut command = tapeflow(cluster.folder.path());
    command.args(["run", file, "--workers", "1", "--quiet"]);
    run(command).with(0);
    let rows = cluster.read(out);
    fs::remove_file(cluster.folder.path().join(out)).expect("removed");
    rows
}

fn sorted(rows: &str) -> Vec<&str> {
    let mut rows: Vec<&str> = rows.lines().collect();
    rows.sort_unstable();
    rows
}

#[test]
fn a_cluster_writes_the_rows_that_one_worker_writes() {
    for (processes, workers) in [(2, 2), (3, 1)] {
        let cluster = Cluster::start(processes, workers);
        cluster.file("market.toml", &market("market", 40, "type = \"file\"\npath = \"market.jsonl\""));
        let expected = alone(&cluster, "market.toml", "market.jsonl");
        assert!(expected.lines().count() > 10_000);
        cluster.cli(processes - 1, &["submit", "market.toml", "--wait"]).with(0);
        assert!(cluster.read("market.jsonl") == expected, "the rows differ, with {processes} processes");
    }
}

#[test]
fn a_file_that_all_processes_read_comes_out_in_order() {
    let cluster = Cluster::start(3, 2);
    // Large enough to be cut: each worker reads a part.
    let rows =
        (0..150_000).map(|row| format!("{},{},S{:03},{}\n", row, 1_700_000_000_000i64 + row, row % 97, row % 1013));
    cluster.file("rows.csv", &format!("id,timestamp,symbol,price\n{}", rows.collect::<String>()));
    let file = r#"
        version = 1
        name = "file"
        [sources.rows]
        type = "file"
        path = "rows.csv"
        time = "timestamp"
        key = "symbol"
        [operators.cheap]
        type = "filter"
        input = "rows"
        when = "price < 900"
        [operators.means]
        type = "indicators"
        input = "cheap"
        emit = "all"
        columns = { ema_10 = "ema(price, 10)" }
        [sinks.out]
        type = "file"
        input = "means"
        path = "file.jsonl"
        [sinks.lake]
        type = "parquet"
        input = "means"
        path = "lake/"
    "#;
    cluster.file("file.toml", file);
    let expected = alone(&cluster, "file.toml", "file.jsonl");
    fs::remove_dir_all(cluster.folder.path().join("lake")).expect("removed");
    cluster.cli(1, &["submit", "file.toml", "--wait"]).with(0);
    assert!(cluster.read("file.jsonl") == expected, "the rows differ");
    let job = cluster.job(0, "file");
    assert_eq!(job["rows_in"], 150_000);
    let written = expected.lines().count() as u64;
    assert_eq!(job["rows_out"], 2 * written, "both sinks have written all");
    // The same rows are in Parquet, in no order.
    let back = r#"
        version = 1
        name = "back"
        [sources.lake]
        type = "file"
        path = "lake/"
        time = "timestamp"
        key = "symbol"
        [sinks.out]
        type = "file"
        input = "lake"
        path = "back.jsonl"
        select = ["id", "symbol", "price", "ema_10"]
    "#;
    cluster.file("back.toml", back);
    let back = alone(&cluster, "back.toml", "back.jsonl");
    let select = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).expect("a row");
        format!("{} {} {} {}", row["id"], row["symbol"], row["price"], row["ema_10"])
    };
    let (lake, rows): (Vec<_>, Vec<_>) = (back.lines().map(select).collect(), expected.lines().map(select).collect());
    assert!(sorted(&lake.join("\n")) == sorted(&rows.join("\n")), "the rows in Parquet differ");
}

#[test]
fn jobs_run_beside_each_other_and_end_by_themselves() {
    let cluster = Cluster::start(2, 1);
    cluster.file("live.toml", &endless("live", 200));
    cluster.cli(0, &["submit", "live.toml"]).with(0);
    for (at, name) in [(0, "one"), (1, "two")] {
        cluster.file(&format!("{name}.toml"), &market(name, 20, &format!("type = \"file\"\npath = \"{name}.jsonl\"")));
        cluster.cli(at, &["submit", &format!("{name}.toml")]).with(0);
    }
    for name in ["one", "two"] {
        wait_until("the job is done", || cluster.job(0, name)["state"] == "done");
        assert_eq!(cluster.job(1, name)["rows_out"], cluster.read(&format!("{name}.jsonl")).lines().count());
    }
    assert!(cluster.read("one.jsonl") == cluster.read("two.jsonl"));
    wait_until("the endless job writes", || cluster.job(0, "live")["rows_out"].as_u64() > Some(0));
    assert_eq!(cluster.job(1, "live")["state"], "running");
    let listed = cluster.cli(1, &["list", "--json"]).with(0).json();
    let names: Vec<&str> =
        listed["jobs"].as_array().expect("jobs").iter().filter_map(|job| job["name"].as_str()).collect();
    assert_eq!(names, ["live", "one", "two"]);
    let table = cluster.cli(0, &["list"]).with(0).out;
    assert!(table.contains("live") && table.contains("running") && table.contains("done"), "{table}");
}

#[test]
fn a_name_belongs_to_one_job() {
    let cluster = Cluster::start(2, 1);
    cluster.file("live.toml", &endless("live", 100));
    cluster.file("other.toml", &endless("live", 150));
    let first = cluster.cli(0, &["submit", "live.toml", "--json"]).with(0).json();
    let again = cluster.cli(1, &["submit", "live.toml", "--json"]).with(0).json();
    assert_eq!((&again["id"], &again["already_running"]), (&first["id"], &true.into()));
    let conflict = cluster.cli(1, &["submit", "other.toml"]).with(7);
    assert!(conflict.err.contains("another job `live`"), "{}", conflict.err);
    cluster.cli(1, &["submit", "other.toml", "--if-not-exists"]).with(0);
    assert_eq!(cluster.job(0, "live")["id"], first["id"]);
    let replaced = cluster.cli(1, &["submit", "other.toml", "--replace", "--json"]).with(0).json();
    assert_ne!(replaced["id"], first["id"]);
    assert_eq!(cluster.job(0, "live")["id"], replaced["id"]);
    cluster.cli(0, &["submit", "other.toml", "--wait", "--timeout", "300ms"]).with(6);
    cluster.cli(0, &["stop", "live", "--wait"]).with(0);
    let job = cluster.job(1, "live");
    assert_eq!(job["state"], "done");
    assert_eq!(job["rows_out"], cluster.read("live.jsonl").lines().count());
    // What has ended is in nobody's way.
    cluster.cli(1, &["submit", "live.toml"]).with(0);
    assert_eq!(cluster.job(0, "live")["state"], "running");
    cluster.cli(0, &["stop", "live"]).with(0);
    for command in [["status", "none"], ["stop", "none"]] {
        assert!(cluster.cli(0, &command).with(7).err.contains("no job `none`"));
    }
}

#[test]
fn of_submissions_at_once_one_wins() {
    let cluster = Cluster::start(3, 1);
    let names: Vec<String> = (0..6).map(|rate| format!("live-{rate}.toml")).collect();
    (0..).zip(&names).for_each(|(rate, name)| drop(cluster.file(name, &endless("live", 100 + rate))));
    let said: Vec<_> = std::thread::scope(|scope| {
        let submit = |(at, name): (usize, &String)| {
            let (cluster, name) = (&cluster, name.clone());
            scope.spawn(move || cluster.cli(at % 3, &["submit", &name]))
        };
        let threads: Vec<_> = names.iter().enumerate().map(submit).collect();
        threads.into_iter().map(|thread| thread.join().expect("a command")).collect()
    });
    let codes: Vec<i32> = said.iter().map(|said| said.code).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{said:?}");
    assert_eq!(codes.iter().filter(|code| **code == 7).count(), 5, "{said:?}");
    assert_eq!(cluster.job(2, "live")["state"], "running");
}

#[test]
fn rows_can_be_looked_at_while_a_job_runs() {
    let cluster = Cluster::start(2, 1);
    cluster.file("live.toml", &endless("live", 2000));
    cluster.cli(0, &["submit", "live.toml"]).with(0);
    for node in ["ticks", "means", "out"] {
        let rows = cluster.cli(1, &["tap", "live", node, "--limit", "50"]).with(0).out;
        let rows: Vec<serde_json::Value> = rows.lines().map(|row| serde_json::from_str(row).expect("a row")).collect();
        assert_eq!(rows.len(), 50);
        assert!(rows.iter().all(|row| row["price"].is_number() && row["sma_5"].is_number() == (node != "ticks")));
    }
    let unknown = cluster.cli(0, &["tap", "live", "maens"]).with(7);
    assert!(unknown.err.contains("did you mean `means`?"), "{}", unknown.err);
    cluster.cli(0, &["tap", "none", "means"]).with(7);
    // It ends with the job.
    std::thread::scope(|scope| {
        let tap = scope.spawn(|| cluster.cli(1, &["tap", "live", "means"]));
        wait_until("rows come", || cluster.job(0, "live")["rows_out"].as_u64() > Some(1000));
        cluster.cli(0, &["stop", "live", "--wait"]).with(0);
        assert!(tap.join().expect("a command").with(0).out.lines().count() > 0);
    });
}

#[test]
fn all_mistakes_come_back_with_their_lines() {
    let cluster = Cluster::start(2, 1);
    let text = "version = 1\nname = \"wrong\"\n[sources.a]\ntype = \"generatr\"\n[sinks.b]\ntype = \"discard\"\ninput = \"c\"\n";
    cluster.file("wrong.toml", text);
    let said = cluster.cli(1, &["submit", "wrong.toml"]).with(3);
    let shown = ["wrong.toml:4:8: ", "did you mean `generator`?", "4 | type = \"generatr\"", "wrong.toml:7:9: "];
    shown.iter().for_each(|part| assert!(said.err.contains(part), "{part} in {}", said.err));
    cluster.cli(0, &["status", "wrong"]).with(7);
    // What cannot be opened in some process is built in none.
    cluster.file("taken", "a file, and no folder");
    cluster.file("sink.toml", &market("sink", 5, "type = \"file\"\npath = \"taken/out.jsonl\""));
    let said = cluster.cli(1, &["submit", "sink.toml"]).with(4);
    assert!(said.err.contains("taken"), "{}", said.err);
    cluster.cli(0, &["status", "sink"]).with(7);
    cluster.file("sink.toml", &market("sink", 5, "type = \"file\"\npath = \"out.jsonl\""));
    cluster.cli(0, &["submit", "sink.toml", "--wait"]).with(0);
}

#[test]
fn schemas_travel_with_the_file() {
    let cluster = Cluster::start(2, 1);
    let flow = cluster.folder.path().join("flow");
    fs::create_dir(&flow).expect("made");
    let avsc = r#"{"type": "record", "name": "tick", "fields": [
        {"name": "symbol", "type": "string"}, {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}"#;
    let row = "{\"symbol\": \"A\", \"at\": 1700000000000}\n";
    let rows = cluster.file("rows.jsonl", row);
    let out = cluster.folder.path().join("out.jsonl");
    let text = format!(
        "version = 1\nname = \"typed\"\n[sources.rows]\ntype = \"file\"\npath = {rows:?}\nschema = \"tick.avsc\"\n\
         time = \"at\"\nkey = \"symbol\"\n[sinks.out]\ntype = \"file\"\ninput = \"rows\"\npath = {out:?}\n"
    );
    let request = serde_json::json!({
        "path": "typed.toml", "text": text, "base": "/nowhere", "schemas": { "tick.avsc": avsc },
    });
    let head = "POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let head = format!("{head}Authorization: Bearer {}\r\n", TOKEN);
    let (status, _, body) = ask(cluster.http[1], &head, &request.to_string()).expect("an answer");
    assert_eq!(status, 201, "{body}");
    wait_until("it is done", || cluster.job(0, "typed")["state"] == "done");
    assert!(cluster.read("out.jsonl").contains("2023-11-14"));
    // The command line finds the schemas by itself.
    fs::write(flow.join("tick.avsc"), avsc).expect("written");
    fs::write(flow.join("typed.toml"), text).expect("written");
    cluster.cli(0, &["submit", "flow/typed.toml", "--wait"]).with(0);
}

#[test]
fn a_job_that_fails_in_one_process_fails_and_the_others_go_on() {
    let cluster = Cluster::start(3, 1);
    cluster.file("live.toml", &endless("live", 100));
    cluster.cli(0, &["submit", "live.toml"]).with(0);
    cluster.file("rows.jsonl", "{\"symbol\": \"A\", \"at\": 1700000000000}\nthis is no row\n");
    let text = "version = 1\nname = \"bad\"\n[sources.rows]\ntype = \"file\"\npath = \"rows.jsonl\"\non_error = \"fail\"\n\
                time = \"at\"\nkey = \"symbol\"\nschema = { symbol = \"text\", at = \"timestamp_ms\" }\n\
                [sources.more]\ntype = \"generator\"\nselect = { symbol = \"symbol\", at = \"timestamp\" }\ntime = \"at\"\n\
                [sinks.out]\ntype = \"discard\"\ninput = \"rows\"\n[sinks.rest]\ntype = \"discard\"\ninput = \"more\"\n";
    cluster.file("bad.toml", text);
    let said = cluster.cli(1, &["submit", "bad.toml", "--wait"]).with(1);
    assert!(said.err.contains("rows.jsonl"), "{}", said.err);
    for at in 0..3 {
        let job = cluster.job(at, "bad");
        assert_eq!(job["state"], "failed");
        assert!(job["failure"].as_str().is_some_and(|message| message.contains("rows.jsonl")));
        let ready = cluster.get(at, "/readyz");
        assert_eq!((&ready["ready"], &ready["failed_jobs"][0]["name"]), (&true.into(), &"bad".into()));
        let log = cluster.read(&format!("log-{at}"));
        let told: Vec<&str> = log.lines().filter(|line| line.contains("rows.jsonl, partition 0")).collect();
        assert!(told.len() == 1 && told[0].contains("ERROR job `bad` failed: "), "{log}");
    }
    assert_eq!(cluster.job(1, "live")["state"], "running");
    let rows = cluster.job(1, "live")["rows_out"].as_u64();
    wait_until("the other job goes on", || cluster.job(1, "live")["rows_out"].as_u64() > rows);
}
