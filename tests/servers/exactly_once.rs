//! `guarantee = "exactly_once"` through generations that are killed, stopped and replaced. Each is a process of its own
//! that reads its topic again from the beginning, as after a crash before the first checkpoint.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use serde_json::Value;
use tapeflow::runtime::{Local, Prepare, Prepared, Recovery, run_local, start};
use tapeflow::spec::{Files, Plan};

use super::kafka::{MEANS, assert_means, by_symbol, expected_means};
use super::topics::{Flow, PATIENCE, Topic, Written, name, said, source, tick, ticks};

const FILE: &str = "TAPEFLOW_TEST_FILE";
const WORKERS: &str = "TAPEFLOW_TEST_WORKERS";
const LAST_WORKERS: &str = "TAPEFLOW_TEST_LAST_WORKERS";
const JOB: &str = "10ms";

/// A job over its generations.
struct Generations {
    flow: Flow,
    number: u64,
    workers: usize,
}

impl Generations {
    fn new(nodes: &str) -> Self {
        Generations { flow: Flow::with(nodes, &format!("epoch = \"{JOB}\"")), number: 0, workers: 0 }
    }

    fn file(&self) -> std::path::PathBuf {
        self.flow.folder.path().join("flow.toml")
    }

    /// From now on it reads to the end and ends.
    fn to_the_end(&self) {
        let text = std::fs::read_to_string(self.file()).expect("a file");
        std::fs::write(self.file(), text.replace("stop = \"never\"", "stop = \"end\"")).expect("a file");
    }

    fn next(&mut self, workers: usize) -> Recovery {
        self.number += 1;
        let last_workers = std::mem::replace(&mut self.workers, workers);
        recovery(&self.flow.job, self.number, last_workers)
    }

    /// The next generation, as a process of its own.
    fn start(&mut self, workers: usize) -> Process {
        let recovery = self.next(workers);
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--ignored", "--exact", "servers::exactly_once::generation", "--nocapture"]);
        command.env(FILE, self.file()).env(WORKERS, workers.to_string());
        command.env(LAST_WORKERS, recovery.last_workers.to_string());
        Process(Some(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a process")))
    }
}

/// A generation that runs; it is killed when a test is done with it, or has failed.
struct Process(Option<Child>);

impl Process {
    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it was not waited for")
    }

    fn has_ended(&mut self) -> bool {
        self.child().try_wait().expect("a status").is_some()
    }

    fn signal(&mut self, name: &str) {
        let status = Command::new("kill").args([name, &self.child().id().to_string()]).status();
        assert!(status.expect("kill").success());
    }

    /// Waits until it has ended: how, and what it said.
    fn wait(mut self) -> (bool, String) {
        let output = self.0.take().expect("a process").wait_with_output().expect("it has ended");
        (output.status.success(), said(&output))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn recovery(job: &str, generation: u64, last_workers: usize) -> Recovery {
    Recovery { job_id: format!("{job}-id"), generation, last_workers, process: 0, processes: 1 }
}

fn prepare(file: &Path, workers: usize, recovery: Recovery) -> tapeflow::Result<Prepared> {
    let text = std::fs::read_to_string(file).expect("a file");
    let (plan, _, _) = Plan::of(file, &text, &Files::beside(file))?;
    let (job, memory) = (plan.job.name.clone(), plan.job.settings.memory.0);
    Prepared::new(
        plan,
        &Prepare { job, local_workers: 0..workers, workers, memory, keeping: None, recovery: Some(recovery) },
        start(),
    )
}

fn run(file: &Path, workers: usize, recovery: Recovery) -> Local {
    run_local(vec![Arc::new(prepare(file, workers, recovery).expect("prepared"))], workers).expect("it starts")
}

/// What a process of a generation does.
#[test]
#[ignore = "the tests of this file run it as a process of its own"]
fn generation() {
    let number = |name| std::env::var(name).expect("set").parse::<usize>().expect("a number");
    let file = std::path::PathBuf::from(std::env::var(FILE).expect("a generation is told its file"));
    let job = Plan::of(&file, &std::fs::read_to_string(&file).expect("a file"), &Files::beside(&file));
    let job = job.expect("a plan").0.job.name;
    let ended = run(&file, number(WORKERS), recovery(&job, 2, number(LAST_WORKERS))).join();
    assert!(ended.is_ok(), "{}", ended.expect_err("an error"));
}

/// Writes messages, a few at a time, for about `seconds`.
fn write_slowly(topic: &Topic, messages: &[Written], seconds: f64) -> JoinHandle<()> {
    let (topic, messages) = (Topic::named(&topic.name, topic.partitions), messages.to_vec());
    spawn(move || {
        let parts = (seconds / 0.02) as usize;
        for part in messages.chunks(messages.len() / parts + 1) {
            topic.write(part);
            sleep(Duration::from_millis(15));
        }
    })
}

fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(10));
    }
}

