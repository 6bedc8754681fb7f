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
mod groups;
mod janitor;
mod joins;
mod mended;
mod network;
mod produce;
mod proxy;
mod report;
mod segment;
mod server;
mod settings;
mod switch;
mod table;
mod tables;
mod tail;
mod topics;
mod windows;

use std::path::Path;
use std::thread::scope;
use std::time::Instant;

use disk::Disk;
use faults::Kind;
use janitor::Janitor;
use network::Network;
use report::{Report, say};
use segment::{PROCESSES, Segment, Servers};
use server::{LOOPBACK, Server};
use settings::Settings;

use crate::support::PROGRAM;

/// Servers and a folder, for one run after the other.
struct Stage {
    segments: u64,
    servers: Servers,
    janitor: Janitor,
}

impl Stage {
    /// All on this machine.
    fn new() -> Stage {
        Stage::with(Janitor::new(), None, Server::kafka_behind_a_proxy)
    }

    /// With a host for each process; why not, where that may not be.
    fn of_hosts() -> Result<Stage, String> {
        let janitor = Janitor::new();
        let name = janitor.folder().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let network = Network::make(&name, PROCESSES)?;
        let server = network.server.clone();
        Ok(Stage::with(janitor, Some(network), |folder| Server::kafka(folder, &server)))
    }

    /// Starts the servers; the program is copied, so that a build meanwhile changes nothing.
    fn with(janitor: Janitor, network: Option<Network>, kafka: impl FnOnce(&Path) -> Server) -> Stage {
        let folder = janitor.folder().to_path_buf();
        let program = folder.join("tapeflow");
        std::fs::copy(PROGRAM, &program).expect("a copy");
        let host = network.as_ref().map_or(LOOPBACK, |network| network.server.as_str());
        let (kafka, cassandra) = (kafka(&folder), Server::cassandra(&folder, host));
        scope(|scope| {
            scope.spawn(|| kafka.start());
            cassandra.start();
        });
        Stage { segments: 0, servers: Servers { folder, program, kafka, cassandra, network }, janitor }
    }

    /// Runs until all faults have landed, or something is wrong: which is returned, a line each.
    fn run(&mut self, mut settings: Settings) -> Vec<String> {
        if settings.disk && Disk::mount(&self.janitor.folder().join("disk")).is_none() {
            say("chaos: a file system may not be mounted here: the faults of a full disk are left out");
            settings.disk = false;
        }
        settings.deck.retain(|kind| *kind != Kind::Disk || settings.disk);
        let (began, mut report, mut wrong) = (Instant::now(), Report::default(), Vec::new());
        while report.landed.len() < settings.faults && wrong.is_empty() {
            let mut segment = Segment::begin(&self.servers, &settings, self.segments);
            let disturbed = segment.disturb(settings.faults - report.landed.len());
            let outcome = segment.end();
            wrong.extend(disturbed.err().into_iter().chain(outcome.wrong));
            self.segments += 1;
            report.landed.extend(outcome.landed);
            report.segments += 1;
            report.rows += outcome.rows;
            report.checkpoints += outcome.checkpoints;
            report.restarts += outcome.restarts;
            let (segments, faults) = (report.segments, report.landed.len());
            let words = format!("{} rows, {faults} faults so far, {} wrong", outcome.rows, wrong.len());
            say(&format!("chaos: segment {segments}: {words}"));
        }
        report.print(settings.seed, began.elapsed(), wrong.len());
        wrong
    }
}

/// A run in which nothing may be wrong.
fn run(mut stage: Stage, settings: Settings) {
    let seed = settings.seed;
    let wrong = stage.run(settings);
    assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
}

#[test]
fn operators_are_all_there() {
    let places = flow::Places { job: "job".into(), brokers: "kafka:9092".into(), cassandra: "cassandra:9042".into() };
    let flow = flow::dataflow(&places, std::time::Duration::from_secs(1));
    for (kind, _, _) in tapeflow::operators::KINDS {
        assert!(flow.contains(&format!("type = \"{kind}\"")), "no chaos comes over `{kind}`");
    }
}

#[test]
fn nothing_is_lost_and_nothing_comes_twice_whatever_is_killed() {
    run(Stage::new(), Settings::short());
}

#[test]
#[ignore = "takes an hour: make chaos"]
fn a_long_run() {
    run(Stage::new(), Settings::long());
}

#[test]
#[ignore = "needs network namespaces: make chaos-net"]
fn a_run_between_hosts() {
    match Stage::of_hosts() {
        Ok(stage) => run(stage, Settings::net()),
        Err(why) => say(&format!("chaos: hosts may not be made here, and this run is left out: {why}")),
    }
}

/// The harness sees each promise that is broken, by the faults that bring it to light; and with the same faults nothing
/// where none is.
#[test]
#[cfg(feature = "sabotage")]
#[ignore = "needs a program that can be broken: make chaos-control"]
fn a_broken_promise_is_seen() {
    let cases: [(&'static str, &[Kind]); 4] = [
        ("fencing", &[Kind::LateCommit]),
        ("offset", &[Kind::Kill]),
        ("snapshot", &[Kind::Kill]),
        ("manifest", &[Kind::Hang]),
    ];
    let mut stage = Stage::new();
    for (promise, deck) in cases {
        let wrong = stage.run(Settings::control(None, deck));
        assert!(wrong.is_empty(), "{promise} is kept, and this is wrong:\n{}", wrong.join("\n"));
        let wrong = stage.run(Settings::control(Some(promise), deck));
        assert!(!wrong.is_empty(), "{promise} is broken, and nothing is said to be wrong");
        say(&format!("chaos: {promise} is broken, and seen:\n{}", wrong.join("\n")));
    }
}
