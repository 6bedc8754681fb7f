//! A lost process ends a generation; the next one begins by itself.

use super::market;
use crate::support::cluster::{Cluster, Process, wait_until};

fn start(processes: usize) -> Cluster {
    let mut cluster = Cluster::plan(processes, 1);
    cluster.restart = true;
    (0..processes).for_each(|index| cluster.launch(index));
    cluster.wait_ready();
    cluster
}

/// All processes are in generation `number`, and run what they are given.
fn runs_in(cluster: &Cluster, number: u64) {
    wait_until(&format!("generation {number} is ready"), || {
        (0..cluster.processes.len()).all(|index| {
            cluster.status(index, "/readyz") == 200
                && cluster.ask(index, "GET /version", "").2.contains(&format!("\"generation\":{number},"))
        })
    });
    cluster.file("m.toml", &market(&format!("in-{number}"), 5, "type = \"discard\""));
    cluster.cli(0, &["submit", "m.toml", "--wait", "--timeout", "50s"]).with(0);
}

#[test]
fn a_cluster_begins_anew_whenever_a_process_is_killed() {
    let mut cluster = start(3);
    runs_in(&cluster, 1);
    for (round, killed) in [1, 0, 2].into_iter().enumerate() {
        let pids: Vec<u32> = (0..3).map(|index| cluster.process(index).pid()).collect();
        cluster.process(killed).signal("KILL");
        cluster.process(killed).ended();
        let survivor = (killed + 1) % 3;
        wait_until("it is told who was lost, and for whom it waits", || {
            let (status, _, body) = cluster.ask(survivor, "GET /readyz", "");
            status == 503
                && body.contains(&format!("process {killed} was lost"))
                && body.contains(&format!("process {killed} (127.0.0.1:{}", cluster.mesh[killed]))
        });
        cluster.launch(killed);
        runs_in(&cluster, round as u64 + 2);
        for index in (0..3).filter(|index| *index != killed) {
            let process = cluster.process(index);
            assert!(process.runs() && process.pid() == pids[index], "it is the same process");
            assert!(process.log().contains(&format!("has ended: process {killed} was lost")), "{}", process.log());
            assert!(!process.log().contains("panicked"), "{}", process.log());
        }
    }
}

#[test]
fn a_process_that_stood_still_comes_back() {
    let mut cluster = start(2);
    cluster.process(1).signal("STOP");
    wait_until("it is missed", || cluster.process(0).log().contains("nothing was heard of it"));
    cluster.process(1).signal("CONT");
    runs_in(&cluster, 2);
    assert!(cluster.process(1).log().contains("has ended: process 1 stood still for"), "{}", cluster.process(1).log());
}

/// The descriptors that process `pid` has open.
fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count())
}

#[test]
fn generations_leave_nothing_behind() {
    let mut cluster = start(2);
    runs_in(&cluster, 1);
    let pid = cluster.process(0).pid();
    let mut counts = Vec::new();
    for number in 2..=5 {
        cluster.process(1).signal("KILL");
        cluster.process(1).ended();
        cluster.launch(1);
        runs_in(&cluster, number);
        counts.push(open_files(pid));
    }
    assert!(counts.iter().all(|count| *count > 0 && *count <= counts[0] + 2), "{counts:?}");
}

#[test]
fn a_wrong_process_is_no_reason_to_begin_anew() {
    let mut cluster = Cluster::plan(2, 1);
    cluster.restart = true;
    cluster.launch(0);
    wait_until("it answers", || cluster.status(0, "/healthz") == 200);
    let mut command = cluster.worker(1);
    command.env("TAPEFLOW_TOKEN", "another-token-0123456789");
    let mut wrong = Process::spawn(command, cluster.folder.path().join("log-wrong"));
    assert_eq!(wrong.ended(), 4);
    assert!(!wrong.log().contains("begins"), "{}", wrong.log());
    cluster.launch(1);
    cluster.wait_ready();
}

#[test]
fn one_that_waits_for_a_lost_process_can_be_ended() {
    let mut cluster = start(2);
    cluster.process(1).signal("KILL");
    wait_until("it waits", || {
        let told = cluster.ask(0, "GET /readyz", "").2;
        told.contains("process 1 was lost") && told.contains("not all processes are connected")
    });
    cluster.process(0).signal("TERM");
    assert_eq!(cluster.process(0).ended(), 0, "{}", cluster.process(0).log());
}

#[test]
fn waiting_for_a_lost_process_may_have_a_limit() {
    let mut cluster = Cluster::plan(2, 1);
    cluster.restart = true;
    cluster.file("tapeflow.toml", "rejoin_timeout = \"300ms\"\n");
    (0..2).for_each(|index| cluster.launch(index));
    cluster.wait_ready();
    cluster.process(1).signal("KILL");
    assert_eq!(cluster.process(0).ended(), 4, "{}", cluster.process(0).log());
    assert!(cluster.process(0).log().contains("not complete within 300ms: process 1"), "{}", cluster.process(0).log());
}
