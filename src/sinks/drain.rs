//! Drains a stream into a sink: an epoch stays open until the sink has acknowledged its rows, so that the
//! frontier behind all sinks means *durable*.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{DistributorPact, ParallelizationContract, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::Operator as _;
use timely::progress::frontier::MutableAntichain;

use super::{Placement, PreparedSink, Sink, SinkContext};
use crate::batch::{Batch, Body, ByAddress, Epoch, Rows};
use crate::error::Result;
use crate::keys::KeyReader;
use crate::operators::epochs::{Sorting, sort};
use crate::operators::exchange::{To, address};
use crate::operators::keyed::NodeContext;
use crate::operators::state::StateKeeper;
use crate::runtime::epochs;
use crate::spec::Edge;

/// Writes the rows of `stream`, which are of `edge`. Nothing comes out but progress.
pub fn drain<'s>(
    stream: Stream<'s, Epoch, Batch>,
    edge: &Edge,
    node: NodeContext,
    placement: &Placement,
    prepared: &dyn PreparedSink,
    keeper: Option<StateKeeper>,
) -> Result<Stream<'s, Epoch, Batch>> {
    let alone = stream.scope().peers() == 1;
    let sorted = matches!(placement, Placement::Gathered | Placement::ByColumnsSorted(_));
    let hold = sorted.then(|| Sorting::of(edge, &node.by_time));
    let to = match placement {
        Placement::Anywhere => None,
        Placement::Gathered => Some(To::One(0)),
        Placement::ByColumns(columns) | Placement::ByColumnsSorted(columns) => {
            Some(To::Owner(KeyReader::new(&edge.schema, columns)?))
        }
    };
    Ok(match to.filter(|_| !alone) {
        None => run(stream, Pipeline, hold, node, prepared, keeper),
        Some(to) => {
            let addressed = address(stream, edge, to, Arc::clone(&node.job));
            run(addressed, DistributorPact(|_| ByAddress), hold, node, prepared, keeper)
        }
    })
}

fn run<'s, P: ParallelizationContract<Epoch, Batch>>(
    stream: Stream<'s, Epoch, Batch>,
    pact: P,
    hold: Option<Sorting>,
    node: NodeContext,
    prepared: &dyn PreparedSink,
    keeper: Option<StateKeeper>,
) -> Stream<'s, Epoch, Batch> {
    let scope = stream.scope();
    let name = node.name.clone();
    stream.unary_frontier::<CapacityContainerBuilder<Batch>, _, _, _>(pact, &name, |_first, info| {
        let sink = prepared.open(SinkContext {
            worker: scope.index(),
            workers: scope.peers(),
            job: Arc::clone(&node.job),
            meter: node.meter.clone(),
            refusals: node.refusals.clone(),
            lanes: Arc::clone(&node.lanes),
            wake: scope.worker().sync_activator_for(info.address.to_vec()),
        });
        // Rows may wait here for the horizon to move.
        node.job.wake_source(scope.worker().sync_activator_for(info.address.to_vec()));
        let mut state = Draining {
            node,
            hold,
            sink: Some(sink),
            epochs: BTreeMap::new(),
            queue: VecDeque::new(),
            flushed: 0,
            keeper,
        };
        move |(input, frontier), _output| {
            input.for_each(|capability, batch| {
                if let Body::Rows(rows) = batch.take() {
                    state.take(*capability.time(), || capability.retain(0), rows);
                }
            });
            let written = state.node.meter.rows_out.get();
            state.node.standing.note(state.oldest(), false);
            if let Err(error) = state.advance(frontier) {
                state.node.job.fail(error.of_node(&state.node.name));
                state.give_up();
            }
            state.node.standing.note(state.oldest(), state.node.meter.rows_out.get() > written);
        }
    })
}

struct Draining {
    node: NodeContext,
    /// Set where an epoch is written when it is complete, sorted.
    hold: Option<Sorting>,
    sink: Option<Box<dyn Sink>>,
    epochs: BTreeMap<Epoch, Open>,
    queue: VecDeque<(Epoch, Rows)>,
    flushed: Epoch,
    /// Writes down what the sink has open, where there are checkpoints.
    keeper: Option<StateKeeper>,
}

struct Open {
    /// Held until the writes of the epoch are acknowledged.
    _capability: Capability<Epoch>,
    held: Vec<Rows>,
}

