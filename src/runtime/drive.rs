//! The loop of one worker of a cluster: takes commands, builds and lets go of dataflows, steps or sleeps.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use timely::synchronization::Sequencer;
use timely::worker::Worker;

use super::{Command, Installed, Process};
use crate::batch::Epoch;
use crate::error::Error;

/// How long a worker sleeps where nothing wakes it.
const PARK: Duration = Duration::from_millis(100);

/// Runs one worker of `process` until the cluster ends. `began` is about the same instant in all processes: the
/// sequencer orders commands by the time that has passed since.
pub fn drive(worker: &mut Worker, process: &Arc<Process>, began: Instant) {
    let mut sequencer = Sequencer::new(worker, began);
    let first = worker.index() == process.local_workers().start;
    if first {
        process.commands.taken_here();
    }
    let mut installed = Installed::default();
    // Failures that all processes know of.
    let mut told = HashSet::new();
    // The furthest epochs that sources here have asked for.
    let mut wanted = HashMap::new();
    let mut ending = false;
    while !(ending && installed.is_empty()) {
        if first {
            process.commands.take().into_iter().for_each(|command| sequencer.push(command));
            for (id, failure) in failures(&installed) {
                if told.insert(id.clone()) {
                    let failure = Some(format!("process {}: {failure}", process.index));
                    sequencer.push(Command::Stop { id, failure, savepoint: false });
                }
            }
        }
        if first {
            checkpoints(&mut installed, &mut wanted).for_each(|command| sequencer.push(command));
        }
        for command in sequencer.by_ref() {
            match command {
                // Of a job that comes after the end no worker builds anything.
                Command::Build { .. } if ending => {}
                Command::Build { id } => match process.jobs.build(&id) {
                    Some(prepared) => {
                        // One that goes on has the id that it had before.
                        told.remove(&id);
                        wanted.remove(&id);
                        installed.build(worker, &id, &prepared);
                    }
                    // The others have built it: they would wait for ever for what does not come from here.
                    None => process.links.cut(format!("job {id} is not prepared in process {}", process.index)),
                },
                Command::Stop { id, failure, savepoint } => {
                    told.extend(failure.is_some().then(|| id.clone()));
                    // Another worker of this process may be the first to let the job drain.
                    process.jobs.find(&id).filter(|_| savepoint).iter().for_each(|job| job.save_last());
                    stop(process, &id, failure);
                }
                Command::Savepoint { id } => installed.save(&id),
                Command::Set { id, setting } => installed.set(&id, setting),
                Command::Decided { id, decision } => installed.take_decision(&id, decision),
                Command::Written { id, part } => installed.take_part(&id, part),
                Command::Idle { id, idle } => installed.take_idle(&id, idle),
                Command::Wanted { id, epoch } => {
                    installed.jobs().filter(|(other, _)| *other == id).for_each(|(_, job)| job.boundaries.want(epoch));
                }
                Command::End { process: by } => {
                    process.end(by);
                    ending = true;
                }
            }
        }
        process.beat(worker.index());
        worker.step_or_park(Some(PARK));
        installed.sweep(worker);
        if process.links.broken().is_some() {
            // What the broken part of the cluster held will never come.
            return installed.abandon(worker);
        }
    }
    drop(sequencer);
    while worker.has_dataflows() {
        worker.step_or_park(Some(PARK));
    }
}

fn failures(installed: &Installed) -> Vec<(String, Error)> {
    let failed = installed.jobs().filter(|(_, job)| job.failed());
    failed.filter_map(|(id, job)| Some((id.to_string(), job.failure()?))).collect()
}

/// What the checkpoints of jobs bring with them.
fn checkpoints(
    installed: &mut Installed,
    wanted: &mut HashMap<String, Epoch>,
) -> impl Iterator<Item = Command> + use<> {
    let mut commands = Vec::new();
    commands.extend(installed.parts().into_iter().map(|(id, part)| Command::Written { id, part }));
    commands.extend(installed.idle().into_iter().map(|(id, idle)| Command::Idle { id, idle }));
    for (id, job) in installed.jobs() {
        let Some(epoch) = job.boundaries.wanted() else { continue };
        if wanted.insert(id.to_string(), epoch) != Some(epoch) {
            commands.push(Command::Wanted { id: id.to_string(), epoch });
        }
    }
    commands.extend(installed.decisions().into_iter().map(|(id, decision)| Command::Decided { id, decision }));
    commands.into_iter()
}

fn stop(process: &Process, id: &str, failure: Option<String>) {
    let Some(job) = process.jobs.find(id) else { return };
    match failure {
        Some(failure) if !job.failed() => job.fail(Error::Run(failure)),
        _ => job.stop(),
    }
}
