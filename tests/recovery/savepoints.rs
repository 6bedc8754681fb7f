//! Savepoints: taken while a job runs and when it is stopped; gone on from by number.

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value as Json;

use super::cluster::{check, start};
use super::market::{differences, expected, flow, rows_of_lines, trades};
use crate::support::cluster::{Cluster, wait_until};

fn number(said: &Json) -> u64 {
    said["savepoint"].as_u64().unwrap_or_else(|| panic!("no number: {said}"))
}

/// Numbers of the checkpoints and whether they are savepoints, newest first.
fn listed(cluster: &Cluster) -> Vec<(u64, bool)> {
    let mut command = cluster.command();
    command.args(["checkpoint", "list", "market", "--json"]);
    let list = crate::support::cluster::run(command).with(0).json();
    let one = |one: &Json| (one["number"].as_u64().expect("a number"), one["savepoint"] == true);
    list["checkpoints"].as_array().expect("a list").iter().map(one).collect()
}

fn saved(cluster: &Cluster) -> Vec<u64> {
    listed(cluster).into_iter().filter(|(_, saved)| *saved).map(|(number, _)| number).collect()
}

#[test]
fn a_job_goes_on_from_the_savepoint_that_it_was_stopped_with() {
    let seed = 21;
    let cluster = start(seed, 2, 1);
    cluster.file("flow.toml", &flow("200ms").replace("[job]", "[job]\nkeep_checkpoints = 1"));
    cluster.cli(0, &["submit", "flow.toml"]).with(0);
    wait_until("it runs", || cluster.job(0, "market")["rows_out"].as_u64() > Some(500));
    let first = number(&cluster.cli(1, &["savepoint", "market", "--json"]).with(0).json());
    let rows = cluster.job(0, "market")["rows_out"].as_u64();
    let job = || cluster.job(0, "market");
    let began = std::time::Instant::now();
    while job()["rows_out"].as_u64() <= rows {
        assert!(began.elapsed() < Duration::from_secs(20), "{:#} {}", job(), cluster.read("log-0"));
        sleep(Duration::from_millis(50));
    }
    let stopped = cluster.cli(1, &["stop", "market", "--savepoint"]).with(0);
    let last = cluster.job(0, "market")["savepoint"].as_u64().expect("a savepoint");
    assert!(last > first, "{first} {last}");
    assert_eq!(stopped.out, format!("tapeflow submit FILE --from market@{last}\n"));
    assert_eq!(cluster.job(1, "market")["state"], "done");
    assert_eq!(saved(&cluster), [last, first]);
    assert!(listed(&cluster).len() <= 3, "one other was to be kept");
    cluster.cli(1, &["submit", "flow.toml", "--from", &format!("market@{last}"), "--wait"]).with(0);
    check(&cluster, seed);
    assert_eq!(saved(&cluster), [last, first]);
}

#[test]
fn a_job_goes_back_to_a_savepoint_as_often_as_it_is_asked_to() {
    let seed = 22;
    let cluster = start(seed, 1, 2);
    cluster.cli(0, &["submit", "flow.toml"]).with(0);
    wait_until("it runs", || cluster.job(0, "market")["rows_out"].as_u64() > Some(500));
    let first = number(&cluster.cli(0, &["savepoint", "market", "--json"]).with(0).json());
    sleep(Duration::from_millis(500));
    let second = number(&cluster.cli(0, &["stop", "market", "--savepoint", "--json"]).with(0).json());
    let back = format!("market@{first}");
    cluster.cli(0, &["submit", "flow.toml", "--from", &back]).with(0);
    sleep(Duration::from_millis(1200));
    cluster.cli(0, &["stop", "market", "--wait"]).with(0);
    let list = listed(&cluster);
    assert!(list[0].0 > second && list.contains(&(second, true)) && list.contains(&(first, true)), "{list:?}");
    cluster.cli(0, &["submit", "flow.toml", "--from", &back, "--wait"]).with(0);
    let wrong = differences(&expected(&trades(seed)), &rows_of_lines(&cluster.folder.path().join("lines")));
    assert!(wrong.is_empty(), "{} differences: {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    // What was begun later is not gone on from unasked.
    let wrong = cluster.cli(0, &["submit", "flow.toml", "--from", "market@999"]).with(7);
    assert!(wrong.err.contains("there is no checkpoint 999 of a job `market`"), "{}", wrong.err);
}

#[test]
fn without_a_state_store_there_are_none() {
    let cluster = Cluster::start(1, 1);
    cluster.file("live.toml", &crate::cluster::endless("live", 100));
    cluster.cli(0, &["submit", "live.toml"]).with(0);
    for command in [["savepoint", "live"].as_slice(), &["stop", "live", "--savepoint"]] {
        let refused = cluster.cli(0, command).with(2);
        assert!(refused.err.contains("no state is kept here; set `state`"), "{}", refused.err);
    }
    assert_eq!(cluster.job(0, "live")["state"], "running");
    cluster.cli(0, &["savepoint", "none"]).with(7);
}
