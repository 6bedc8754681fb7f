//! `tapeflow run`: dataflow files in this process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;

use super::job::load;
use super::print;
use super::progress::Progress;
use super::signals::Signals;
use crate::batch::Epoch;
use crate::config::{Address, Config};
use crate::error::{Error, Result};
use crate::runtime::{
    GoOn, Jobs, Keeping, LOOK as STORE, Local, Prepare, Prepared, Process, StateStore, blocking, build_id, run_local,
    start,
};
use crate::server::{Access, Server, listen, serve};
use crate::spec::Plan;

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// `tapeflow run FILE...`
#[derive(Args)]
pub struct RunArgs {
    /// The dataflow files.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// How many workers (threads) run them.
    #[arg(short, long, default_value_t = 1, env = "TAPEFLOW_WORKERS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: u16,
    /// Show health, metrics, counts and live rows over HTTP here, while it runs.
    #[arg(long, value_name = "HOST:PORT")]
    pub http: Option<Address>,
    /// Keep state here, a folder or s3:// gs:// az://, and go on from it when run again.
    #[arg(long, value_name = "LOCATION", env = "TAPEFLOW_STATE")]
    pub state: Option<String>,
    #[command(flatten)]
    pub go_on: GoOn,
    /// Print what was done as JSON on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Runs the files until their sources end or a signal comes.
pub fn run(args: &RunArgs) -> Result<()> {
    let workers = usize::from(args.workers);
    // All mistakes of all files come before anything is opened.
    let plans = args.files.iter().map(|file| load(file)).collect::<Result<Vec<_>>>()?;
    let settings = args.http.as_ref().map(|_| Config::load(None, &Vec::new())).transpose()?;
    let access = settings.as_ref().map(Access::of).transpose()?.unwrap_or_default();
    let listener = args.http.as_ref().map(|address| listen(address, &access)).transpose()?;
    let store = args.state.as_deref().map(|location| open(location, workers)).transpose()?;
    let mut jobs: Vec<Arc<Prepared>> = Vec::new();
    for (plan, _) in plans {
        if jobs.iter().any(|other| other.job.name == plan.job.name) {
            return Err(Error::Job(format!(
                "two of the files have the name \"{}\": jobs are told apart by it",
                plan.job.name
            )));
        }
        let mut prepare = Prepare::new(&plan, 0..workers, workers);
        let mut first = start();
        if let Some(store) = &store {
            let (keeping, from) = keeping(store, &plan, args.go_on.clone())?;
            (prepare, first) = (prepare.keeping(keeping), from);
        }
        let prepared = Arc::new(Prepared::new(plan, &prepare, first)?);
        let (begins, job) = (prepared.begins()?, Arc::clone(&prepared));
        blocking(STORE, async move { job.write_down(begins).await })?;
        jobs.push(prepared);
    }
    let _server = listener.map(|listener| show(listener, access, &jobs, workers)).transpose()?;
    run_jobs(jobs.clone(), workers, args.json)?;
    store.map_or(Ok(()), |store| forget_ended(&store, &jobs))
}

/// The store at `location`, with the key and the options of the settings.
fn open(location: &str, workers: usize) -> Result<StateStore> {
    let settings = Config::load(None, &vec![("state", location.to_string())])?;
    let store = settings.store()?.ok_or_else(|| Error::Usage("--state names no place".to_string()))?;
    blocking(STORE, async move { StateStore::alone(store, workers).await })
}

/// What the job goes on from, and its first epoch.
fn keeping(store: &StateStore, plan: &Plan, go_on: GoOn) -> Result<(Keeping, Epoch)> {
    let (store, plan) = (store.clone(), plan.clone());
    blocking(STORE, async move {
        let known = store.begin(&plan.job.name, &json!({ "run": true })).await?;
        if let Some(number) = known.from {
            print::tell(format!("{}: goes on from checkpoint {number}", plan.job.name));
        }
        let keeping = store.keeping(&known, &plan, String::new(), go_on).await?;
        Ok((keeping, known.start))
    })
}

/// A job that has come to its end begins anew when it is run again; one that was asked to end goes on.
fn forget_ended(store: &StateStore, jobs: &[Arc<Prepared>]) -> Result<()> {
    let ended: Vec<String> =
        jobs.iter().filter(|prepared| !prepared.job.draining()).map(|prepared| prepared.job.name.clone()).collect();
    let saved = store.jobs();
    blocking(STORE, async move {
        for name in ended {
            saved.remove(&name).await?;
        }
        Ok(())
    })
}

/// The control plane of a process that takes no other jobs.
fn show(listener: TcpListener, access: Access, jobs: &[Arc<Prepared>], workers: usize) -> Result<Server> {
    let process = Process::alone(Jobs::alone(jobs), workers, build_id()?);
    let server = serve(listener, Arc::new(process), access)?;
    print::tell(format!("{} shows how it is doing", server.url));
    Ok(server)
}

/// Runs prepared jobs to their end, with progress.
pub fn run_jobs(jobs: Vec<Arc<Prepared>>, workers: usize, json: bool) -> Result<()> {
    let signals = Signals::watch()?;
    let local = run_local(jobs, workers)?;
    let mut progress = Progress::new(local.jobs());
    wait(&local, &mut progress, &signals);
    let names: Vec<String> = local.jobs().iter().map(|job| job.job.name.clone()).collect();
    let ended = local.join();
    let (totals, took) = progress.finish(&ended);
    ended?;
    if json {
        let seconds = took.as_secs_f64();
        print::say(&format!("{}\n", json!({ "jobs": names, "seconds": seconds, "totals": totals })))?;
    }
    Ok(())
}

fn wait(local: &Local, progress: &mut Progress, signals: &Signals) {
    let mut stopping = false;
    while !local.wait(LOOK) {
        progress.tick();
        if !stopping && signals.seen() {
            stopping = true;
            print::tell("stopping: what was read is still written; once more ends at once");
            local.stop();
        }
    }
}
