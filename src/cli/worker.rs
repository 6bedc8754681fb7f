//! `tapeflow worker`: one process of a cluster.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use super::config::ConfigArgs;
use super::signals::Signals;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::runtime::handshake::{Identity, Member};
use crate::runtime::hosts::{self, Host};
use crate::runtime::links::execute;
use crate::runtime::mesh::{Mesh, join};
use crate::runtime::{Command, Process, Workers, build_id, drive, runtime};
use crate::server::{listen, serve};

/// How often the process looks after itself.
const LOOK: Duration = Duration::from_millis(100);
/// How long the workers of a broken cluster may take to notice.
const BREAKING: Duration = Duration::from_secs(5);
/// Until a cluster can begin anew by itself, it begins once.
const GENERATION: u64 = 1;

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
    #[command(flatten)]
    settings: ConfigArgs,
}

impl WorkerArgs {
    /// The settings of the process.
    pub fn config(&self) -> Result<Config> {
        self.settings.load()
    }
}

/// Runs a process of a cluster until it is asked to end.
pub fn worker(args: &WorkerArgs, config: &Config) -> Result<()> {
    let (hosts, own) = find_hosts(args, config)?;
    let signals = Signals::watch()?;
    let (index, workers) = (args.index, usize::from(args.workers));
    let cluster = config.cluster.value.clone();
    let process = Arc::new(Process::new(cluster, index, hosts, workers, build_id()?));
    let token = &config.token.value;
    let http = listen(config.http.given().unwrap_or(&own.http), token.as_ref())?;
    let server = serve(http, Arc::clone(&process), token.clone())?;
    tracing::info!("process {index} of {} listens on http://{}", process.hosts.len(), server.address);
    let Some(mesh) = find_peers(&process, config, &own, &signals)? else { return Ok(()) };
    process.joined(mesh.run.clone());
    tracing::info!("the cluster is complete: {} workers", workers * process.hosts.len());
    hush(&process);
    let began = Instant::now();
    let shared = Arc::clone(&process);
    let running = Workers::start(move || {
        let links = Arc::clone(&shared.links);
        execute(mesh, index, workers, &links, move |worker| drive(worker, &shared, began))
    })?;
    watch(&process, running, &signals, config.drain_timeout.value)
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
fn find_peers(process: &Process, config: &Config, own: &Host, signals: &Signals) -> Result<Option<Mesh>> {
    let processes = process.hosts.len();
    if processes == 1 {
        return Ok(Some(Mesh::alone()));
    }
    let token = &config.token.value;
    let listener = listen(config.mesh.given().unwrap_or(&own.mesh), token.as_ref())?;
    let cluster = process.cluster.clone();
    let identity = Identity::new(process.build.clone(), cluster, GENERATION, processes, process.workers);
    let member = Member { identity, index: process.index, token: token.clone() };
    let hosts: Vec<_> = process.hosts.iter().map(|host| host.mesh.clone()).collect();
    runtime()?.block_on(async {
        tokio::select! {
            mesh = join(listener, member, &hosts, config.join_timeout.value) => mesh.map(Some),
            () = signals.wait() => Ok(None),
        }
    })
}

/// Waits for the workers, and passes on when the process is asked to end.
fn watch(process: &Process, running: Workers, signals: &Signals, drain: Duration) -> Result<()> {
    let (mut asked, mut ending, mut broken) = (false, None, None);
    while !running.wait(LOOK) {
        process.jobs.tidy();
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
