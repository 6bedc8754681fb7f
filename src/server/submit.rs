//! A job is submitted to any process. That one lets all prepare it, which is a vote, then has it built on all
//! workers, which cannot fail.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::api::{FromJob, Mode, SubmitRequest, Submitted};
use super::peers::PREPARE;
use super::{App, Problem, reports};
use crate::batch::Epoch;
use crate::error::{Error, Result};
use crate::runtime::{Begin, GoOn, Known, Process, State, StateStore, Submission, no_state, start, there_already};
use crate::spec::{Mistakes, Plan};

/// How long the workers may take to build what is prepared.
const BUILD: Duration = Duration::from_secs(15);
/// How long a job that is replaced may drain.
const REPLACED: Duration = Duration::from_secs(60);
/// How often it is looked whether something has happened.
const LOOK: Duration = Duration::from_millis(20);

/// Does what `request` asks for. It goes on to its end when whoever asked has gone: half an installation must not stay.
pub async fn submit(app: &Arc<App>, request: SubmitRequest) -> Result<Submitted, Problem> {
    let app = Arc::clone(app);
    let work = tokio::spawn(async move { install(&app, request).await });
    Ok(work.await.map_err(Error::run)??)
}

async fn install(app: &Arc<App>, request: SubmitRequest) -> Result<Submitted> {
    if let Some(reason) = app.process.refuses() {
        return Err(Error::connect(reason));
    }
    let SubmitRequest { path, text, base, schemas, mode, from, on_offset_gap, forget } = request;
    let id = Uuid::new_v4().simple().to_string();
    let mut submission = Submission {
        id,
        path,
        text,
        base,
        schemas,
        start: start(),
        from: None,
        idle: Vec::new(),
        number: 0,
        go_on: GoOn { on_offset_gap, forget },
    };
    let (plan, warnings) = planned(submission.clone()).await?;
    let (name, warnings) = (plan.job.name, warnings.list);
    if let Some(other) = alive(app, &name).await {
        if other.hash == submission.hash() || mode == Mode::IfNotExists {
            return Ok(Submitted { name, id: other.id, already_running: true, warnings });
        }
        match mode {
            Mode::Replace => replace(app, &other).await?,
            _ => return Err(there_already(&other)),
        }
    }
    match (&from, app.process.state()) {
        (Some(from), _) => take_over(app, &name, from, &mut submission).await?,
        (None, Some(state)) => submission.number = state.greatest_number(&name).await?,
        (None, None) => {}
    }
    let id = submission.id.clone();
    put(app, &name, submission).await?;
    Ok(Submitted { name, id, already_running: false, warnings })
}

/// Prepares the job everywhere, makes it outlive this generation, and has it built.
pub async fn put(app: &Arc<App>, name: &str, submission: Submission) -> Result<()> {
    let id = submission.id.clone();
    if let Err(error) = vote(app, submission.clone()).await {
        app.process.jobs.abort(&id);
        app.peers.abort(&app.process, &id).await;
        return Err(error);
    }
    if let Some(state) = app.process.state() {
        state.jobs().save(name, &id, &serde_json::to_value(&submission).map_err(Error::run)?).await?;
    }
    app.process.build(id.clone())?;
    built(app, &id).await
}

/// The job takes the id and the state of another, or of its own past.
async fn take_over(app: &App, name: &str, from: &FromJob, submission: &mut Submission) -> Result<()> {
    let state = app.process.state().ok_or_else(|| no_state("there is nothing to go on from"))?;
    if from.job != name {
        return Err(Error::Usage(format!("`{name}` cannot go on from the state of `{}`: give it its name", from.job)));
    }
    submission.id = state.id_of(&from.job, from.number).await?;
    submission.from = Some(from.number.unwrap_or(u64::MAX));
    resume(state, name, submission).await
}

