//! How a cluster ends: asked to, or because one of its processes is gone.

use super::endless;
use crate::support::cluster::{Cluster, wait_until};

fn with_a_job(processes: usize) -> Cluster {
    let cluster = Cluster::start(processes, 2);
    cluster.file("live.toml", &endless("live", 500));
    cluster.cli(0, &["submit", "live.toml"]).with(0);
    wait_until("it writes", || cluster.job(0, "live")["rows_out"].as_u64() > Some(0));
    cluster
}

#[test]
fn a_killed_process_ends_the_others() {
    for killed in [0, 2] {
        let mut cluster = with_a_job(3);
        cluster.process(killed).signal("KILL");
        for index in (0..3).filter(|index| *index != killed) {
            let process = cluster.process(index);
            assert_eq!(process.ended(), 1, "{}", process.log());
            let log = process.log();
            assert!(log.contains("was lost") && log.contains("error: the connection to process"), "{log}");
            assert!(!log.contains("panicked"), "{log}");
        }
        let told = (0..3).filter(|index| *index != killed);
        let told = told.filter(|index| {
            cluster.processes[*index].as_ref().is_some_and(|process| {
                process.log().contains(&format!("error: the connection to process {killed} was lost"))
            })
        });
        assert!(told.count() >= 1, "at least one says which it was");
    }
}

#[test]
fn a_signal_lets_all_jobs_drain() {
    for (asked, signal) in [(1, "TERM"), (0, "INT")] {
        let mut cluster = with_a_job(2);
        cluster.process(asked).signal(signal);
        for index in 0..2 {
            let process = cluster.process(index);
            assert_eq!(process.ended(), 0, "{}", process.log());
            assert!(process.log().contains(&format!("process {asked} was asked to end")));
        }
        let rows = cluster.read("live.jsonl");
        assert!(rows.ends_with("}\n") && rows.lines().count() > 0);
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut cluster = with_a_job(2);
        // What stands still keeps the other from draining.
        cluster.process(1).signal("STOP");
        cluster.process(0).signal(signal);
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(cluster.process(0).runs());
        cluster.process(0).signal(signal);
        assert_eq!(cluster.process(0).ended(), code);
    }
}

#[test]
fn draining_has_a_deadline() {
    let mut cluster = Cluster::plan(2, 1);
    cluster.file("tapeflow.toml", "drain_timeout = \"1s\"\n");
    (0..2).for_each(|index| cluster.launch(index));
    cluster.wait_ready();
    cluster.process(1).signal("STOP");
    cluster.process(0).signal("TERM");
    let process = cluster.process(0);
    assert_eq!(process.ended(), 6, "{}", process.log());
}

#[test]
fn a_process_that_waits_for_others_can_be_ended() {
    let mut cluster = Cluster::plan(2, 1);
    cluster.launch(0);
    wait_until("it answers", || cluster.status(0, "/healthz") == 200);
    cluster.process(0).signal("TERM");
    assert_eq!(cluster.process(0).ended(), 0);
}
