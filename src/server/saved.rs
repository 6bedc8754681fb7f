//! The jobs that outlive a generation: installed again when the next one begins, forgotten when they have ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::App;
use super::submit::{put, resume};
use crate::error::{Error, Result};
use crate::runtime::{State, StateStore, Submission};
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
    loop {
        sleep(LOOK).await;
        if let Err(error) = forget(&app, &state).await {
            tracing::warn!("{error}");
        }
    }
}

async fn install(app: &Arc<App>, state: &StateStore) -> Result<()> {
    for SavedJob { name, submission, .. } in state.jobs().list().await? {
        let submission: Submission =
            serde_json::from_value(submission).map_err(|error| Error::run(format!("job `{name}`: {error}")))?;
        tokio::spawn(install_one(Arc::clone(app), state.clone(), name, submission)).await.map_err(Error::run)?;
    }
    Ok(())
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

/// A job that was stopped, is done or has failed is not installed again. Its checkpoints stay.
async fn forget(app: &App, state: &StateStore) -> Result<()> {
    if app.process.ending().is_some() || app.process.links.broken().is_some() {
        return Ok(());
    }
    for job in state.jobs().list().await? {
        let ended = |known: &crate::runtime::Known| {
            known.id == job.id && matches!(known.job.state(), State::Stopping | State::Done | State::Failed)
        };
        if app.process.jobs.list().iter().any(ended) {
            state.jobs().remove(&job.name).await?;
        }
    }
    Ok(())
}
