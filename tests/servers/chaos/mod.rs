//! Chaos: a job with every operator and every sink that promises each row once runs on a Kafka and a Cassandra of its own,
//! in three processes. These, the broker and the database are killed, stopped and hindered while rows flow, and the
//! outputs are compared with a recomputation.
//!
//! A run is made of segments: a new cluster and job, a deck of faults, then production pauses and everything is compared.
//! `make chaos` is a long run; a short one is among the tests.

mod aim;
mod check;
mod disk;
mod faults;
mod flow;
mod janitor;
mod produce;
mod report;
mod segment;
mod server;
mod settings;
mod table;
mod tail;
mod topics;

use std::thread::scope;
use std::time::Instant;

use disk::Disk;
use faults::Kind;
use janitor::Janitor;
use report::{Report, say};
use segment::{Segment, Servers};
use server::Server;
use settings::Settings;

use crate::support::PROGRAM;

fn run(mut settings: Settings) {
    let janitor = Janitor::new();
    let folder = janitor.folder();
    if settings.deck.contains(&Kind::Disk) && Disk::mount(&folder.join("disk")).is_none() {
        say("chaos: a file system may not be mounted here: the faults of a full disk are left out");
        settings.deck.retain(|kind| *kind != Kind::Disk);
    }
    let servers = servers(folder);
    let (began, mut report) = (Instant::now(), Report::default());
    while report.landed.len() < settings.faults {
        let mut segment = Segment::begin(&servers, &settings, report.segments as u64);
        let disturbed = segment.disturb(settings.faults - report.landed.len());
        let outcome = segment.end();
        report.landed.extend(outcome.landed);
        report.segments += 1;
        report.rows += outcome.rows;
        report.checkpoints += outcome.checkpoints;
        report.restarts += outcome.restarts;
        let (segments, faults) = (report.segments, report.landed.len());
        let wrong: Vec<String> = disturbed.err().into_iter().chain(outcome.wrong).collect();
        say(&format!(
            "chaos: segment {segments}: {} rows, {faults} faults so far, {} wrong",
            outcome.rows,
            wrong.len()
        ));
        if !wrong.is_empty() {
            report.print(settings.seed, began.elapsed(), wrong.len());
            panic!("seed {}, segment {segments}:\n{}", settings.seed, wrong.join("\n"));
        }
    }
    report.print(settings.seed, began.elapsed(), 0);
}

/// Starts the servers; the program is copied, so that a build meanwhile changes nothing.
fn servers(folder: &std::path::Path) -> Servers {
    let program = folder.join("tapeflow");
    std::fs::copy(PROGRAM, &program).expect("a copy");
    let (kafka, cassandra) = (Server::kafka(folder), Server::cassandra(folder));
    scope(|scope| {
        scope.spawn(|| kafka.start());
        cassandra.start();
    });
    Servers { folder: folder.to_path_buf(), program, kafka, cassandra }
}

#[test]
fn nothing_is_lost_and_nothing_comes_twice_whatever_is_killed() {
    run(Settings::short());
}

#[test]
#[ignore = "takes an hour: make chaos"]
fn a_long_run() {
    run(Settings::long());
}
