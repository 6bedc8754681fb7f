//! How jobs are doing: what each process counts, put together.

use chrono::{DateTime, SecondsFormat};

use super::api::{JobReport, Jobs, NodeReport, SetReport};
use super::{App, Problem};
use crate::batch::Epoch;
use crate::metrics::Meter;
use crate::runtime::{Known, Process, State, no_such_job};
use crate::spec::PlannedNode;
use warp::http::StatusCode;

/// The jobs, as this process sees them.
pub fn here(process: &Process) -> Vec<JobReport> {
    process.jobs.list().iter().map(|known| report(known, process.jobs.restarts(&known.job.name))).collect()
}

/// The jobs, in all processes together.
pub async fn all(app: &App) -> Jobs {
    let mut jobs = here(&app.process);
    let mut unreachable = Vec::new();
    for (index, theirs) in app.peers.jobs(&app.process).await {
        match theirs {
            None => unreachable.push(index),
            Some(theirs) => {
                for job in &mut jobs {
                    if let Some(their) = theirs.iter().find(|their| their.id == job.id) {
                        merge(job, their);
                    }
                }
            }
        }
    }
    Jobs { jobs, unreachable }
}

/// One job, in all processes together.
pub async fn one(app: &App, name: &str) -> Result<JobReport, Problem> {
    let jobs = all(app).await.jobs;
    let found = jobs.into_iter().rfind(|job| job.name == name);
    found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, &no_such_job(name)))
}

fn report(known: &Known, restarts: u32) -> JobReport {
    let nodes: Vec<NodeReport> = known
        .plan
        .nodes
        .iter()
        .map(|node| {
            let sum = |read: fn(&Meter) -> u64| known.job.total(&node.name, read);
            NodeReport {
                name: node.name.clone(),
                role: node.role.name().to_string(),
                kind: node.kind.to_string(),
                rows_in: sum(|meter| meter.rows_in.get()),
                rows_out: sum(|meter| meter.rows_out.get()),
                held_back: sum(|meter| meter.held_back.get()),
                late: sum(|meter| meter.late.get()),
                outside: sum(|meter| meter.outside.get()),
                unmatched: sum(|meter| meter.unmatched.get()),
                repeats: sum(|meter| meter.repeats.get()),
                state_bytes: sum(|meter| meter.state.get().unsigned_abs()),
                dead_letters: sum(|meter| meter.dead_letters.get()),
                skipped: sum(|meter| meter.skipped.get()),
                set: set(known, node),
            }
        })
        .collect();
    let left = |role: &str| nodes.iter().filter(|node| node.role == role).map(|node| node.rows_out).sum();
    JobReport {
        name: known.job.name.clone(),
        id: known.id.clone(),
        state: known.job.state(),
        failure: known.job.failure().map(|error| error.to_string()),
        restarts,
        started: time(known.start),
        ended: known.job.ended().map(time),
        hash: known.hash.clone(),
        checkpoint: known.job.checkpoint(),
        savepoint: known.job.savepoint(),
        rows_in: left("source"),
        rows_out: left("sink"),
        nodes,
    }
}

/// What was set of a node, as far as this process knows.
fn set(known: &Known, node: &PlannedNode) -> Option<SetReport> {
    let (what, setting) = (node.settable()?.name().to_string(), known.job.in_force.get(&node.name)?);
    let (epoch, workers) = (setting.epoch, known.job.in_force.workers(&node.name));
    Some(SetReport { what, epoch, since: setting.since.clone(), workers })
}

/// Adds what another process knows of the same job.
fn merge(job: &mut JobReport, other: &JobReport) {
    job.state = together(job.state, other.state);
    job.failure = job.failure.take().or_else(|| other.failure.clone());
    // It has ended when it has ended everywhere; the times are all of one form.
    job.ended = job.ended.take().zip(other.ended.clone()).map(|(one, other)| one.max(other));
    job.checkpoint = job.checkpoint.max(other.checkpoint);
    job.savepoint = job.savepoint.max(other.savepoint);
    job.restarts = job.restarts.max(other.restarts);
    job.rows_in += other.rows_in;
    job.rows_out += other.rows_out;
    for (node, other) in job.nodes.iter_mut().zip(&other.nodes) {
        node.rows_in += other.rows_in;
        node.rows_out += other.rows_out;
        node.held_back += other.held_back;
        node.late += other.late;
        node.outside += other.outside;
        node.unmatched += other.unmatched;
        node.repeats += other.repeats;
        node.state_bytes += other.state_bytes;
        node.dead_letters += other.dead_letters;
        node.skipped += other.skipped;
        match (&mut node.set, &other.set) {
            (Some(set), Some(other)) if set.epoch == other.epoch => set.workers += other.workers,
            (set, Some(other)) if set.as_ref().is_none_or(|set| set.epoch < other.epoch) => *set = Some(other.clone()),
            _ => {}
        }
    }
}

/// A job runs until it has ended everywhere, and has failed if it has anywhere.
fn together(one: State, other: State) -> State {
    let ended = |state| matches!(state, State::Done | State::Failed);
    match (one, other) {
        (one, other) if one == other => one,
        (one, other) if ended(one) && ended(other) => State::Failed,
        (State::Stopping, _) | (_, State::Stopping) => State::Stopping,
        _ => State::Running,
    }
}

fn time(epoch: Epoch) -> String {
    let time = DateTime::from_timestamp_micros(epoch as i64).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_has_ended_when_it_has_ended_everywhere() {
        use State::{Done, Failed, Running, Stopping};
        let table = [
            (Running, Running, Running),
            (Running, Done, Running),
            (Running, Stopping, Stopping),
            (Stopping, Done, Stopping),
            (Stopping, Failed, Stopping),
            (Done, Done, Done),
            (Done, Failed, Failed),
        ];
        for (one, other, both) in table {
            assert_eq!((together(one, other), together(other, one)), (both, both));
        }
    }
}