/// A sink that writes `input` to a new topic, and that topic.
fn sink(input: &str) -> (String, Topic) {
    let out = Topic::new(3);
    let markers = name("markers");
    let sink = format!(
        "[sinks.out]\ntype = \"kafka\"\ninput = {input}\ntopic = \"{}\"\nguarantee = \"exactly_once\"\nmarkers = \"{markers}\"\n",
        out.name
    );
    (sink, out)
}

fn endless(topic: &Topic, more: &str) -> String {
    source(&topic.name, more).replace("stop = \"end\"", "stop = \"never\"")
}

/// Runs a job that is killed again and again while its topic is written, with other numbers of workers each time.
fn killed_again_and_again(topic: &Topic, messages: &[Written], nodes: &str, out: &Topic) -> Vec<Value> {
    let mut job = Generations::new(nodes);
    let kills = [(2, 150), (3, 30), (1, 90), (2, 0)];
    for ((workers, after), part) in kills.into_iter().zip(messages.chunks(messages.len() / kills.len())) {
        let before = out.read().len();
        let mut child = job.start(workers);
        let writer = write_slowly(topic, part, 1.0);
        until("rows are committed", || out.read().len() > before || child.has_ended());
        sleep(Duration::from_millis(after));
        child.signal("-KILL");
        let (_, told) = child.wait();
        assert!(!told.contains("panicked"), "{told}");
        writer.join().expect("written");
    }
    job.to_the_end();
    let (well, told) = job.start(3).wait();
    assert!(well, "{told}");
    out.read().iter().map(Written::json).collect()
}

#[test]
fn no_row_is_lost_or_repeated_by_kills() {
    let topic = Topic::new(5);
    let messages = ticks(6000, 20, 5);
    let (sink, out) = sink("\"means\"");
    let rows = killed_again_and_again(&topic, &messages, &(endless(&topic, "") + MEANS + &sink), &out);
    assert_eq!(rows.len(), messages.len());
    assert_means(by_symbol(rows), &expected_means(&messages));
}

/// Alerts of ticks, by symbol and price: what fires, and what is over.
fn expected_alerts(messages: &[Written]) -> Vec<(String, String, String)> {
    let (mut last, mut active) = (BTreeMap::<String, f64>::new(), BTreeMap::<String, bool>::new());
    let mut alerts = Vec::new();
    for tick in messages.iter().map(Written::json) {
        let (symbol, price) =
            (tick["symbol"].as_str().expect("text").to_string(), tick["price"].as_f64().expect("a price"));
        let last = last.entry(symbol.clone()).or_insert(price);
        if price - *last >= 12.0 {
            *last = price;
            alerts.push((symbol.clone(), price.to_string(), "rises firing".to_string()));
        }
        let (active, seven) = (active.entry(symbol.clone()).or_default(), tick["volume"] == 6);
        if *active != seven {
            *active = seven;
            let status = if seven { "firing" } else { "resolved" };
            alerts.push((symbol, price.to_string(), format!("sevens {status}")));
        }
    }
    alerts.sort();
    alerts
}

#[test]
fn no_alert_is_lost_or_repeated_by_kills() {
    let topic = Topic::new(5);
    let messages = ticks(6000, 20, 5);
    let (sink, out) = sink("[\"rises\", \"sevens\", \"sevens.resolved\"]");
    let alerts = "[operators.rises]\ntype = \"alert\"\ninput = \"ticks\"\nrepeat = true\n\
                  when = \"price - last_alert(price) >= 12\"\n\
                  [operators.sevens]\ntype = \"alert\"\ninput = \"ticks\"\nwhen = \"volume = 6\"\n";
    let rows = killed_again_and_again(&topic, &messages, &(endless(&topic, "") + alerts + &sink), &out);
    let text = |row: &Value, name: &str| row[name].as_str().expect("text").to_string();
    let alert = |row: Value| {
        let price = row["price"].as_f64().expect("a price").to_string();
        (text(&row, "symbol"), price, format!("{} {}", text(&row, "alert"), text(&row, "status")))
    };
    let mut found: Vec<(String, String, String)> = rows.into_iter().map(alert).collect();
    found.sort();
    let expected = expected_alerts(&messages);
    assert!(expected.len() > 3000 && found == expected, "{} alerts, not {}", found.len(), expected.len());
}

