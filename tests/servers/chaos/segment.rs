//! A part of a run: a job of its own in a cluster of its own, disturbed while trades come in, then drained and compared.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::aim::{Aim, Moment};
use super::check::Check;
use super::disk::Disk;
use super::faults::Kind;
use super::flow::{PARTITIONS, Places, TABLES, TOPICS, dataflow, expected};
use super::janitor::keeps;
use super::mended;
use super::network::Network;
use super::produce::Producing;
use super::report::{Landed, say};
use super::server::Server;
use super::settings::Settings;
use super::table::Stored;
use super::tail::{Tail, consumer};
use super::topics::Topics;
use super::{joins, tables, windows};
use crate::recovery::market::{rows_of_lake, rows_of_lines};
use crate::support::cluster::Cluster;

pub const PROCESSES: usize = 3;
/// Nothing takes so long to recover.
const PATIENCE: Duration = Duration::from_secs(400);
/// When no row has come for so long, none comes any more.
const DRAINED: Duration = Duration::from_secs(20);
/// After how long a process that ended by itself is started again.
const RESTART: Duration = Duration::from_millis(200);
/// A fault that is aimed at a checkpoint comes so soon after the moment it is aimed at.
const SOON: Duration = Duration::from_millis(150);

/// The servers of a run.
pub struct Servers {
    pub folder: PathBuf,
    pub program: PathBuf,
    pub kafka: Server,
    pub cassandra: Server,
    /// The network of the processes, where it is not that of this machine.
    pub network: Option<Network>,
}

/// A segment, under way.
pub struct Segment<'a> {
    pub servers: &'a Servers,
    pub settings: &'a Settings,
    pub random: StdRng,
    pub cluster: Cluster,
    /// The process that is meant not to run.
    pub absent: Option<usize>,
    pub disk: Option<Disk>,
    places: Places,
    seed: u64,
    producing: Producing,
    tail: Tail,
    pub aim: Aim,
    landed: Vec<Landing>,
    restarts: usize,
}

struct Landing {
    kind: Kind,
    at: Instant,
    rate: f64,
    recovered: Option<Instant>,
}

/// What became of a segment.
pub struct Outcome {
    pub landed: Vec<Landed>,
    pub rows: u64,
    pub checkpoints: usize,
    /// Processes that ended by themselves and were started again.
    pub restarts: usize,
    /// Lines that say what is wrong.
    pub wrong: Vec<String>,
}

