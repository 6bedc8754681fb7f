//! A flood of strangers while a job runs: its output is the same, and nothing is left of them.
//!
//! `TAPEFLOW_HOSTILE` says how many there are; `make hostile` sends ten thousand.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::market;
use crate::support::cluster::{Cluster, TOKEN, run, tapeflow, wait_until};

/// How many come, where nobody says.
const STRANGERS: usize = 900;
/// How many of them are there at a time.
const AT_A_TIME: usize = 250;

fn strangers() -> usize {
    std::env::var("TAPEFLOW_HOSTILE").ok().and_then(|count| count.parse().ok()).unwrap_or(STRANGERS)
}

/// What they say to the mesh.
fn mesh_words(number: usize) -> Vec<u8> {
    let hello = |to: usize| {
        let identity = r#"{"protocol":2,"build":"x","cluster":"tapeflow","processes":2,"workers":1}"#;
        let hello = format!(r#"{{"identity":{identity},"from":1,"to":{to},"line":"Data","nonce":"00"}}"#);
        let mut words = b"tapeflow".to_vec();
        words.extend((hello.len() as u32).to_be_bytes());
        words.extend(hello.as_bytes());
        words
    };
    match number % 8 {
        0 => Vec::new(),
        1 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        2 => noise(number),
        3 => b"tapeflow".to_vec(),
        4 => b"tapeflow\xff\xff\xff\xff".to_vec(),
        5 => hello(number % 3),
        // A proof that proves nothing.
        6 => [hello(0), 32u32.to_be_bytes().to_vec(), vec![7; 32]].concat(),
        _ => hello(0)[..20 + number % 60].to_vec(),
    }
}

/// What they say to the control plane.
fn http_words(number: usize) -> Vec<u8> {
    let post = "POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    match number % 12 {
        0 => Vec::new(),
        1 => noise(number),
        // Slow ones: the head never ends, the body never comes.
        2 => b"GET /metrics HTTP/1.1\r\nX-Slow: ".to_vec(),
        3 => format!("{post}Authorization: Bearer {TOKEN}\r\nContent-Length: 100\r\n\r\n{{").into_bytes(),
        4 => format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX-Huge: {}\r\n\r\n", "x".repeat(200_000)).into_bytes(),
        5 => format!("GET / HTTP/1.1\r\n{}\r\n", "X-Many: x\r\n".repeat(5_000)).into_bytes(),
        6 => b"GET /api/v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong-token-0123456789\r\n\r\n".to_vec(),
        7 => format!("{post}Authorization: Bearer {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").into_bytes(),
        8 => {
            format!("{post}Authorization: Bearer {TOKEN}\r\nContent-Length: 99999999999999999999\r\n\r\n").into_bytes()
        }
        9 => format!("{post}Authorization: Bearer {TOKEN}\r\nContent-Length: 2\r\n\r\n[]").into_bytes(),
        10 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        _ => "BREW /%00%ff/../..//api HTTP/1.1\r\nHost: \u{7f}\r\n\r\n".as_bytes().to_vec(),
    }
}

fn noise(seed: usize) -> Vec<u8> {
    (0..2048u32).map(|at| ((at ^ seed as u32).wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Lets `count` strangers come, some of whom stay for a while, some read what they are told, some hang up at once.
fn flood(cluster: &Cluster, count: usize) {
    let mut staying = VecDeque::new();
    for number in 0..count {
        let process = number % cluster.http.len();
        let to_mesh = number / 2 % 2 == 0;
        let port = if to_mesh { cluster.mesh[process] } else { cluster.http[process] };
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_millis(5))).expect("a time-out");
        stream.set_write_timeout(Some(Duration::from_millis(50))).expect("a time-out");
        // They may be hung up on at any moment.
        let _ = stream.write_all(&if to_mesh { mesh_words(number / 4) } else { http_words(number / 4) });
        match number % 5 {
            0 => drop(stream),
            1 => drop(stream.read(&mut [0; 512])),
            _ => staying.push_back(stream),
        }
        if staying.len() > AT_A_TIME {
            staying.pop_front();
        }
    }
}

/// How many descriptors, and how many threads, process `pid` has.
fn open(pid: u32) -> (usize, usize) {
    let count = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, |entries| entries.count());
    (count("fd"), count("task"))
}

fn sorted(rows: &str) -> Vec<&str> {
    let mut rows: Vec<&str> = rows.lines().collect();
    rows.sort_unstable();
    rows
}

#[test]
fn a_flood_of_strangers_changes_nothing() {
    let mut cluster = Cluster::start(2, 1);
    cluster.file("m.toml", &market("m", 6, "type = \"file\"\npath = \"m.jsonl\""));
    let mut alone = tapeflow(cluster.folder.path());
    alone.args(["run", "m.toml", "--workers", "1", "--quiet"]);
    run(alone).with(0);
    let expected = cluster.read("m.jsonl");
    // The same at the pace of the clock, so that it runs while they come.
    let slow = market("m", 6, "type = \"file\"\npath = \"m.jsonl\"").replace("speed = \"max\"", "");
    cluster.file("m.toml", &slow);
    cluster.cli(0, &["list"]).with(0);
    let pids: Vec<u32> = (0..2).map(|index| cluster.process(index).pid()).collect();
    let before: Vec<_> = pids.iter().map(|pid| open(*pid)).collect();
    cluster.cli(0, &["submit", "m.toml"]).with(0);
    flood(&cluster, strangers());
    cluster.cli(1, &["status", "m"]).with(0);
    wait_until("the job is done", || cluster.job(1, "m")["state"] == "done");
    assert!(sorted(&cluster.read("m.jsonl")) == sorted(&expected), "the rows differ");
    for (index, (pid, before)) in pids.into_iter().zip(before).enumerate() {
        wait_until("nothing is left of them", || {
            let after = open(pid);
            after.0 <= before.0 + 3 && after.1 <= before.1 + 3
        });
        assert!(cluster.process(index).runs());
        assert_eq!(cluster.get(index, "/version")["generation"], 1);
        let log = cluster.process(index).log();
        assert!(!log.contains("panicked") && !log.contains(TOKEN), "{log}");
        // They are told of, but do not fill the disk.
        assert!(log.contains("refused") && log.lines().count() < 40 + strangers() / 10, "{}", log.lines().count());
    }
}

#[test]
fn silent_connections_keep_nobody_out() {
    let cluster = Cluster::start(1, 1);
    let connect = |_| TcpStream::connect(("127.0.0.1", cluster.http[0])).expect("it listens");
    let silent: Vec<TcpStream> = (0..700).map(connect).collect();
    // More than are served at a time: the oldest had to go.
    let mut oldest = &silent[0];
    oldest.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
    assert!(matches!(oldest.read(&mut [0]), Ok(0)) || oldest.peer_addr().is_err(), "it was closed at once");
    for _ in 0..5 {
        cluster.cli(0, &["list"]).with(0);
    }
    assert_eq!(cluster.status(0, "/readyz"), 200);
}