impl Draining {
    fn take(&mut self, epoch: Epoch, capability: impl FnOnce() -> Capability<Epoch>, rows: Rows) {
        self.node.meter.rows_in.inc_by(rows.data.num_rows() as u64);
        self.node.tap.show(&rows.data);
        if self.sink.is_none() {
            return;
        }
        let open = self.epochs.entry(epoch).or_insert_with(|| Open { _capability: capability(), held: Vec::new() });
        match self.hold {
            Some(_) => open.held.push(rows),
            None => self.queue.push_back((epoch, rows)),
        }
    }

    /// The oldest epoch of which not all is written and acknowledged.
    fn oldest(&self) -> Option<Epoch> {
        self.epochs.first_key_value().map(|(epoch, _)| *epoch)
    }

    fn advance(&mut self, frontier: &MutableAntichain<Epoch>) -> Result<()> {
        if self.node.job.failed() {
            self.give_up();
        }
        let frontier = frontier.frontier().first().copied().unwrap_or(Epoch::MAX);
        self.release_complete(frontier)?;
        let Some(sink) = &mut self.sink else { return Ok(()) };
        let mut written;
        loop {
            let limit = self.keeper.as_ref().map_or(Epoch::MAX, StateKeeper::limit);
            while sink.ready() {
                let Some((epoch, rows)) = next_before(limit, &mut self.queue) else { break };
                sink.write(epoch, &rows)?;
                self.node.meter.rows_out.inc_by(rows.data.num_rows() as u64);
            }
            written = least(&self.queue, frontier);
            let Some(keeper) = self.keeper.as_mut().filter(|_| written >= limit && limit < Epoch::MAX) else { break };
            keeper.pass(written, |boundary| sink.checkpoint(boundary.number));
            if keeper.limit() == limit {
                // Not a boundary but the horizon.
                break;
            }
        }
        if written > self.flushed {
            sink.flush(written)?;
            self.flushed = written;
        }
        let acknowledged = sink.unacknowledged()?.map_or(written, |epoch| epoch.min(written));
        self.settle(acknowledged);
        if acknowledged == Epoch::MAX && self.epochs.is_empty() {
            let closed = self.sink.take();
            closed.map_or(Ok(()), |mut sink| sink.close())?;
        }
        Ok(())
    }

    /// Queues the rows of held epochs that are complete.
    fn release_complete(&mut self, frontier: Epoch) -> Result<()> {
        let Some(sorting) = &self.hold else { return Ok(()) };
        for (epoch, open) in self.epochs.range_mut(..frontier) {
            let sorted = sort(std::mem::take(&mut open.held), sorting)?;
            self.queue.extend(sorted.into_iter().map(|rows| (*epoch, rows)));
        }
        Ok(())
    }

    /// Lets go of the epochs before `acknowledged`.
    fn settle(&mut self, acknowledged: Epoch) {
        while let Some(first) = self.epochs.first_entry().filter(|first| *first.key() < acknowledged) {
            let age = epochs::now().saturating_sub(*first.key());
            self.node.meter.latency.observe(age as f64 / 1e6);
            first.remove();
        }
    }

    fn give_up(&mut self) {
        self.sink = None;
        self.queue.clear();
        self.epochs.clear();
    }
}

/// The next rows of an epoch before `limit`.
fn next_before(limit: Epoch, queue: &mut VecDeque<(Epoch, Rows)>) -> Option<(Epoch, Rows)> {
    let at = queue.iter().position(|(epoch, _)| *epoch < limit)?;
    queue.remove(at)
}

/// The least epoch of which rows may still be written. Those of a later one may stand before those of an earlier
/// one in the queue: they come from several workers.
fn least(queue: &VecDeque<(Epoch, Rows)>, frontier: Epoch) -> Epoch {
    queue.iter().map(|(epoch, _)| *epoch).min().map_or(frontier, |least| least.min(frontier))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::RecordBatch;
    use arrow::datatypes::Schema;

    #[test]
    fn an_epoch_is_written_when_none_of_its_rows_is_queued() {
        let rows = || Rows { data: RecordBatch::new_empty(Arc::new(Schema::empty())), source: 0 };
        let mut queue = VecDeque::from([(20, rows()), (10, rows()), (30, rows())]);
        assert_eq!(least(&queue, 40), 10);
        assert_eq!(least(&queue, 5), 5);
        queue.clear();
        assert_eq!(least(&queue, 40), 40);
    }
}
