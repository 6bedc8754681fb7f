//! A cluster whose processes are killed and stopped while a job runs.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::market::{differences, expected, flow, lines, rows_of_lake, rows_of_lines, trades};
use super::{alerts, joins, tables, windows};
use crate::support::cluster::{Cluster, wait_until};

pub fn start(seed: u64, processes: usize, workers: usize) -> Cluster {
    let mut cluster = Cluster::plan(processes, workers);
    cluster.restart = true;
    let state = cluster.folder.path().join("state");
    cluster.environment.push(("TAPEFLOW_STATE".to_string(), state.to_string_lossy().into_owned()));
    cluster.file("trades.jsonl", &lines(&trades(seed)));
    cluster.file("flow.toml", &flow("200ms"));
    (0..processes).for_each(|index| cluster.launch(index));
    cluster.wait_ready();
    cluster
}

pub fn check(cluster: &Cluster, seed: u64) {
    let expected = expected(&trades(seed));
    let folder = cluster.folder.path();
    // The other processes publish their last files at about the time when the first says that it is done.
    let hidden = || std::fs::read_dir(folder.join("lake")).expect("a lake").flatten().any(|entry| is_hidden(&entry));
    wait_until("all files are published", || !hidden());
    for (name, found) in [("lines", rows_of_lines(&folder.join("lines"))), ("lake", rows_of_lake(&folder.join("lake")))]
    {
        let wrong = differences(&expected, &found);
        let some: Vec<&String> = wrong.iter().take(5).collect();
        assert!(wrong.is_empty(), "seed {seed}: {} differences in {name}: {some:#?}", wrong.len());
    }
    let trades = trades(seed);
    let mut wrong = alerts::differences(&trades, folder);
    wrong.extend(windows::differences(&trades, folder));
    wrong.extend(tables::differences(&trades, folder));
    wrong.extend(joins::differences(&trades, folder));
    assert!(wrong.is_empty(), "seed {seed}: {} differences: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
}

fn is_hidden(entry: &std::fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with('.')
}

/// Whether the job has come to its end: then the store has nothing to install again.
pub fn is_done(cluster: &Cluster) -> bool {
    let jobs = cluster.folder.path().join("state/jobs/market/job.json");
    !jobs.exists()
}

#[test]
fn a_job_goes_on_whichever_process_is_killed() {
    for seed in [11, 12] {
        let mut cluster = start(seed, 3, 1);
        let mut random = StdRng::seed_from_u64(seed);
        cluster.cli(0, &["submit", "flow.toml"]).with(0);
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(random.random_range(600..1600)));
            let killed = random.random_range(0..3);
            cluster.process(killed).signal("KILL");
            cluster.process(killed).ended();
            cluster.launch(killed);
            if random.random_bool(0.3) {
                // Again, while it recovers.
                std::thread::sleep(Duration::from_millis(random.random_range(0..700)));
                let killed = random.random_range(0..3);
                cluster.process(killed).signal("KILL");
                cluster.process(killed).ended();
                cluster.launch(killed);
            }
        }
        wait_until("the job is done", || is_done(&cluster));
        check(&cluster, seed);
    }
}

#[test]
fn a_cluster_that_is_stopped_and_started_with_more_workers_goes_on() {
    let seed = 13;
    let mut cluster = start(seed, 2, 1);
    cluster.cli(1, &["submit", "flow.toml"]).with(0);
    for workers in ["3", "2"] {
        std::thread::sleep(Duration::from_millis(1200));
        cluster.process(0).signal("TERM");
        for index in 0..2 {
            assert_eq!(cluster.process(index).ended(), 0, "{}", cluster.process(index).log());
        }
        cluster.environment.push(("TAPEFLOW_WORKERS".to_string(), workers.to_string()));
        for index in 0..2 {
            cluster.launch(index);
        }
        cluster.wait_ready();
    }
    wait_until("the job is done", || is_done(&cluster));
    check(&cluster, seed);
}
