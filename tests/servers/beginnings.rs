//! Where a job begins is decided once: one that is killed before its first timed checkpoint begins there again.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tapeflow::state::{Stamps, Store};

use super::topics::{Flow, Topic, Written, brokers, name, source, tapeflow, tick};
use crate::support::cluster::wait_until;

/// A run that is killed when it is dropped.
struct Run(Child);

impl Run {
    fn start(flow: &Flow, workers: usize) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapeflow"));
        command.current_dir(flow.folder.path()).args(["run", "flow.toml", "--state", "state"]);
        command.args(["--workers", &workers.to_string()]).env("KAFKA_BROKERS", brokers());
        Run(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many manifests there are of the job.
fn manifests(flow: &Flow) -> usize {
    let pattern = flow.folder.path().join("state/jobs/*/*/*/manifest.*.json");
    glob::glob(&pattern.to_string_lossy()).expect("a pattern").count()
}

fn numbered(range: std::ops::Range<i64>) -> Vec<Written> {
    range.map(|n| Written::new((n % 3) as i32, &format!("S{}", n % 7), tick(&format!("S{}", n % 7), n))).collect()
}

/// The numbers of the ticks that came out, sorted.
fn numbers(rows: impl Iterator<Item = serde_json::Value>) -> Vec<i64> {
    let mut numbers: Vec<i64> = rows.map(|row| (row["price"].as_f64().expect("a price") * 4.0) as i64).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn one_that_begins_behind_the_last_message_and_is_killed_loses_none_and_repeats_none() {
    let (topic, out) = (Topic::new(3), Topic::new(2));
    topic.write(&numbered(0..100));
    let endless = source(&topic.name, "start = \"latest\"").replace("stop = \"end\"", "stop = \"never\"");
    let sinks = format!(
        "[sinks.out]\ntype = \"kafka\"\ninput = \"ticks\"\ntopic = \"{}\"\nguarantee = \"exactly_once\"\nmarkers = \"{}\"\n\
         [sinks.lines]\ntype = \"file\"\ninput = \"ticks\"\npath = \"lines/\"\n",
        out.name,
        name("markers")
    );
    let flow = Flow::with(&(endless + &sinks), "epoch = \"20ms\"\ncheckpoint = \"1h\"");
    // It is killed before it has seen anything.
    let run = Run::start(&flow, 3);
    wait_until("it has begun", || manifests(&flow) > 0);
    drop(run);
    topic.write(&numbered(100..200));
    // And while it writes.
    let run = Run::start(&flow, 2);
    wait_until("rows come", || out.read().len() >= 30);
    topic.write(&numbered(200..300));
    drop(run);
    topic.write(&numbered(300..400));
    let run = Run::start(&flow, 1);
    wait_until("all rows come", || out.read().len() >= 300);
    sleep(Duration::from_millis(500));
    drop(run);
    let expected: Vec<i64> = (100..400).collect();
    assert_eq!(numbers(out.read().iter().map(Written::json)), expected);
    let files = std::fs::read_dir(flow.folder.path().join("lines")).expect("a folder").flatten();
    let text: String = files.map(|file| std::fs::read_to_string(file.path()).expect("text")).collect();
    let rows = text.lines().map(|line| serde_json::from_str(line).expect("a row"));
    assert_eq!(numbers(rows), expected, "files of workers that are not there any more hold none");
    assert_eq!(manifests(&flow), 1, "there was no other checkpoint");
}

/// The greatest boundary of a checkpoint.
fn newest_boundary(flow: &Flow) -> u64 {
    let listed = tapeflow(flow.folder.path(), &["checkpoint", "list", "--state", "state", "--json"]);
    let list: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let boundaries = list["checkpoints"].as_array().expect("a list").iter().filter_map(|one| one["boundary"].as_u64());
    boundaries.max().unwrap_or(0)
}

#[test]
fn a_clock_that_was_set_back_is_not_believed_and_rows_go_on_all_the_same() {
    let (topic, out) = (Topic::new(3), Topic::new(2));
    let endless = source(&topic.name, "").replace("stop = \"end\"", "stop = \"never\"");
    let sink = format!("[sinks.out]\ntype = \"kafka\"\ninput = \"ticks\"\ntopic = \"{}\"\n", out.name);
    let flow = Flow::with(&(endless + &sink), "epoch = \"20ms\"\ncheckpoint = \"200ms\"");
    topic.write(&numbered(0..100));
    let run = Run::start(&flow, 2);
    wait_until("rows come", || out.read().len() == 100);
    drop(run);
    // As if the clock had shown an hour more.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_micros() as u64;
    let far = now + 3_600_000_000;
    assert!(newest_boundary(&flow) < far);
    let place = flow.folder.path().join("state");
    let store = Store::open(place.to_str().expect("text"), &BTreeMap::new(), None).expect("a store");
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(Stamps::new(store).keep_below(1, 0, 0, far)).expect("written");
    let _run = Run::start(&flow, 1);
    topic.write(&numbered(100..200));
    wait_until("rows come", || out.read().len() == 200);
    wait_until("a checkpoint is complete", || newest_boundary(&flow) > far);
    let first = newest_boundary(&flow);
    wait_until("and another", || newest_boundary(&flow) > first);
    assert_eq!(numbers(out.read().iter().map(Written::json)), (0..200).collect::<Vec<i64>>());
}
