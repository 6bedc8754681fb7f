//! `tapeflow worker`: one process of a cluster.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::time::sleep;

use super::config::ConfigArgs;
use super::signals::Signals;
use crate::config::{Address, Config};
use crate::error::{Error, Result};
use crate::runtime::generation::{Ended, Past, conclude};
use crate::runtime::handshake::{Identity, Member};
use crate::runtime::hosts::{self, Host};
use crate::runtime::links::execute;
use crate::runtime::mesh::{self, Mesh, MeshTls, join};
use crate::runtime::{Command, LOOK as STORE, Process, StateStore, Workers, blocking, build_id, drive, system};
use crate::server::{Access, Server, listen, serve};
use crate::state::{Generation, Store};

/// How often the process looks after itself.
const LOOK: Duration = Duration::from_millis(100);
/// How long the workers of a broken cluster may take to notice.
const BREAKING: Duration = Duration::from_secs(5);
/// How often the log tells for whom the process waits.
const TELL: Duration = Duration::from_secs(10);

/// `tapeflow worker`
#[derive(Args)]
pub struct WorkerArgs {
    /// The processes of the cluster, one a line: HOST MESH_PORT HTTP_PORT. Without it, this one alone.
    #[arg(long, value_name = "FILE", env = "TAPEFLOW_HOSTS")]
    hosts: Option<PathBuf>,
    /// Which of them this is, from 0.
    #[arg(long, default_value_t = 0, env = "TAPEFLOW_INDEX")]
    index: usize,
    /// How many workers (threads) each process has.
    #[arg(short, long, default_value_t = 1, env = "TAPEFLOW_WORKERS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
    /// End when another process is lost, with exit code 1, instead of beginning anew.
    #[arg(long, env = "TAPEFLOW_NO_RESTART", value_parser = clap::builder::FalseyValueParser::new())]
    no_restart: bool,
    /// The process that started this one: when it is gone, this one ends.
    #[arg(long, value_name = "PID", hide = true)]
    parent: Option<u32>,
    /// Where that process looks for another size of the cluster when all have ended.
    #[arg(long, value_name = "FILE", hide = true)]
    size_file: Option<PathBuf>,
    #[command(flatten)]
    settings: ConfigArgs,
}

impl WorkerArgs {
    /// The settings of the process.
    pub fn config(&self) -> Result<Config> {
        self.settings.load()
    }
}

/// Runs a process of a cluster until it is asked to end. Where another is lost, it begins anew.
pub fn worker(args: &WorkerArgs, config: &Config) -> Result<()> {
    let mut past = Past::take();
    let store = config.store()?;
    if let Some(store) = store.clone() {
        past.known = past.known.max(blocking(STORE, async move { known(&store).await })?);
    }
    let (hosts, own) = find_hosts(args, config)?;
    let signals = Signals::watch()?;
    if let Some(parent) = args.parent {
        end_with(parent)?;
    }
    let (index, workers) = (args.index, usize::from(args.workers));
    let cluster = config.cluster.value.clone();
    let mut process = Process::new(cluster, index, hosts, workers, build_id()?);
    process.stall_timeout = config.stall_timeout.value;
    process.size_file.clone_from(&args.size_file);
    let process = Arc::new(process);
    let access = Access::of(config)?;
    let http = listen(config.http.given().unwrap_or(&own.http), &access)?;
    let server = serve(http, Arc::clone(&process), access.clone())?;
    tracing::info!("process {index} of {} listens on {}", process.hosts.len(), server.url);
    let began = Instant::now();
    let ended = match find_peers(&process, config, (&own.mesh, &access), &past, &signals) {
        Ok(Some(mesh)) => generation(&process, (mesh, store), &server, &signals, config.drain_timeout.value)?,
        Ok(None) => Ended::Asked,
        // One of them was lost just then.
        Err(Error::Run(reason)) => Ended::Lost(reason, past.known),
        Err(error) => return Err(error),
    };
    conclude(ended, &past, began.elapsed(), !args.no_restart)
}

/// The newest generation that the store knows.
async fn known(store: &Store) -> Result<u64> {
    store.check().await?;
    Ok(Generation::latest(store).await?.map_or(0, |latest| latest.number))
}

/// Lets the system ask this process to end when `parent` is gone.
fn end_with(parent: u32) -> Result<()> {
    system::end_with_parent().map_err(Error::run)?;
    match std::os::unix::process::parent_id() == parent {
        true => Ok(()),
        false => Err(Error::run("the process that started this one is gone")),
    }
}

