//! The dataflows of one worker, from their installation to their end.

use std::sync::Arc;

use timely::worker::Worker;

use super::{Job, Prepared, render};

/// The jobs that a worker runs.
#[derive(Default)]
pub struct Installed {
    list: Vec<Dataflow>,
}

struct Dataflow {
    id: String,
    prepared: Arc<Prepared>,
    index: usize,
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
    /// Builds the dataflow of `prepared`, known as `id`.
    pub fn build(&mut self, worker: &mut Worker, id: &str, prepared: &Arc<Prepared>) {
        let index = worker.next_dataflow_index();
        prepared.job.enter();
        render(worker, prepared);
        self.list.push(Dataflow { id: id.to_string(), prepared: Arc::clone(prepared), index });
    }

    /// Lets go of the jobs whose dataflow has ended: all is written, and no operator has anything left to do.
    pub fn sweep(&mut self, worker: &Worker) {
        if self.list.is_empty() {
            return;
        }
        let alive = worker.installed_dataflows();
        self.list.retain(|dataflow| {
            let runs = alive.contains(&dataflow.index);
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

    /// Drops all dataflows as they are: for the end of a worker whose peers have failed.
    pub fn abandon(&mut self, worker: &mut Worker) {
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
        self.list.drain(..).for_each(|dataflow| dataflow.leave());
    }
}
