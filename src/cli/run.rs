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
use crate::config::{Address, Config, Token};
use crate::error::{Error, Result};
use crate::runtime::{Jobs, Local, Prepare, Prepared, Process, build_id, run_local, start};
use crate::server::{Server, listen, serve};

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
    let token = settings.and_then(|settings| settings.token.value);
    let listener = args.http.as_ref().map(|address| listen(address, token.as_ref())).transpose()?;
    let mut jobs: Vec<Arc<Prepared>> = Vec::new();
    for (plan, _) in plans {
        if jobs.iter().any(|other| other.job.name == plan.job.name) {
            return Err(Error::Job(format!(
                "two of the files have the name \"{}\": jobs are told apart by it",
                plan.job.name
            )));
        }
        let memory = plan.job.settings.memory.0;
        let prepare =
            Prepare { job: plan.job.name.clone(), local_workers: 0..workers, workers, memory, recovery: None };
        jobs.push(Arc::new(Prepared::new(plan, &prepare, start())?));
    }
    let _server = listener.map(|listener| show(listener, token, &jobs, workers)).transpose()?;
    run_jobs(jobs, workers, args.json)
}

/// The control plane of a process that takes no other jobs.
fn show(listener: TcpListener, token: Option<Token>, jobs: &[Arc<Prepared>], workers: usize) -> Result<Server> {
    let process = Process::alone(Jobs::alone(jobs), workers, build_id()?);
    let server = serve(listener, Arc::new(process), token)?;
    print::tell(format!("http://{} shows how it is doing", server.address));
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