impl<'a> Segment<'a> {
    /// Begins the segment `number` of a run.
    pub fn begin(servers: &'a Servers, settings: &'a Settings, number: u64) -> Segment<'a> {
        let seed = settings.seed.wrapping_mul(1_000_003) + number;
        let mut cluster = Cluster::plan_in(&servers.folder, PROCESSES, 1);
        cluster.program.clone_from(&servers.program);
        // What the processes of a segment said that went wrong is worth something.
        cluster.folder.disable_cleanup(true);
        // In place by itself, and in every second segment by whoever supervises it.
        cluster.restart = number.is_multiple_of(2);
        let sabotage = settings.sabotage.map(|promise| ("TAPEFLOW_SABOTAGE".to_string(), promise.to_string()));
        cluster.environment.extend(sabotage);
        if let Some(network) = &servers.network {
            cluster.addresses.clone_from(&network.addresses);
            cluster.namespaces.clone_from(&network.namespaces);
            cluster.write_hosts();
        }
        let state = cluster.folder.path().join("state");
        cluster.environment.push(("TAPEFLOW_STATE".to_string(), state.to_string_lossy().into_owned()));
        let disk = settings.disk.then(|| Disk::mount(&state).expect("it was mounted before"));
        let job = format!("chaos_{number}");
        let brokers = servers.kafka.address();
        let places = Places { brokers: brokers.clone(), cassandra: servers.cassandra.address(), job };
        Topics::of(&brokers).make(&TOPICS.map(|name| places.topic(name)), PARTITIONS);
        cluster.file("flow.toml", &dataflow(&places, settings.checkpoint));
        (0..PROCESSES).for_each(|index| cluster.launch(index));
        cluster.wait_ready();
        cluster.cli(0, &["submit", "flow.toml"]).with(0);
        let tail = Tail::start(&brokers, &places.topic("few"));
        let came = Arc::clone(&tail.came);
        Segment {
            producing: Producing::start(&brokers, &places.topic("trades"), seed, settings.rate, came),
            tail,
            aim: Aim::start(&state, &places.job),
            random: StdRng::seed_from_u64(seed),
            servers,
            settings,
            cluster,
            absent: None,
            disk,
            places,
            seed,
            landed: Vec::new(),
            restarts: 0,
        }
    }

    /// Disturbs it by all faults of a deck, or by so many as are left.
    pub fn disturb(&mut self, left: usize) -> Result<(), String> {
        let mut deck = self.settings.deck.clone();
        deck.shuffle(&mut self.random);
        for kind in deck {
            if self.landed.len() >= left {
                break;
            }
            let kind = self.variant(kind);
            self.strike(kind)?;
        }
        Ok(())
    }

    /// Of the processes that are stopped half are replaced, of the databases that are killed a third hangs before, and of
    /// the processes that are killed some have a commit on its way.
    fn variant(&mut self, kind: Kind) -> Kind {
        match kind {
            Kind::Stop if self.random.random_bool(1.0 / 2.0) => Kind::Replace,
            Kind::Kill if self.servers.kafka.proxy.is_some() && self.random.random_bool(1.0 / 6.0) => Kind::LateCommit,
            Kind::Database if self.random.random_bool(1.0 / 3.0) => Kind::Hang,
            kind => kind,
        }
    }

    /// Lets a fault land while rows flow, and waits until what was written in the half second after it is in the topic.
    fn strike(&mut self, kind: Kind) -> Result<(), String> {
        loop {
            self.wait_until("rows flow again", Segment::flows)?;
            self.take_aim();
            if self.flows() {
                break;
            }
        }
        let first = self.landed.len();
        // Of two kills the first is one like others.
        self.landed(if kind == Kind::Again { Kind::Kill } else { kind });
        self.act(kind);
        self.wait_until("the outputs have what came just after", |this| this.recovered(kind, first).is_some())?;
        let recovered = self.recovered(kind, first);
        self.landed[first..].iter_mut().for_each(|landing| landing.recovered = recovered);
        let Landing { at, rate, .. } = self.landed[first];
        let took = recovered.map_or(Duration::ZERO, |recovered| recovered.saturating_duration_since(at));
        say(&format!("chaos: {kind:?} at {rate:.0} rows/s, recovered after {:.1} s", took.as_secs_f64()));
        Ok(())
    }

    /// When all was well again after the fault that landed as `first`.
    fn recovered(&self, kind: Kind, first: usize) -> Option<Instant> {
        match kind {
            // What the table has only a checkpoint tells.
            Kind::Database | Kind::Hang => self.aim.completed_after(self.landed[first].at),
            _ => self.tail.reached(),
        }
    }

    /// A fault lands now.
    pub fn landed(&mut self, kind: Kind) {
        self.landed.push(Landing { kind, at: Instant::now(), rate: self.tail.rate(), recovered: None });
        self.tail.await_rows(self.producing.written() + self.settings.rate / 2);
    }

    /// A third of the faults is aimed at a checkpoint that begins or becomes complete.
    fn take_aim(&mut self) {
        if self.settings.aimed {
            self.aim.wait(Moment::Complete, PATIENCE);
        }
        let span = match self.random.random_range(0..6) {
            0 if self.aim.wait(Moment::Begun, PATIENCE) => SOON,
            1 if self.aim.wait(Moment::Complete, PATIENCE) => SOON,
            _ => self.settings.checkpoint,
        };
        let span = span.mul_f64(self.random.random());
        self.wait(span);
    }

    /// Whether rows come out at the rate asked for, and are not those of long ago.
    fn flows(&self) -> bool {
        let behind = self.producing.written().saturating_sub(self.tail.count());
        self.tail.rate() >= self.settings.least as f64 && behind < 2 * self.settings.rate
    }

    /// Starts processes again that have ended.
    pub fn supervise(&mut self) {
        for index in (0..PROCESSES).filter(|index| self.absent != Some(*index)) {
            if !self.cluster.process(index).runs() {
                // Not at once, as nobody would who supervises them.
                sleep(RESTART);
                self.restarts += 1;
                self.cluster.launch(index);
            }
        }
    }

    fn wait_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        let began = Instant::now();
        while !done(self) {
            if began.elapsed() > PATIENCE {
                let (written, count) = (self.producing.written(), self.tail.count());
                let words = self.last_words();
                return Err(format!("waited in vain until {what}: {written} written, {count} in the topic; {words}"));
            }
            self.wait(Duration::from_millis(10));
        }
        Ok(())
    }

    fn last_words(&mut self) -> String {
        let last = |index: usize| {
            let log = self.cluster.process(index).log();
            let lines: Vec<&str> = log.lines().rev().take(4).collect();
            format!("\nprocess {index}:\n{}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
        };
        (0..PROCESSES).map(last).collect()
    }

    /// Lets what is on its way come out, ends the job, and compares all its outputs.
    pub fn end(mut self) -> Outcome {
        let rows = self.producing.end();
        self.drain(rows);
        let checkpoints = self.aim.complete();
        let stopped = self.cluster.cli(0, &["stop", &self.places.job, "--wait"]);
        let mut wrong = Vec::new();
        if stopped.code != 0 {
            wrong.push(format!("the job does not end well: {}", stopped.err));
        }
        let landed = self.landed.iter().map(|landing| landing.told(&self.aim)).collect();
        wrong.extend(self.differences(rows));
        self.cluster.folder.disable_cleanup(!wrong.is_empty() || keeps());
        Outcome { landed, rows, checkpoints, restarts: self.restarts, wrong }
    }

    /// Waits until all rows are in the topic, or none comes any more; and for a checkpoint, by which also what waits for
    /// event time has come.
    fn drain(&mut self, rows: u64) {
        let (mut count, mut since) = (0, Instant::now());
        while count < rows && since.elapsed() < DRAINED {
            if self.tail.count() > count {
                (count, since) = (self.tail.count(), Instant::now());
            }
            self.wait(Duration::from_millis(10));
        }
        let drained = Instant::now();
        while self.aim.completed_after(drained + self.settings.checkpoint).is_none() && drained.elapsed() < DRAINED {
            self.wait(Duration::from_millis(10));
        }
    }

    fn differences(&mut self, rows: u64) -> Vec<String> {
        let folder = self.cluster.folder.path().to_path_buf();
        // The other processes publish their last files at about the time when the first says that the job has ended.
        let hidden =
            || std::fs::read_dir(folder.join("lake")).expect("a lake").flatten().any(|entry| is_hidden(&entry));
        let began = Instant::now();
        while hidden() && began.elapsed() < DRAINED {
            self.wait(Duration::from_millis(10));
        }
        let Places { brokers, cassandra, .. } = &self.places;
        let expected = expected(self.seed, rows);
        let check = Check { seed: self.seed, expected: &expected };
        let table = |name: &str| Stored { server: cassandra, name: self.places.table(name) };
        let mut wrong = check.input(&consumer(brokers, &self.places.topic("trades")));
        wrong.extend(check.rows("the topic", true, &self.tail.end()));
        wrong.extend(check.rows("the lines", true, &rows_of_lines(&folder.join("lines"))));
        wrong.extend(check.rows("the lake", false, &rows_of_lake(&folder.join("lake"))));
        wrong.extend(check.rows("the table", true, &table("few").rows()));
        wrong.extend(windows::wrong(&self.places, self.seed, rows, &folder));
        wrong.extend(mended::wrong(&self.places, self.seed, rows));
        wrong.extend(tables::wrong(&self.places, self.seed, rows, &folder));
        wrong.extend(joins::wrong(&self.places, self.seed, rows));
        TABLES.iter().for_each(|name| table(name).remove());
        Topics::of(brokers).remove(&TOPICS.map(|name| self.places.topic(name)));
        wrong
    }
}

impl Landing {
    fn told(&self, aim: &Aim) -> Landed {
        Landed {
            kind: self.kind,
            rate: self.rate,
            checkpoint: aim.distance(self.at),
            within_checkpoint: aim.within(self.at),
            recovered: self.recovered.map(|recovered| recovered.saturating_duration_since(self.at)),
        }
    }
}

fn is_hidden(entry: &std::fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with('.')
}