#[test]
fn rows_without_a_key_are_not_lost_or_repeated_by_kills() {
    let topic = Topic::new(3);
    let messages = ticks(3000, 20, 3);
    let (sink, out) = sink("\"ticks\"");
    let keyless = endless(&topic, "").replace("key = \"symbol\"\n", "");
    let rows = killed_again_and_again(&topic, &messages, &(keyless + &sink), &out);
    assert_eq!(rows.len(), messages.len());
    let mut prices: Vec<f64> = rows.iter().map(|row| row["price"].as_f64().expect("a price")).collect();
    prices.sort_by(f64::total_cmp);
    assert_eq!(prices, (0..3000).map(|n| f64::from(n) / 4.0).collect::<Vec<_>>());
}

#[test]
fn rows_that_come_by_two_ways_are_not_lost_or_repeated_by_kills() {
    let topic = Topic::new(3);
    let messages = ticks(3000, 20, 3);
    let ways = "[operators.one]\ntype = \"select\"\ninput = \"ticks\"\nselect = { symbol = \"symbol\", id = \"seq\", way = \"1\" }\n\
                [operators.two]\ntype = \"select\"\ninput = \"ticks\"\nselect = { symbol = \"symbol\", id = \"seq\", way = \"2\" }\n";
    let (sink, out) = sink("[\"one\", \"two\"]");
    let rows = killed_again_and_again(&topic, &messages, &(endless(&topic, "") + ways + &sink), &out);
    let mut ways: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for row in &rows {
        ways.entry(row["id"].as_i64().expect("a seq")).or_default().push(row["way"].as_i64().expect("a number"));
    }
    assert_eq!((rows.len(), ways.len()), (6000, 3000));
    assert!(ways.values_mut().all(|ways| {
        ways.sort_unstable();
        *ways == [1, 2]
    }));
}

#[test]
fn rows_in_order_of_event_time_are_not_lost_or_repeated_by_kills() {
    let topic = Topic::new(2);
    let messages: Vec<Written> =
        ticks(3000, 6, 6).into_iter().map(|tick| Written { partition: tick.partition % 2, ..tick }).collect();
    let (sink, out) = sink("\"means\"");
    let ordered = endless(&topic, "order = \"event_time\"");
    let rows = killed_again_and_again(&topic, &messages, &(ordered + MEANS + &sink), &out);
    assert_eq!(rows.len(), messages.len());
    assert_means(by_symbol(rows), &expected_means(&messages));
}

/// Ticks of two partitions, of which every fifth has an event time that its partition has passed long ago.
fn ticks_too_late(count: i64) -> Vec<Written> {
    let one = |n: i64| Written {
        payload: Some(tick(&format!("S{}", n % 6), if n % 5 == 4 { n - 200 } else { n }).into()),
        ..Written::new((n % 2) as i32, "", "")
    };
    (0..count).map(one).collect()
}

/// `messages` in the order in which they are to be taken: by event time, those too late where their partition was when
/// they came.
fn by_event_time(messages: &[Written]) -> Vec<Written> {
    let mut partitions: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
    let mut placed: Vec<((i64, i64, i32), Written)> = Vec::new();
    for message in messages {
        let (passed, offset) = partitions.entry(message.partition).or_insert((i64::MIN, 0));
        let time = message.json()["timestamp"].as_i64().expect("a time");
        *passed = time.max(*passed);
        placed.push(((*passed, *offset, message.partition), message.clone()));
        *offset += 1;
    }
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, message)| message).collect()
}

#[test]
fn rows_too_late_for_the_order_of_event_time_are_not_lost_or_repeated_by_kills() {
    let topic = Topic::new(2);
    let messages = ticks_too_late(3000);
    let (sink, out) = sink("\"means\"");
    let ordered = endless(&topic, "order = \"event_time\"");
    let rows = killed_again_and_again(&topic, &messages, &(ordered + MEANS + &sink), &out);
    assert_eq!(rows.len(), messages.len());
    assert_means(by_symbol(rows), &expected_means(&by_event_time(&messages)));
}

