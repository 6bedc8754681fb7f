//! What does not move is told, with its name.

use std::fs::OpenOptions;
use std::io::Read;
use std::process::Command;

use super::market;
use crate::support::cluster::{Cluster, wait_until};

#[test]
fn a_node_whose_input_does_not_move_is_told() {
    let mut cluster = Cluster::plan(1, 2);
    cluster.file("tapeflow.toml", "stall_timeout = \"500ms\"\n");
    cluster.launch(0);
    cluster.wait_ready();
    // A pipe that somebody has open and does not read: what is written there waits.
    let path = cluster.folder.path().join("out.jsonl");
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
    let mut pipe = OpenOptions::new().read(true).write(true).open(&path).expect("a pipe");
    cluster.file("m.toml", &market("m", 60, "type = \"file\"\npath = \"out.jsonl\""));
    cluster.cli(0, &["submit", "m.toml"]).with(0);
    let told = "job `m`: the input of `out` on worker 0 does not move";
    wait_until("it is told", || {
        let (status, _, body) = cluster.ask(0, "GET /readyz", "");
        status == 503 && body.contains("\"check\":\"jobs\"") && body.contains(told)
    });
    wait_until("it is logged", || cluster.process(0).log().contains(told));
    let reader = std::thread::spawn(move || while pipe.read(&mut [0; 1 << 16]).is_ok() {});
    wait_until("it moves again", || cluster.status(0, "/readyz") == 200);
    wait_until("all is written", || cluster.job(0, "m")["state"] == "done");
    wait_until("its end is logged", || cluster.process(0).log().contains(&format!("no longer: {told}")));
    // It waits for what nobody writes any more, until the test ends.
    drop(reader);
}
