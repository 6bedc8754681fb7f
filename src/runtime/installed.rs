//! The dataflows of one worker, from their installation to their end.

use std::sync::Arc;

use timely::worker::Worker;

use super::idle::Idle;
use super::{Decision, Job, Leader, Part, Prepared, Rendered, render};
use crate::state::Setting;

/// The jobs that a worker runs.
#[derive(Default)]
pub struct Installed {
    list: Vec<Dataflow>,
}

struct Dataflow {
    id: String,
    prepared: Arc<Prepared>,
    index: usize,
    /// On one worker of all, where there are checkpoints.
    leader: Option<Leader>,
}

impl Dataflow {
    /// Nothing of it is left on this worker.
    fn leave(&self) {
        if self.prepared.job.leave() {
            self.prepared.finish_aside();
        }
    }
}

impl Installed {
    /// Builds the dataflow of `prepared`, known as `id`. One worker of all leads it.
    pub fn build(&mut self, worker: &mut Worker, id: &str, prepared: &Arc<Prepared>) {
        let index = worker.next_dataflow_index();
        prepared.job.enter();
        let rendered = render(worker, prepared);
        let leader = (worker.index() == 0).then(|| lead(prepared, rendered)).flatten();
        self.list.push(Dataflow { id: id.to_string(), prepared: Arc::clone(prepared), index, leader });
    }

    /// Lets go of the jobs that have ended: the dataflow is gone, as all is written and no operator has anything left
    /// to do, and their last checkpoint is complete.
    pub fn sweep(&mut self, worker: &Worker) {
        if self.list.is_empty() {
            return;
        }
        let alive = worker.installed_dataflows();
        self.list.retain(|dataflow| {
            let job = &dataflow.prepared.job;
            let runs = alive.contains(&dataflow.index)
                || !(job.failed() || job.boundaries.settled())
                || dataflow.leader.as_ref().is_some_and(|leader| !leader.is_done());
            if !runs {
                dataflow.leave();
            }
            runs
        });
    }

    /// Whether nothing runs.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The jobs that run, by their id.
    pub fn jobs(&self) -> impl Iterator<Item = (&str, &Arc<Job>)> {
        self.list.iter().map(|dataflow| (dataflow.id.as_str(), &dataflow.prepared.job))
    }

    /// What this process has written of checkpoints since this was asked last.
    pub fn parts(&self) -> Vec<(String, Part)> {
        let kept = self.list.iter().filter_map(|dataflow| Some((&dataflow.id, dataflow.prepared.kept.as_ref()?)));
        let parts =
            kept.flat_map(|(id, kept)| kept.checkpointing.complete().into_iter().map(|part| (id.clone(), part)));
        parts.collect()
    }

    /// Hands a part to the leader of its job, if it is here.
    pub fn take_part(&mut self, id: &str, part: Part) {
        self.leader(id).into_iter().for_each(|leader| leader.part(part.clone()));
    }

    /// Lets the leader of a job take a savepoint, if it is here.
    pub fn save(&mut self, id: &str) {
        self.leader(id).into_iter().for_each(Leader::save);
    }

    /// Has the leader of a job set something, if it is here; where nothing is kept of the job, it is set at once.
    pub fn set(&mut self, id: &str, setting: Setting) {
        let Some(dataflow) = self.list.iter_mut().find(|dataflow| dataflow.id == id) else { return };
        match &mut dataflow.leader {
            Some(leader) => leader.set(setting),
            None if dataflow.prepared.kept.is_none() => dataflow.prepared.job.set(setting),
            None => {}
        }
    }

    fn leader(&mut self, id: &str) -> Option<&mut Leader> {
        self.list.iter_mut().find(|dataflow| dataflow.id == id)?.leader.as_mut()
    }

    /// What is to be written down of idle partitions in this process.
    pub fn idle(&self) -> Vec<(String, Vec<Idle>)> {
        let asked = self.jobs().map(|(id, job)| (id.to_string(), job.idle.asked()));
        asked.filter(|(_, idle)| !idle.is_empty()).collect()
    }

    /// Hands that to the leader of its job, if it is here.
    pub fn take_idle(&mut self, id: &str, idle: Vec<Idle>) {
        let leader = self.list.iter_mut().find(|dataflow| dataflow.id == id).and_then(|found| found.leader.as_mut());
        leader.into_iter().for_each(|leader| leader.idle(idle.clone()));
    }

    /// What the leaders that are here have decided.
    pub fn decisions(&mut self) -> Vec<(String, Decision)> {
        let leaders = self.list.iter_mut().filter_map(|dataflow| Some((&dataflow.id, dataflow.leader.as_mut()?)));
        leaders.flat_map(|(id, leader)| leader.decide().into_iter().map(|decision| (id.clone(), decision))).collect()
    }

    /// A decision of the leader of a job takes effect in this process.
    pub fn take_decision(&self, id: &str, decision: Decision) {
        if let Some(dataflow) = self.list.iter().find(|dataflow| dataflow.id == id) {
            dataflow.prepared.take(decision);
        }
    }

    /// Drops all dataflows as they are: for the end of a worker whose peers have failed.
    pub fn abandon(&mut self, worker: &mut Worker) {
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
        self.list.drain(..).for_each(|dataflow| dataflow.leave());
    }
}

fn lead(prepared: &Arc<Prepared>, rendered: Rendered) -> Option<Leader> {
    let kept = prepared.kept.as_ref()?;
    let manifest = kept.resumed.as_ref().map(|resumed| &resumed.manifest);
    let (job, checkpointing) = (Arc::clone(&prepared.job), Arc::clone(&kept.checkpointing));
    let (settings, lease) = (kept.settings.clone(), Arc::clone(&kept.lease));
    Some(Leader::new(job, checkpointing, (settings, lease), manifest, (rendered.sources, rendered.durable)))
}
