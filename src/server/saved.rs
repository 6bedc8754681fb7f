//! The jobs that outlive a generation: installed again when the next one begins, started again when they have failed,
//! forgotten when they have ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::restarts::{Next, Restarts};
use super::submit::{put, resume};
use super::{App, reports};
use crate::error::{Error, Result};
use crate::runtime::{Known, State, StateStore, Submission};
use crate::state::SavedJob;

/// How often it is looked whether a job has ended.
const LOOK: Duration = Duration::from_millis(500);
/// How long is waited before a job that could not be installed is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Installs what was submitted to earlier generations, in that order; then forgets what ends. Runs in the first process.
pub async fn look_after(app: Arc<App>) {
    let Some(state) = app.process.state().cloned() else { return };
    if let Err(error) = install(&app, &state).await {
        // Nothing runs without them: the next generation tries again.
        app.process.links.cut(format!("the jobs of the state store cannot be read: {error}"));
        return;
    }
    let mut restarts = Restarts::default();
    loop {
        sleep(LOOK).await;
        if let Err(error) = look(&app, &state, &mut restarts).await {
            tracing::warn!("{error}");
        }
    }
}

async fn install(app: &Arc<App>, state: &StateStore) -> Result<()> {
    for SavedJob { name, submission, .. } in state.jobs().list().await? {
        let submission = read(&name, submission)?;
        tokio::spawn(install_one(Arc::clone(app), state.clone(), name, submission)).await.map_err(Error::run)?;
    }
    Ok(())
}

fn read(name: &str, submission: serde_json::Value) -> Result<Submission> {
    serde_json::from_value(submission).map_err(|error| Error::run(format!("job `{name}`: {error}")))
}

/// Tries until it is installed, or cannot be.
async fn install_one(app: Arc<App>, state: StateStore, name: String, mut submission: Submission) {
    loop {
        submission.from = None;
        let installed = match resume(&state, &name, &mut submission).await {
            Ok(()) => put(&app, &name, submission.clone()).await,
            Err(error) => Err(error),
        };
        match installed {
            Ok(()) => {
                let from = submission.from.map_or("the beginning".to_string(), |number| format!("checkpoint {number}"));
                tracing::info!("job `{name}` goes on from {from}");
                return;
            }
            // Who is away may come back.
            Err(error @ (Error::Connect(_) | Error::TimedOut(_))) if app.process.ending().is_none() => {
                tracing::warn!("job `{name}` cannot go on yet: {error}");
                sleep(AGAIN).await;
            }
            Err(error) => {
                tracing::error!("job `{name}` cannot go on: {error}");
                return;
            }
        }
    }
}

/// A job that was stopped, is done or stays failed is not installed again. Its checkpoints stay.
async fn look(app: &Arc<App>, state: &StateStore, restarts: &mut Restarts) -> Result<()> {
    for job in state.jobs().list().await? {
        let Some(known) = app.process.jobs.list().into_iter().find(|known| known.id == job.id) else { continue };
        let stands = known.job.state();
        // Asked behind the state of the job: the end of a cluster stops its jobs, too, and these go on when it is back.
        if app.process.ending().is_some() || app.process.links.broken().is_some() {
            return Ok(());
        }
        match stands {
            State::Running => {}
            _ if known.job.failed() => fail(app, state, job, &known, restarts).await?,
            // What is done here may still write elsewhere: a process that is lost before it has is not to be forgotten.
            State::Done if !has_ended_everywhere(app, &job.name).await => {}
            State::Stopping | State::Done | State::Failed => {
                restarts.forget(&job.name);
                state.jobs().remove(&job.name).await?;
            }
        }
    }
    Ok(())
}

async fn has_ended_everywhere(app: &App, name: &str) -> bool {
    let report = reports::one(app, name).await;
    report.is_ok_and(|report| matches!(report.state, State::Done | State::Failed))
}

/// A job that has failed is not started again.
pub async fn give_up(app: &App, name: &str) -> Result<()> {
    match app.process.state() {
        Some(state) => state.jobs().remove(name).await,
        None => Ok(()),
    }
}

/// A job has failed: once it has ended everywhere, it is started again or stays as it is.
async fn fail(app: &Arc<App>, state: &StateStore, job: SavedJob, known: &Known, restarts: &mut Restarts) -> Result<()> {
    let SavedJob { name, submission, .. } = job;
    if reports::one(app, &name).await.is_ok_and(|report| report.state != State::Failed) {
        return Ok(());
    }
    match restarts.next(&name, known.plan.job.settings.restarts) {
        Next::After(wait) => tracing::warn!("job `{name}` is started again in {wait:?}"),
        Next::Wait => {}
        Next::Start => {
            app.process.jobs.restarted(&name);
            let submission = read(&name, submission)?;
            let start = install_one(Arc::clone(app), state.clone(), name.clone(), submission);
            restarts.starting(&name, tokio::spawn(start));
        }
        Next::Stay => {
            tracing::error!("job `{name}` stays failed; `submit --from {name}` goes on from its last checkpoint");
            state.jobs().remove(&name).await?;
        }
    }
    Ok(())
}
