//! The dataflows of one worker, from their installation to their end.

use std::sync::Arc;

use timely::worker::Worker;

use super::{Job, Prepared, render};

/// The jobs that a worker runs.
#[derive(Default)]
pub struct Installed {
    list: Vec<(Arc<Job>, usize)>,
}

impl Installed {
    /// Builds the dataflow of `prepared`.
    pub fn build(&mut self, worker: &mut Worker, prepared: &Arc<Prepared>) {
        let dataflow = worker.next_dataflow_index();
        prepared.job.enter();
        render(worker, prepared);
        self.list.push((Arc::clone(&prepared.job), dataflow));
    }

    /// Lets go of the jobs whose dataflow has ended: all is written, and no operator has anything left to do.
    pub fn sweep(&mut self, worker: &Worker) {
        if self.list.is_empty() {
            return;
        }
        let alive = worker.installed_dataflows();
        self.list.retain(|(job, dataflow)| {
            let runs = alive.contains(dataflow);
            if !runs {
                job.leave();
            }
            runs
        });
    }

    /// Whether nothing runs.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The jobs that run.
    pub fn jobs(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.list.iter().map(|(job, _)| job)
    }

    /// Drops all dataflows as they are: for the end of a worker whose peers have failed.
    pub fn abandon(&mut self, worker: &mut Worker) {
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
        self.list.drain(..).for_each(|(job, _)| job.leave());
    }
}
