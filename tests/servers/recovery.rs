//! The main job in a cluster of three processes that are killed and stopped again and again, on real servers: a topic read
//! committed holds every row once, in order, and a table every row with its values.

use std::path::Path;
use std::thread::{scope, sleep};
use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::kafka::{MEANS, assert_means, by_symbol, expected_means};
use super::topics::{Topic, Written, brokers, name, ticks};
use crate::support::cluster::{Cluster, wait_until};

const PARTITIONS: i32 = 6;
/// Messages are written in so many parts, while the cluster is disturbed.
const PARTS: usize = 120;
const PAUSE: Duration = Duration::from_millis(75);

/// How many faults there are; more for a longer run.
fn faults() -> usize {
    std::env::var("TAPEFLOW_CHAOS_FAULTS").ok().and_then(|faults| faults.parse().ok()).unwrap_or(6)
}

fn seed() -> u64 {
    std::env::var("TAPEFLOW_CHAOS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// A cluster that keeps state in `state`, in its own folder by default.
fn cluster(processes: usize, workers: usize, state: Option<&Path>) -> Cluster {
    let mut cluster = Cluster::plan(processes, workers);
    cluster.restart = true;
    let state = state.map_or_else(|| cluster.folder.path().join("state"), Path::to_path_buf);
    cluster.environment.push(("TAPEFLOW_STATE".to_string(), state.to_string_lossy().into_owned()));
    cluster
}

fn start(source: &Topic, sink: &Topic, job: &str) -> Cluster {
    let mut cluster = cluster(3, 1, None);
    let (brokers, cassandra) = (brokers(), std::env::var("CASSANDRA").expect("CASSANDRA names a server"));
    let (source, sink) = (&source.name, &sink.name);
    let flow = format!(
        r#"
        version = 1
        name = "{job}"
        [job]
        checkpoint = "500ms"
        epoch = "20ms"
        [kafka]
        brokers = "{brokers}"
        [sources.ticks]
        type = "kafka"
        topic = "{source}"
        schema = {{ symbol = "text", timestamp = "timestamp_ms", price = "double", volume = "int" }}
        time = "timestamp"
        key = "symbol"
        {MEANS}
        [sinks.topic]
        type = "kafka"
        input = "means"
        topic = "{sink}"
        guarantee = "exactly_once"
        [sinks.table]
        type = "cassandra"
        contact_points = "{cassandra}"
        keyspace = "chaos"
        table = "{table}"
        create = true
        input = "means"
        partition_key = "symbol"
        clustering_key = ["seq"]
        "#,
        table = job.replace('-', "_"),
    );
    cluster.file("flow.toml", &flow);
    (0..3).for_each(|index| cluster.launch(index));
    cluster.wait_ready();
    cluster.cli(0, &["submit", "flow.toml"]).with(0);
    cluster
}

/// Disturbs the cluster once.
fn disturb(cluster: &mut Cluster, random: &mut StdRng) {
    let index = random.random_range(0..3);
    if random.random_bool(0.25) {
        // It stands still for longer than the others wait.
        cluster.process(index).signal("STOP");
        sleep(Duration::from_millis(random.random_range(2500..3500)));
        cluster.process(index).signal("CONT");
    } else {
        cluster.process(index).signal("KILL");
        cluster.process(index).ended();
        cluster.launch(index);
    }
}

#[test]
fn nothing_is_lost_and_nothing_comes_twice_whatever_is_killed() {
    let (source, sink) = (Topic::new(PARTITIONS), Topic::new(PARTITIONS));
    let messages: Vec<Written> = ticks(24_000, 40, i64::from(PARTITIONS));
    let mut cluster = start(&source, &sink, &name("chaos"));
    let mut random = StdRng::seed_from_u64(seed());
    scope(|scope| {
        scope.spawn(|| {
            for part in messages.chunks(messages.len() / PARTS) {
                source.write(part);
                sleep(PAUSE);
            }
        });
        for _ in 0..faults() {
            sleep(Duration::from_millis(random.random_range(300..2000)));
            disturb(&mut cluster, &mut random);
        }
    });
    wait_until("all rows are in the topic", || sink.read().len() >= messages.len());
    let rows = sink.read();
    assert_eq!(rows.len(), messages.len(), "rows in the topic");
    assert_means(by_symbol(rows.iter().map(Written::json)), &expected_means(&messages));
    assert_table(&cluster, &messages);
}

#[test]
fn killed_in_the_middle_of_an_epoch_it_goes_on_with_another_number_of_workers() {
    let (source, sink) = (Topic::new(PARTITIONS), Topic::new(PARTITIONS));
    let messages: Vec<Written> = ticks(24_000, 40, i64::from(PARTITIONS));
    let first = start(&source, &sink, &name("resized"));
    let state = first.folder.path().join("state");
    let mut clusters = vec![first];
    scope(|scope| {
        scope.spawn(|| {
            for part in messages.chunks(messages.len() / PARTS) {
                source.write(part);
                sleep(PAUSE);
            }
        });
        for (processes, workers) in [(2, 2), (1, 3), (3, 1)] {
            let before = sink.read().len();
            wait_until("rows are committed", || sink.read().len() > before);
            let last = clusters.last_mut().expect("a cluster");
            // At once: of an epoch some workers have committed their part, and others have not.
            (0..last.processes.len()).for_each(|index| last.process(index).signal("KILL"));
            let mut next = cluster(processes, workers, Some(&state));
            (0..processes).for_each(|index| next.launch(index));
            next.wait_ready();
            clusters.push(next);
        }
    });
    wait_until("all rows are in the topic", || sink.read().len() >= messages.len());
    let rows = sink.read();
    assert_eq!(rows.len(), messages.len(), "rows in the topic");
    assert_means(by_symbol(rows.iter().map(Written::json)), &expected_means(&messages));
    assert_table(&clusters[0], &messages);
}

/// The table holds as many rows of each symbol as were written, and their prices in order.
fn assert_table(cluster: &Cluster, messages: &[Written]) {
    let job: String = cluster
        .read("flow.toml")
        .lines()
        .find_map(|line| Some(line.trim().strip_prefix("table = \"")?.trim_end_matches('"').to_string()))
        .expect("a table");
    let expected = expected_means(messages);
    let server = std::env::var("CASSANDRA").expect("CASSANDRA names a server");
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        let session =
            scylla::client::session_builder::SessionBuilder::new().known_node(server).build().await.expect("a session");
        for (symbol, means) in expected {
            let query = format!("SELECT price, mean FROM chaos.\"{job}\" WHERE symbol = ?");
            let rows =
                session.query_unpaged(query, (symbol.as_str(),)).await.expect("rows").into_rows_result().expect("rows");
            let rows: Vec<(Option<f64>, Option<f64>)> =
                rows.rows().expect("typed").map(|row| row.expect("a row")).collect();
            assert_eq!(rows.len(), means.len(), "{symbol} in the table");
            for ((price, mean), (wanted, wanted_mean)) in rows.into_iter().zip(means) {
                assert_eq!(price, Some(wanted), "{symbol}");
                let same = match (mean, wanted_mean) {
                    (Some(mean), Some(wanted)) => (mean - wanted).abs() < 1e-9,
                    (mean, wanted) => mean == wanted,
                };
                assert!(same, "{symbol}: {mean:?} is not {wanted_mean:?}");
            }
        }
    });
}
