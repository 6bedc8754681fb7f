//! Who is no process of the cluster does no harm to it, before it is complete and after.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use super::market;
use crate::support::cluster::{Cluster, Process, TOKEN, free_port, run, tapeflow, wait_until};

/// What is different about a process.
type Change<'a> = &'a dyn Fn(&mut Command) -> &mut Command;

/// A short job through `at` shows that all workers are well.
fn works(cluster: &Cluster, at: usize, name: &str) {
    cluster.file("well.toml", &market(name, 5, "type = \"discard\""));
    cluster.cli(at, &["submit", "well.toml", "--wait", "--timeout", "50s"]).with(0);
}

/// Starts process `index` as `change` would have it, on ports of its own; its exit code and what it says.
fn wrong(cluster: &Cluster, index: usize, change: impl Fn(&mut Command) -> &mut Command) -> (i32, String) {
    let mut command = cluster.worker(index);
    command.args(["--http", &format!("127.0.0.1:{}", free_port()), "--mesh", &format!("127.0.0.1:{}", free_port())]);
    change(&mut command);
    let mut process = Process::spawn(command, cluster.folder.path().join(format!("log-wrong-{}", free_port())));
    (process.ended(), process.log())
}

#[test]
fn a_wrong_process_is_refused_and_told_why() {
    let mut cluster = Cluster::plan(3, 1);
    cluster.launch(0);
    cluster.launch(1);
    wait_until("two have met", || {
        cluster.processes[0].as_ref().is_some_and(|log| log.log().contains("process 1 is connected"))
    });
    let cases: [(&str, Change<'_>); 4] = [
        ("does not have the token", &|command| command.env("TAPEFLOW_TOKEN", "another-token-0123456789")),
        ("does not have the token", &|command| command.env_remove("TAPEFLOW_TOKEN")),
        ("name of the cluster is other there and tapeflow here", &|command| command.args(["--cluster", "other"])),
        ("the number of workers is 2 there and 1 here", &|command| command.args(["--workers", "2"])),
    ];
    for (reason, change) in cases {
        let (code, log) = wrong(&cluster, 2, change);
        assert_eq!(code, 4, "{log}");
        assert!(log.contains(reason), "{reason} in {log}");
        let heard = cluster.process(0).log() + &cluster.process(1).log();
        assert!(heard.contains(reason), "{reason} in {heard}");
        assert!(!log.contains(TOKEN) && !heard.contains(TOKEN));
    }
    cluster.launch(2);
    cluster.wait_ready();
    works(&cluster, 2, "before");
    // A complete cluster takes nobody, and goes on.
    let mut late = cluster.worker(2);
    late.env("TAPEFLOW_JOIN_TIMEOUT", "1s");
    late.args(["--http", &format!("127.0.0.1:{}", free_port()), "--mesh", &format!("127.0.0.1:{}", free_port())]);
    let mut late = Process::spawn(late, cluster.folder.path().join("log-late"));
    assert_eq!(late.ended(), 4);
    assert!(late.log().contains("the cluster is complete"), "{}", late.log());
    works(&cluster, 1, "after");
}

#[test]
fn two_processes_cannot_have_the_same_index() {
    let mut cluster = Cluster::plan(3, 1);
    cluster.launch(0);
    cluster.launch(1);
    wait_until("two have met", || {
        cluster.processes[0].as_ref().is_some_and(|log| log.log().contains("process 1 is connected"))
    });
    let (code, log) = wrong(&cluster, 1, |command| command.env("TAPEFLOW_JOIN_TIMEOUT", "1s"));
    assert_eq!(code, 4);
    assert!(log.contains("process 1 is there already"), "{log}");
    assert!(cluster.cli(0, &["list"]).code == 0 && cluster.process(1).runs());
    cluster.launch(2);
    cluster.wait_ready();
    works(&cluster, 0, "well");
    let mut command = cluster.worker(7);
    command.env("TAPEFLOW_JOIN_TIMEOUT", "1s");
    assert!(run(command).with(2).err.contains("there are 3 processes"));
}

/// What port scanners and mistakes send. The connections stay open until they are dropped.
fn noise(port: u16) -> Vec<TcpStream> {
    let mut open = Vec::new();
    let mut send = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
        // It may be closed on us at any moment.
        let _ = stream.write_all(bytes);
        open.push(stream);
    };
    let random: Vec<u8> = (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    send(&random);
    send(&[0; 8]);
    send(&1u64.to_be_bytes());
    send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    send(b"tape");
    send(b"tapeflow");
    send(b"tapeflow\0\0\x01\0half a hello");
    send(b"tapeflow\xff\xff\xff\xff");
    send(b"tapeflow\0\0\0\x02{}");
    (0..200).for_each(|_| send(b""));
    open
}

#[test]
fn noise_does_no_harm() {
    let mut cluster = Cluster::plan(2, 2);
    cluster.launch(0);
    wait_until("it listens", || TcpStream::connect(("127.0.0.1", cluster.mesh[0])).is_ok());
    let before = noise(cluster.mesh[0]);
    cluster.launch(1);
    cluster.wait_ready();
    works(&cluster, 1, "during");
    drop(before);
    let after: Vec<_> = cluster.mesh.iter().chain(&cluster.http).map(|port| noise(*port)).collect();
    works(&cluster, 0, "after");
    // Silent connections are closed.
    for mut stream in after.into_iter().flatten() {
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let mut rest = Vec::new();
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "a silent connection was kept");
        }
    }
    let log = cluster.process(0).log();
    assert!(
        log.contains("it is no tapeflow process") && log.contains("more connections") || log.lines().count() < 60,
        "{log}"
    );
    assert!(!log.contains("panicked"), "{log}");
    works(&cluster, 1, "last");
}

