//! Thresholds that are set while messages flow and processes are killed: every message is judged once, by those of its
//! place.

use std::thread::{scope, sleep};
use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::kafka::by_symbol;
use super::topics::{Topic, Written, brokers, name, ticks};
use crate::support::cluster::{Cluster, wait_until};

const PARTITIONS: i32 = 6;
const PARTS: usize = 250;
const PAUSE: Duration = Duration::from_millis(80);

/// A job that makes an alert of each message, which says by which limit. No checkpoint is taken but those of the test.
fn start(job: &str, source: &Topic, sink: &Topic) -> Cluster {
    let mut cluster = Cluster::plan(3, 1);
    cluster.restart = true;
    let state = cluster.folder.path().join("state");
    cluster.environment.push(("TAPEFLOW_STATE".to_string(), state.to_string_lossy().into_owned()));
    cluster.file("limits.csv", "symbol,limit\n*,0\n");
    let (brokers, source, sink) = (brokers(), &source.name, &sink.name);
    let flow = format!(
        r#"
        version = 1
        name = "{job}"
        [job]
        checkpoint = "1h"
        epoch = "20ms"
        [kafka]
        brokers = "{brokers}"
        [sources.ticks]
        type = "kafka"
        topic = "{source}"
        schema = {{ symbol = "text", timestamp = "timestamp_ms", price = "double", volume = "int" }}
        time = "timestamp"
        key = "symbol"
        [operators.all]
        type = "alert"
        input = "ticks"
        when = "price > limit or price <= limit"
        repeat = true
        thresholds = "limits.csv"
        message = "{{limit}}"
        [sinks.topic]
        type = "kafka"
        input = "all"
        topic = "{sink}"
        guarantee = "exactly_once"
        "#
    );
    cluster.file("flow.toml", &flow);
    (0..3).for_each(|index| cluster.launch(index));
    cluster.wait_ready();
    cluster.cli(0, &["submit", "flow.toml"]).with(0);
    cluster
}

#[test]
fn every_message_is_judged_once_by_the_thresholds_of_its_place() {
    let (source, sink) = (Topic::new(PARTITIONS), Topic::new(PARTITIONS));
    let messages: Vec<Written> = ticks(24_000, 40, i64::from(PARTITIONS));
    let job = name("set");
    let mut cluster = start(&job, &source, &sink);
    let mut random = StdRng::seed_from_u64(5);
    scope(|scope| {
        scope.spawn(|| {
            for part in messages.chunks(messages.len() / PARTS) {
                source.write(part);
                sleep(PAUSE);
            }
        });
        wait_until("rows are committed", || !sink.read().is_empty());
        for limit in 1..5 {
            cluster.cli(limit % 3, &["set", &job, "all", &format!("limit={limit}")]).with(0);
            let before = sink.read().len();
            wait_until("rows are committed", || sink.read().len() > before);
            sleep(Duration::from_millis(random.random_range(0..400)));
            let killed = random.random_range(0..3);
            cluster.process(killed).signal("KILL");
            cluster.process(killed).ended();
            cluster.launch(killed);
            cluster.wait_ready();
            wait_until("it goes on", || cluster.cli(0, &["status", &job]).code == 0);
        }
    });
    wait_until("all rows are in the topic", || sink.read().len() >= messages.len());
    let prices = |rows: &[serde_json::Value]| rows.iter().filter_map(|row| row["price"].as_f64()).collect::<Vec<_>>();
    let (found, expected) =
        (by_symbol(sink.read().iter().map(Written::json)), by_symbol(messages.iter().map(Written::json)));
    assert_eq!(found.len(), expected.len());
    for (symbol, rows) in &found {
        assert_eq!(prices(rows), prices(&expected[symbol]), "{symbol}");
        let limit = |row: &serde_json::Value| row["message"].as_str().and_then(|text| text.parse::<f64>().ok());
        let mut limits: Vec<f64> = rows.iter().map(|row| limit(row).expect("a limit")).collect();
        limits.dedup();
        assert_eq!(limits, [0.0, 1.0, 2.0, 3.0, 4.0], "{symbol}");
    }
}
