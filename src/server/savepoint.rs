//! Savepoints of jobs that go on running.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::api::Savepoint;
use super::{ANSWER, App};
use crate::error::{Error, Result};

/// How often it is looked whether it is complete.
const LOOK: Duration = Duration::from_millis(20);
/// Whoever asks hears that it takes long before the answer is given up.
const LONGEST: Duration = ANSWER.saturating_sub(Duration::from_secs(10));

/// Lets the job `name` take a savepoint, and waits until it is complete.
pub async fn take(app: &App, name: &str) -> Result<Savepoint> {
    let process = &app.process;
    let job = process.jobs.named(name).map(|known| known.job);
    let before = job.and_then(|job| job.savepoint());
    let known = process.savepoint(name)?;
    let deadline = Instant::now() + LONGEST;
    while Instant::now() < deadline {
        if let Some(number) = known.job.savepoint().filter(|number| Some(*number) > before) {
            return Ok(Savepoint { name: name.to_string(), id: known.id, savepoint: number });
        }
        if let Some(failure) = known.job.failure() {
            return Err(Error::Run(format!("`{name}` has failed before a savepoint was taken: {failure}")));
        }
        if known.job.ended().is_some() {
            return Err(Error::Job(format!("`{name}` has ended before a savepoint was taken")));
        }
        if let Some(reason) = process.links.broken() {
            return Err(Error::connect(format!("no savepoint of `{name}` was taken: {reason}")));
        }
        sleep(LOOK).await;
    }
    Err(Error::TimedOut(format!(
        "the savepoint of `{name}` was not complete within {LONGEST:?}; it may still become so"
    )))
}