#[test]
fn a_process_may_be_started_again_while_the_others_gather() {
    let mut cluster = Cluster::plan(3, 1);
    cluster.launch(0);
    cluster.launch(1);
    wait_until("two have met", || {
        cluster.processes[0].as_ref().is_some_and(|log| log.log().contains("process 1 is connected"))
    });
    for index in [1, 0] {
        cluster.processes[index] = None;
        cluster.launch(index);
    }
    cluster.launch(2);
    cluster.wait_ready();
    works(&cluster, 2, "well");
}

#[test]
fn who_is_missing_is_told() {
    let mut cluster = Cluster::plan(3, 1);
    cluster.file("tapeflow.toml", "join_timeout = \"1500ms\"\n");
    cluster.launch(1);
    let process = cluster.process(1);
    assert_eq!(process.ended(), 4);
    let log = process.log();
    assert!(log.contains("process 0 (127.0.0.1:") && log.contains("Connection refused"), "{log}");
    assert!(log.contains("process 2 (127.0.0.1:") && log.contains("did not call"), "{log}");
}

#[test]
fn nothing_listens_beyond_this_machine_without_a_token() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("hosts"), "127.0.0.1 7071 7070\n0.0.0.0 7071 7070\n").expect("written");
    let port = free_port();
    let everywhere = format!("0.0.0.0:{port}");
    let here = format!("127.0.0.1:{port}");
    for args in [
        vec!["worker", "--http", &everywhere],
        vec!["worker", "--hosts", "hosts", "--index", "1"],
        vec!["worker", "--hosts", "hosts", "--http", &here, "--mesh", &everywhere],
    ] {
        let mut command = tapeflow(folder.path());
        command.args(&args);
        let said = run(command).with(2);
        assert!(said.err.contains("needs a token") && said.err.contains("TAPEFLOW_TOKEN"), "{args:?}: {}", said.err);
    }
    let mut command = tapeflow(folder.path());
    command.args(["worker", "--http", &everywhere]).env("TAPEFLOW_TOKEN", "short");
    assert!(run(command).with(2).err.contains("openssl rand"));
}
