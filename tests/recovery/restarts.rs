//! Jobs of a cluster that fail, and are started again from their last checkpoint.

use std::fs;

use super::cluster::{check, is_done, start};
use super::market::{flow, lines, trades};
use crate::support::cluster::{Cluster, wait_until};

/// A market in which the record behind the first 11,000 trades is none. It cannot be kept as a dead letter, for a file stands
/// where their folder is to be: the job fails four seconds after it has begun.
fn obstructed(cluster: &Cluster, seed: u64, flow: &str) {
    let mut text: Vec<String> = lines(&trades(seed)).lines().map(str::to_string).collect();
    text.insert(11_000, "this is no trade".to_string());
    cluster.file("trades.jsonl", &(text.join("\n") + "\n"));
    cluster.file("dead-letters", "a file, and no folder");
    cluster.file("flow.toml", flow);
}

#[test]
fn a_job_that_fails_for_a_passing_reason_goes_on_by_itself() {
    let seed = 51;
    let cluster = start(seed, 2, 1);
    obstructed(&cluster, seed, &flow("200ms"));
    cluster.cli(1, &["submit", "flow.toml"]).with(0);
    wait_until("it has failed and was started again", || cluster.job(1, "market")["restarts"].as_u64() > Some(0));
    fs::remove_file(cluster.folder.path().join("dead-letters")).expect("removed");
    wait_until("it is done", || is_done(&cluster) && cluster.job(0, "market")["state"] == "done");
    check(&cluster, seed);
    assert!(cluster.read("dead-letters/market.jsonl").contains("this is no trade"));
    let log = cluster.read("log-0");
    assert!(log.contains("job `market` is started again in 1s") && log.contains("goes on from checkpoint"), "{log}");
    let (_, _, metrics) = cluster.ask(0, "GET /metrics", "");
    assert!(metrics.contains("tapeflow_job_restarts_total{job=\"market\"}"), "{metrics}");
    assert!(cluster.cli(1, &["status", "market"]).with(0).out.contains("started again after a failure"));
}

#[test]
fn a_job_that_has_failed_is_not_started_again_once_it_is_stopped() {
    let seed = 53;
    let cluster = start(seed, 1, 2);
    obstructed(&cluster, seed, &flow("200ms"));
    cluster.cli(0, &["submit", "flow.toml"]).with(0);
    wait_until("it has failed", || cluster.job(0, "market")["state"] == "failed");
    cluster.cli(0, &["stop", "market"]).with(0);
    assert!(is_done(&cluster));
    let before = cluster.job(0, "market")["restarts"].clone();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(
        (&cluster.job(0, "market")["state"], &cluster.job(0, "market")["restarts"]),
        (&"failed".into(), &before)
    );
}

#[test]
fn a_job_that_fails_again_and_again_stays_failed() {
    let seed = 52;
    let cluster = start(seed, 2, 1);
    obstructed(&cluster, seed, &flow("200ms").replace("[job]", "[job]\nrestarts = 1"));
    cluster.cli(0, &["submit", "flow.toml"]).with(0);
    wait_until("it is given up", || is_done(&cluster));
    let job = cluster.job(1, "market");
    assert_eq!((&job["state"], &job["restarts"]), (&"failed".into(), &1.into()));
    assert!(job["failure"].as_str().is_some_and(|failure| failure.contains("dead letters")), "{job}");
    let log = cluster.read("log-0");
    assert!(log.contains("job `market` stays failed; `submit --from market` goes on"), "{log}");
    // Whoever has removed what was wrong lets it go on.
    fs::remove_file(cluster.folder.path().join("dead-letters")).expect("removed");
    cluster.cli(1, &["submit", "flow.toml", "--from", "market", "--wait"]).with(0);
    check(&cluster, seed);
}
