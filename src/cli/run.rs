//! `tapeflow run`: dataflow files in this process.

use std::path::PathBuf;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::job::load;
use super::print;
use super::progress::Progress;
use crate::error::{Error, Result};
use crate::runtime::{Local, Prepare, Prepared, run_local, runtime, start};

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
    /// Print what was done as JSON on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Runs the files until their sources end or a signal comes.
pub fn run(args: &RunArgs) -> Result<()> {
    let workers = usize::from(args.workers);
    // All mistakes of all files come before anything is opened.
    let plans = args.files.iter().map(|file| load(file)).collect::<Result<Vec<_>>>()?;
    let mut jobs: Vec<Arc<Prepared>> = Vec::new();
    for (plan, _) in plans {
        if jobs.iter().any(|other| other.job.name == plan.job.name) {
            return Err(Error::Job(format!(
                "two of the files have the name \"{}\": jobs are told apart by it",
                plan.job.name
            )));
        }
        let memory = plan.job.settings.memory.0;
        let prepare = Prepare { job: plan.job.name.clone(), local_workers: 0..workers, workers, memory };
        jobs.push(Arc::new(Prepared::new(plan, &prepare, start())?));
    }
    run_jobs(jobs, workers, args.json)
}

/// Runs prepared jobs to their end, with progress.
pub fn run_jobs(jobs: Vec<Arc<Prepared>>, workers: usize, json: bool) -> Result<()> {
    let signal = watch_signals()?;
    let local = run_local(jobs, workers)?;
    let mut progress = Progress::new(local.jobs());
    wait(&local, &mut progress, &signal);
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

fn wait(local: &Local, progress: &mut Progress, signal: &AtomicU8) {
    let mut stopping = false;
    while !local.wait(LOOK) {
        progress.tick();
        if !stopping && signal.load(Ordering::Relaxed) > 0 {
            stopping = true;
            print::tell("stopping: what was read is still written; once more ends at once");
            local.stop();
        }
    }
}

/// The first signal is noted, the second ends the process.
fn watch_signals() -> Result<Arc<AtomicU8>> {
    let noted = Arc::new(AtomicU8::new(0));
    let note = Arc::clone(&noted);
    let runtime = runtime()?;
    let _inside = runtime.enter();
    let cannot = |error: std::io::Error| Error::run(format!("cannot watch signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    runtime.spawn(async move {
        loop {
            let number = tokio::select! {
                _ = interrupt.recv() => 2,
                _ = terminate.recv() => 15,
            };
            if note.swap(number, Ordering::Relaxed) > 0 {
                exit(i32::from(Error::Signal(number).exit_code()));
            }
        }
    });
    Ok(noted)
}