/// Finds the checkpoint that the job goes on from.
pub async fn resume(state: &StateStore, name: &str, submission: &mut Submission) -> Result<()> {
    let number = submission.from.filter(|number| *number != u64::MAX);
    let known = state.resume(name, &submission.id, number).await?;
    (submission.from, submission.number) = (known.from, known.number);
    (submission.start, submission.idle) = (known.start, known.idle);
    Ok(())
}

/// The job `name`, unless it has ended everywhere.
async fn alive(app: &App, name: &str) -> Option<Known> {
    let known = app.process.jobs.named(name)?;
    let report = reports::one(app, name).await.ok()?;
    (!has_ended(report.state)).then_some(known)
}

fn has_ended(state: State) -> bool {
    matches!(state, State::Done | State::Failed)
}

async fn replace(app: &App, other: &Known) -> Result<()> {
    let name = &other.job.name;
    app.process.stop(name, false)?;
    let late = || Error::TimedOut(format!("`{name}` did not end within {REPLACED:?}; it is still stopping"));
    let ended = async {
        while alive(app, name).await.is_some() {
            sleep(LOOK).await;
        }
    };
    timeout(REPLACED, ended).await.map_err(|_| late())
}

/// Prepares the job in all processes, and writes down where it begins. Process 0 comes first: of two submissions with one
/// name it takes one.
async fn vote(app: &Arc<App>, mut submission: Submission) -> Result<()> {
    let process = &app.process;
    let now = app.process.state().map_or_else(start, |state| state.lease().start());
    submission.start = submission.start.max(now).max(behind_all(process));
    let mut begins = app.peers.prepare(process, &submission, |index| index == 0).await?;
    begins.extend(prepare_here(app, submission.clone()).await.map_err(Error::from)?);
    begins.extend(app.peers.prepare(process, &submission, |index| index != 0).await?);
    process.jobs.commit(&submission.id)?;
    if let Some(prepared) = process.jobs.prepared(&submission.id) {
        prepared.write_down(begins).await?;
    }
    app.peers.commit(process, &submission.id).await
}

/// Behind all epochs of the jobs that this generation has had: what goes on from one of them, or replaces it, writes over
/// what that has written, also where epochs are ahead of the clock.
fn behind_all(process: &Process) -> Epoch {
    let jobs = process.jobs.list();
    let horizons = jobs.iter().map(|known| &known.job.boundaries).filter(|boundaries| boundaries.any());
    horizons.map(|boundaries| boundaries.horizon() + 1).max().unwrap_or(0)
}

/// Prepares the job in this process; where its nodes begin.
pub async fn prepare_here(app: &Arc<App>, submission: Submission) -> Result<Vec<Begin>, Problem> {
    let process = Arc::clone(&app.process);
    let work = spawn_blocking(move || process.prepare(&submission));
    let late = |_| Error::TimedOut(format!("the job was not prepared within {PREPARE:?}"));
    Ok(timeout(PREPARE, work).await.map_err(late)?.map_err(Error::run)??)
}

async fn planned(submission: Submission) -> Result<(Plan, Mistakes)> {
    let work = spawn_blocking(move || submission.plan());
    let late = |_| Error::TimedOut(format!("the file was not planned within {PREPARE:?}"));
    timeout(PREPARE, work).await.map_err(late)?.map_err(Error::run)?
}

/// Waits until the job is built in all processes: from then on each of them knows it.
async fn built(app: &App, id: &str) -> Result<()> {
    let process = &app.process;
    let deadline = Instant::now() + BUILD;
    while Instant::now() < deadline {
        let here = process.jobs.find(id).is_some_and(|job| job.crew() == process.workers);
        let knows = |(_, theirs): &(usize, Option<Vec<_>>)| {
            theirs.as_ref().is_some_and(|jobs: &Vec<super::JobReport>| jobs.iter().any(|job| job.id == id))
        };
        if here && app.peers.jobs(process).await.iter().all(knows) {
            return Ok(());
        }
        sleep(LOOK).await;
    }
    Err(Error::TimedOut(format!("the job was prepared, but not built by all workers within {BUILD:?}")))
}