#[test]
fn a_process_that_was_stopped_cannot_write_once_another_has_taken_over() {
    let topic = Topic::new(3);
    let messages = ticks(3000, 12, 3);
    let (sink, out) = sink("\"means\"");
    let mut job = Generations::new(&(endless(&topic, "") + MEANS + &sink));
    let writer = write_slowly(&topic, &messages, 1.5);
    let mut zombie = job.start(3);
    until("rows are committed", || !out.read().is_empty());
    zombie.signal("-STOP");
    writer.join().expect("written");
    job.to_the_end();
    let (well, told) = job.start(2).wait();
    assert!(well, "{told}");
    let all = out.read();
    zombie.signal("-CONT");
    let (_, told) = zombie.wait();
    assert!(told.contains("fenced: another generation of the job has taken over"), "{told}");
    assert_eq!(out.read().len(), all.len());
    assert_eq!(all.len(), messages.len());
    assert_means(by_symbol(all.iter().map(Written::json)), &expected_means(&messages));
}

#[test]
fn readers_never_see_half_an_epoch() {
    // All rows of a file are one epoch.
    let (sink, out) = sink("\"rows\"");
    let flow = Flow::new(&format!(
        "[sources.rows]\ntype = \"file\"\npath = \"rows.jsonl\"\ntime = \"timestamp\"\nkey = \"symbol\"\n{sink}"
    ));
    let rows: Vec<String> = ticks(20_000, 7, 1).iter().map(Written::text).collect();
    std::fs::write(flow.folder.path().join("rows.jsonl"), rows.join("\n")).expect("a file");
    let (ended, watched) = (Arc::new(AtomicBool::new(false)), Topic::named(&out.name, out.partitions));
    let watcher = {
        let ended = Arc::clone(&ended);
        spawn(move || {
            let mut seen = Vec::new();
            while !ended.load(Ordering::SeqCst) {
                seen.push(watched.read().len());
            }
            seen
        })
    };
    let output = flow.try_run(1);
    ended.store(true, Ordering::SeqCst);
    assert!(output.status.success(), "{}", said(&output));
    let warning = "exactly_once holds while the job runs; nothing is kept of it";
    assert_eq!(said(&output).matches(warning).count(), 1, "{}", said(&output));
    assert_eq!(out.read().len(), 20_000);
    let partial = |count: &&usize| **count > 0 && **count < 20_000;
    let seen = watcher.join().expect("watched");
    assert_eq!(seen.iter().find(partial), None);
}

#[test]
fn markers_of_slots_no_longer_used_are_taken_back_once_those_in_use_say_the_same() {
    let topic = Topic::new(2);
    let messages = ticks(400, 20, 2);
    let (sink, out) = sink("\"ticks\"");
    let mut job = Generations::new(&(source(&topic.name, "") + &sink));
    let file = std::fs::read_to_string(job.file()).expect("a file");
    let markers = file.split("markers = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a topic");
    let markers = Topic::named(markers, 1);
    let slots = || {
        let mut last: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
        for message in markers.read() {
            last.insert(message.key.expect("a key"), message.payload.is_some());
        }
        let key = |key: &[u8]| serde_json::from_slice::<Value>(key).expect("JSON")["slots"].as_u64().expect("a number");
        last.iter().filter(|(_, there)| **there).map(|(name, _)| key(name)).collect::<Vec<_>>()
    };
    let mut generation = |workers: usize| {
        let recovery = job.next(workers);
        run(&job.file(), workers, recovery).join().expect("it ends well");
    };
    topic.write(&messages[..200]);
    generation(3);
    assert_eq!(slots(), [3, 3, 3]);
    topic.write(&messages[200..]);
    generation(1);
    assert_eq!(slots().len(), 4, "the three were needed when it began");
    generation(1);
    until("only one is left", || slots() == [1]);
    generation(2);
    assert_eq!(out.read().len(), messages.len(), "what was taken back was not needed");
}

#[test]
fn a_topic_that_forgets_is_no_place_for_markers() {
    let (topic, forgetful) = (Topic::new(1), Topic::new(1));
    let (sink, _out) = sink("\"ticks\"");
    let job = Flow::new(&(source(&topic.name, "") + &sink));
    let file = job.folder.path().join("flow.toml");
    let text = std::fs::read_to_string(&file).expect("a file");
    let markers = text.split("markers = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a topic");
    std::fs::write(&file, text.replace(markers, &forgetful.name)).expect("a file");
    let error = prepare(&file, 1, recovery(&job.job, 1, 0)).err().expect("it is refused");
    assert!(error.to_string().contains("cleanup.policy=delete, which would lose what is kept there"), "{error}");
}