/// Runs the workers of this process until the generation ends.
fn generation(
    process: &Arc<Process>,
    (mesh, store): (Mesh, Option<Store>),
    server: &Server,
    signals: &Signals,
    drain: Duration,
) -> Result<Ended> {
    let (index, workers, number) = (process.index, process.workers, mesh.generation);
    if let Some(store) = store {
        let place = (index, process.hosts.len());
        let state = blocking(STORE, async move { StateStore::of_cluster(store, number, place, workers).await });
        match state {
            Ok(state) => process.keep_state(state),
            Err(error) => return Ok(Ended::Lost(error.to_string(), number)),
        }
    }
    process.joined(mesh.run.clone(), number);
    tracing::info!("the cluster is complete: generation {number}, {} workers", workers * process.hosts.len());
    hush(process);
    let began = Instant::now();
    let shared = Arc::clone(process);
    let running = Workers::start(move || {
        let links = Arc::clone(&shared.links);
        execute(mesh, index, workers, &links, move |worker| drive(worker, &shared, began))
    })?;
    // One process looks after the jobs of all.
    let _jobs = (index == 0).then(|| server.look_after_jobs()).transpose()?;
    let ended = watch(process, running, signals, drain);
    match process.links.broken() {
        // Who was asked to end does not begin anew.
        Some(reason) if process.ending().is_none() && !signals.seen() => Ok(Ended::Lost(reason.to_string(), number)),
        _ => ended.map(|()| Ended::Asked),
    }
}

fn find_hosts(args: &WorkerArgs, config: &Config) -> Result<(Vec<Host>, Host)> {
    let hosts = match &args.hosts {
        Some(path) => hosts::load(path)?,
        None => vec![Host { mesh: config.mesh.value.clone(), http: config.http.value.clone() }],
    };
    let none = || Error::Usage(format!("--index {}: there are {} processes, from 0", args.index, hosts.len()));
    let own = hosts.get(args.index).ok_or_else(none)?.clone();
    Ok((hosts, own))
}

/// The mesh; nothing where the process is asked to end before it is complete.
fn find_peers(
    process: &Process,
    config: &Config,
    (own, access): (&Address, &Access),
    past: &Past,
    signals: &Signals,
) -> Result<Option<Mesh>> {
    let processes = process.hosts.len();
    if processes == 1 {
        return Ok(Some(Mesh::alone(past.known)));
    }
    let token = &config.token.value;
    let listener = listen(config.mesh.given().unwrap_or(own), access)?;
    let tls = access.tls().map(MeshTls::new).transpose()?;
    let identity = Identity::new(process.build.clone(), process.cluster.clone(), processes, process.workers);
    let member = Member { identity, index: process.index, known: past.known, token: token.clone() };
    let hosts: Vec<_> = process.hosts.iter().map(|host| host.mesh.clone()).collect();
    let patience = match &past.ended {
        None => Some(config.join_timeout.value),
        Some(_) => config.rejoin_timeout.value,
    };
    let before = past.ended.as_ref().map_or(String::new(), |ended| format!("{ended}; "));
    let told = Cell::new(Instant::now());
    let waiting = |missing: String| {
        if told.get().elapsed() > TELL {
            told.set(Instant::now());
            tracing::info!("the cluster is not complete: {missing}");
        }
        process.wait_for(format!("{before}not all processes are connected yet: {missing}"));
    };
    if past.ended.is_some() {
        process.wait_for(format!("{before}the next generation begins"));
    }
    mesh::runtime()?.block_on(async {
        let joined = async {
            sleep(past.wait()).await;
            join(listener, member, tls, &hosts, patience, waiting).await
        };
        tokio::select! {
            mesh = joined => mesh.map(Some),
            () = signals.wait() => Ok(None),
        }
    })
}

/// Waits for the workers, and passes on when the process is asked to end.
fn watch(process: &Process, running: Workers, signals: &Signals, drain: Duration) -> Result<()> {
    let (mut asked, mut ending, mut broken) = (false, None, None);
    let mut stalls = Stalls::default();
    while !running.wait(LOOK) {
        process.jobs.tidy();
        stalls.look(process);
        if signals.seen() && !std::mem::replace(&mut asked, true) {
            process.commands.push(Command::End { process: process.index })?;
        }
        if asked || process.ending().is_some() {
            let since = *ending.get_or_insert_with(Instant::now);
            if since.elapsed() > drain {
                return Err(Error::TimedOut(format!("the jobs had not ended {drain:?} after they were asked to")));
            }
        }
        if let Some(reason) = process.links.broken() {
            let since = *broken.get_or_insert_with(Instant::now);
            if since.elapsed() > BREAKING {
                return Err(Error::run(reason));
            }
        }
    }
    let ended = running.join();
    process.jobs.finish();
    ended
}

/// The stalls that the log tells of: each once, and its end.
#[derive(Default)]
struct Stalls(BTreeSet<String>);

impl Stalls {
    fn look(&mut self, process: &Process) {
        let now: BTreeSet<String> = process.standing().into_iter().map(|(what, _)| what).collect();
        for what in now.difference(&self.0) {
            tracing::warn!("{what} for {} s", process.stall_timeout.as_secs());
        }
        for what in self.0.difference(&now) {
            tracing::info!("no longer: {what}");
        }
        self.0 = now;
    }
}

/// Panics that only follow from a peer's end say nothing that is not said already.
fn hush(process: &Arc<Process>) {
    let process = Arc::clone(process);
    std::panic::set_hook(Box::new(move |panic| {
        if process.links.broken().is_some() || process.ending().is_some() {
            tracing::debug!("{panic}");
        } else {
            tracing::error!("{panic}");
        }
    }));
}
