//! Holds the frontier of a job before its horizon on every worker, also where a worker has no source that would: so nothing
//! of an epoch behind a boundary is taken before the boundary is known there.

use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::{Scope, Stream};

use crate::batch::{Batch, Epoch};
use crate::runtime::Job;

/// A stream without rows whose frontier is just before the horizon of `job`, or at it while it is held. It ends when no boundary is to come.
pub fn gate<'s>(scope: Scope<'s, Epoch>, job: &Arc<Job>) -> Stream<'s, Epoch, Batch> {
    let job = Arc::clone(job);
    source::<Epoch, CapacityContainerBuilder<Batch>, _, _>(scope, "Gate", move |capability, info| {
        job.wake_source(scope.worker().sync_activator_for(info.address.to_vec()));
        let mut held = Some(capability);
        move |_output| {
            let boundaries = &job.boundaries;
            if !boundaries.any() || boundaries.last().is_some() || job.stopping() {
                held = None;
            }
            if let Some(capability) = &mut held {
                let reach = boundaries.reach();
                if reach > *capability.time() {
                    capability.downgrade(&reach);
                }
            }
        }
    })
}
