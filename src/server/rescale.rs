//! Another size of the cluster: all jobs take a last checkpoint, the cluster ends, and whoever supervises its processes
//! starts as many as were asked for. Of one that `tapeflow up` has not started, the size stands in its configuration:
//! then all jobs take a savepoint, and whoever asked is told what to do.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::api::{RescaleRequest, Rescaled};
use super::{App, savepoint};
use crate::error::{Error, Result};
use crate::runtime::size::{MOST_PROCESSES, MOST_WORKERS, Size};
use crate::runtime::{Command, State, no_state};

/// How long the answer may take to be on its way.
const ANSWERED: Duration = Duration::from_millis(200);

/// Does what `request` asks for.
pub async fn rescale(app: &Arc<App>, request: RescaleRequest) -> Result<Rescaled> {
    let process = &app.process;
    if let Some(reason) = process.refuses() {
        return Err(Error::connect(reason));
    }
    if process.state().is_none() {
        return Err(no_state("the cluster would lose its jobs"));
    }
    let before = process.size();
    let size = Size {
        processes: request.processes.unwrap_or(before.processes),
        workers: request.workers.unwrap_or(before.workers),
    };
    if !(1..=MOST_PROCESSES).contains(&size.processes) || !(1..=MOST_WORKERS).contains(&size.workers) {
        let limits = format!("1 to {MOST_PROCESSES} processes of 1 to {MOST_WORKERS} workers are possible");
        return Err(Error::Usage(format!("{size}: {limits}")));
    }
    let mut rescaled = Rescaled {
        before,
        size,
        generation: process.generation().unwrap_or(0),
        process: process.index as u16,
        supervised: process.size_file.is_some(),
        savepoints: Vec::new(),
    };
    match &process.size_file {
        _ if size == before => {}
        Some(path) => {
            size.leave(path)?;
            let process = Arc::clone(process);
            tokio::spawn(async move {
                sleep(ANSWERED).await;
                let end = Command::End { process: process.index };
                process.commands.push(end).unwrap_or_else(|error| tracing::error!("{error}"));
            });
        }
        None => {
            for known in process.jobs.list().into_iter().filter(|known| known.job.state() == State::Running) {
                rescaled.savepoints.push(savepoint::take(app, &known.job.name).await?);
            }
        }
    }
    Ok(rescaled)
}
