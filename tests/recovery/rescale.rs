//! `tapeflow rescale`, while a job runs: the rows are those of a cluster that never changed.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::cluster::start;
use super::market::{differences, expected, flow, lines, rows_of_lake, rows_of_lines, trades};
use super::{joins, tables, windows};
use crate::cluster::up::Up;
use crate::support::cluster::{Said, run, wait_until};

fn cli(up: &Up, folder: &Path, args: &[&str]) -> Said {
    run(up.cli(folder, 0, args))
}

/// How many rows the job has written in this generation, once it is installed.
fn rows(up: &Up, folder: &Path) -> Option<u64> {
    let said = cli(up, folder, &["status", "market", "--json"]);
    (said.code == 0).then(|| said.json()["rows_out"].as_u64()).flatten()
}

/// Processes and workers of each, as they were started.
fn workers_of(up: &Up) -> Vec<String> {
    let command = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let workers = |line: String| line.split('\0').skip_while(|word| *word != "--workers").nth(1).map(str::to_string);
    up.children().iter().map(command).filter_map(workers).collect()
}

#[test]
fn a_job_goes_on_with_more_and_fewer_processes_and_workers() {
    let seed = 31;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(folder.join("trades.jsonl"), lines(&trades(seed))).expect("written");
    fs::write(folder.join("flow.toml"), flow("200ms")).expect("written");
    let state = folder.join("state");
    let with_state = |command: &mut Command| {
        command.env("TAPEFLOW_STATE", &state);
    };
    // Room for the ports of the largest cluster.
    let mut up = Up::start_with(folder, 1, 3, with_state);
    up.ready(folder, 1);
    cli(&up, folder, &["submit", "flow.toml"]).with(0);
    for (number, (processes, workers)) in [("3", "1"), ("1", "2")].into_iter().enumerate() {
        wait_until("it writes", || rows(&up, folder) > Some(800));
        let size = ["rescale", "--processes", processes, "--workers", workers];
        let said = cli(&up, folder, &size).with(0);
        assert!(said.err.contains("its jobs go on"), "{}", said.err);
        assert_eq!(workers_of(&up), vec![workers; processes.parse().expect("a number")]);
        let version = up.version(folder, 0);
        assert!(version.contains(&format!("\"generation\":{}", number + 2)), "{version}");
    }
    assert!(cli(&up, folder, &["rescale", "--workers", "2"]).with(0).err.contains("already"));
    let done = state.join("jobs/market/job.json");
    wait_until("the job is done", || !done.exists());
    up.process.signal("INT");
    assert_eq!(up.process.ended(), 0, "{}", up.process.log());
    let expected = expected(&trades(seed));
    for (name, found) in [("lines", rows_of_lines(&folder.join("lines"))), ("lake", rows_of_lake(&folder.join("lake")))]
    {
        let wrong = differences(&expected, &found);
        assert!(wrong.is_empty(), "{} differences in {name}: {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    }
    let mut wrong = windows::differences(&trades(seed), folder);
    wrong.extend(tables::differences(&trades(seed), folder));
    wrong.extend(joins::differences(&trades(seed), folder));
    assert!(wrong.is_empty(), "{} differences: {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
}

#[test]
fn a_cluster_under_another_supervisor_is_saved_and_its_owner_is_told_what_to_do() {
    let cluster = start(32, 2, 1);
    cluster.cli(0, &["submit", "flow.toml"]).with(0);
    wait_until("it writes", || cluster.job(0, "market")["rows_out"].as_u64() > Some(100));
    let said = cluster.cli(1, &["rescale", "--processes", "5"]).with(0).out;
    let saved = cluster.job(0, "market")["savepoint"].as_u64().expect("a savepoint");
    let parts = [
        format!("savepoints: market@{saved}"),
        "To go on with 5 processes of 1 worker".to_string(),
        "--workers 1".to_string(),
        "`replicas: 5`".to_string(),
    ];
    parts.iter().for_each(|part| assert!(said.contains(part.as_str()), "{part} in {said}"));
    assert_eq!(cluster.job(0, "market")["state"], "running");
    for (arguments, code) in [(&["--processes", "0"], 2), (&["--workers", "2000"], 2)] {
        cluster.cli(0, &[&["rescale"][..], &arguments[..]].concat()).with(code);
    }
}

#[test]
fn without_a_state_store_a_cluster_keeps_its_size() {
    let cluster = crate::support::cluster::Cluster::start(1, 1);
    let refused = cluster.cli(0, &["rescale", "--workers", "2"]).with(2);
    assert!(refused.err.contains("the cluster would lose its jobs: no state is kept here"), "{}", refused.err);
}
