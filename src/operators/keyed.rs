//! The one driver that runs operators in timely: epochs in order, marks handed on.
//!
//! An operator that keeps state sees its rows at the worker that owns their key, epoch after epoch. Where all
//! rows of a key come from one partition, rows of the least open epoch are taken as they arrive and only those
//! that ran ahead wait. Elsewhere an epoch is held until it is complete and sorted by (source, `seq`), or (source,
//! event time, `seq`) where the source is ordered so, and the same cut gives the same result. Watermarks take effect at
//! the end of an epoch, for the same reason. An operator with two sides has an epoch when both have it: first the left.

use std::sync::Arc;

use timely::communication::Pull;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::{DistributorPact, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::operator::Operator as _;
use timely::dataflow::operators::generic::{InputHandleCore, OutputBuilder};
use timely::dataflow::{Scope, Stream};
use timely::progress::frontier::MutableAntichain;

use super::epochs::{Epochs, Sorting, Take};
use super::exchange::{To, address};
use super::ports::ROWS;
use super::settings::Setter;
use super::size::Size;
use super::state::{Snapshots, StateKeeper};
use super::watermarks::{Watermarks, origin};
use super::{LEFT, Operator, Output, Transform};
use crate::batch::{Batch, Body, ByAddress, Epoch, Mark, Rows};
use crate::error::Result;
use crate::keys::KeyReader;
use crate::metrics::Meter;
use crate::runtime::Job;
use crate::runtime::standing::Standing;
use crate::runtime::tap::Tap;
use crate::sinks::dead_letters::Refusals;
use crate::sources::lanes::Lanes;
use crate::spec::Edge;

/// A node, as it is rendered on one worker.
pub struct NodeContext {
    /// Its name.
    pub name: String,
    /// Its position in the plan.
    pub index: usize,
    /// Its job.
    pub job: Arc<Job>,
    /// The epoch before that of the first row: behind all that was ever told, so that what is told in it counts.
    pub first: Epoch,
    /// Its counters.
    pub meter: Meter,
    /// Where its rows can be looked at.
    pub tap: Arc<Tap>,
    /// What it holds, for those who watch over it.
    pub standing: Arc<Standing>,
    /// Where rows go on which an expression fails.
    pub refusals: Refusals,
    /// The sources of the job whose rows are ordered by event time.
    pub by_time: Arc<[u16]>,
    /// Its further outputs that are read.
    pub ports: Vec<usize>,
    /// Where rows stand in the sources of the job.
    pub lanes: Arc<Lanes>,
}

/// Runs an operator without state on the rows of `stream`, as they come.
pub fn stateless<'s>(
    stream: Stream<'s, Epoch, Batch>,
    node: NodeContext,
    mut operator: Box<dyn Transform>,
) -> Stream<'s, Epoch, Batch> {
    let name = node.name.clone();
    stream.unary::<CapacityContainerBuilder<Batch>, _, _, _>(Pipeline, &name, move |_, _| {
        move |input, output| {
            input.for_each(|capability, batch| {
                let mut session = output.session(&capability);
                match batch.take() {
                    Body::Empty => {}
                    Body::Mark(mark) => session.give_container(&mut Batch::new(Body::Mark(mark))),
                    Body::Rows(rows) => {
                        for mut batch in node.run(|out| operator.rows(rows, out)) {
                            session.give_container(&mut batch);
                        }
                    }
                }
            });
        }
    })
}

/// What comes in on one side of an operator; most have only one.
pub struct Side<'s> {
    /// The rows, wherever they are.
    pub stream: Stream<'s, Epoch, Batch>,
    /// What they are. Its key is what they are brought together by.
    pub edge: Edge,
}

/// Runs an operator with state on the rows of all `sides`.
pub fn keyed<'s>(
    scope: Scope<'s, Epoch>,
    sides: Vec<Side<'s>>,
    node: NodeContext,
    operator: Box<dyn Operator>,
    keeper: Option<StateKeeper>,
) -> Result<Stream<'s, Epoch, Batch>> {
    let take = match sides.as_slice() {
        [one] if one.edge.in_order => Take::AsTheyArrive,
        sides => Take::CompleteAndSorted(sides.iter().map(|side| Sorting::of(&side.edge, &node.by_time)).collect()),
    };
    let mut builder = OperatorBuilder::new(node.name.clone(), scope);
    let mut inputs = Vec::new();
    for (number, Side { stream, edge }) in sides.into_iter().enumerate() {
        if edge.placed || scope.peers() == 1 {
            inputs.push(receive(number, builder.new_input(stream, Pipeline)));
            continue;
        }
        let keys = To::Owner(KeyReader::new(&edge.schema, &edge.key)?);
        let addressed = address(stream, &edge, keys, Arc::clone(&node.job));
        inputs.push(receive(number, builder.new_input(addressed, DistributorPact(|_| ByAddress))));
    }
    Ok(drive(builder, inputs, take, node, operator, keeper))
}

/// Takes in what there is on a side.
type Receive = Box<dyn FnMut(&mut Epochs)>;

fn receive<P: Pull<Message<Epoch, Batch>> + 'static>(
    side: usize,
    mut input: InputHandleCore<Epoch, Batch, P>,
) -> Receive {
    Box::new(move |epochs| {
        input.for_each(|capability, batch| {
            epochs.push(side, *capability.time(), || capability.retain(0), batch.take());
        });
    })
}

fn drive<'s>(
    mut builder: OperatorBuilder<'s, Epoch>,
    mut inputs: Vec<Receive>,
    take: Take,
    node: NodeContext,
    mut operator: Box<dyn Operator>,
    keeper: Option<StateKeeper>,
) -> Stream<'s, Epoch, Batch> {
    let (output, stream) = builder.new_output();
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<Batch>>::from(output);
    let scope = stream.scope();
    let worker = scope.index();
    let origin = origin(node.index, worker);
    let again = scope.activator_for(builder.operator_info().address);
    builder.build(move |capabilities| {
        let mut snapshots = Snapshots::new(keeper);
        let mut setter = Setter::new(node.name.clone(), worker, Arc::clone(&node.job));
        let mut size = Size::new(node.meter.state.clone());
        let mut epochs = Epochs::new(take);
        let mut announce = capabilities.into_iter().next();
        // All workers pass the first epoch before any row: an operator that was put back can tell the next ones in it.
        if let Some(capability) = &announce {
            epochs.push(LEFT, node.first, || capability.delayed(&node.first), Body::Empty);
        }
        let mut watermarks = Watermarks::default();
        let mut sides: Vec<Watermarks> = inputs.iter().map(|_| Watermarks::default()).collect();
        let mut handed_on = i64::MIN;
        move |frontiers: &[MutableAntichain<Epoch>]| {
            let mut output = output.activate();
            if let Some(capability) = announce.take() {
                let capability = capability.delayed(&node.first);
                let mark = Mark::Watermark { origin, time: i64::MIN };
                output.session(&capability).give_container(&mut Batch::new(Body::Mark(mark)));
            }
            inputs.iter_mut().for_each(|receive| receive(&mut epochs));
            node.standing.note(epochs.oldest(), false);
            let mut moved = false;
            // Other workers may know before this one what holds behind the horizon.
            let horizon = |epoch: &Epoch| *epoch >= node.job.boundaries.horizon();
            let earlier = |epoch: &Epoch| horizon(epoch) || frontiers.iter().any(|frontier| frontier.less_than(epoch));
            let open = |epoch: &Epoch| frontiers.iter().any(|frontier| frontier.less_equal(epoch));
            while let Some(ready) = epochs.next(earlier, open) {
                snapshots.pass(*ready.capability.time(), operator.as_mut());
                setter.pass(*ready.capability.time(), operator.as_mut());
                moved = true;
                let mut session = output.session(&ready.capability);
                for (side, rows) in node.in_order(ready.rows, &epochs.take) {
                    let take = |out: &mut Output| match side {
                        LEFT => operator.rows(rows, out),
                        _ => operator.right(rows, out),
                    };
                    for mut batch in node.run(take) {
                        session.give_container(&mut batch);
                    }
                }
                for (side, mark) in ready.marks {
                    sides[side].note(mark);
                    watermarks.note(mark);
                }
                if !ready.complete {
                    continue;
                }
                for (side, watermarks) in sides.iter_mut().enumerate() {
                    while let Some(time) = watermarks.advanced() {
                        operator.side_passed(side, time);
                    }
                }
                let mut passed = Vec::new();
                while let Some(time) = watermarks.advanced() {
                    let step = |out: &mut Output| operator.watermark(time, out).map(|time| passed.push(time));
                    for mut batch in node.run(step) {
                        session.give_container(&mut batch);
                    }
                }
                for mut batch in node.run(|out| operator.end_of_epoch(out)) {
                    session.give_container(&mut batch);
                }
                for time in passed.into_iter().filter(|time| *time > i64::MIN) {
                    if time <= handed_on {
                        continue;
                    }
                    handed_on = time;
                    let mark = match time {
                        i64::MAX => Mark::Close { origin },
                        time => Mark::Watermark { origin, time },
                    };
                    session.give_container(&mut Batch::new(Body::Mark(mark)));
                }
            }
            let reached = frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min();
            let reached = reached.unwrap_or(Epoch::MAX);
            let next = epochs.least().unwrap_or(Epoch::MAX).min(reached);
            snapshots.pass(next, operator.as_mut());
            setter.pass(next, operator.as_mut());
            // Nobody comes back to an operator that has ended.
            if snapshots.go_on(operator.as_mut(), reached == Epoch::MAX) {
                again.activate();
            }
            if moved {
                size.look_at(operator.as_ref());
            }
            node.standing.note(epochs.oldest(), moved);
        }
    });
    stream
}

impl NodeContext {
    /// Runs `step`, counts what it makes, and ends the job where it fails.
    fn run(&self, step: impl FnOnce(&mut Output) -> Result<()>) -> Vec<Batch> {
        let mut out = Output::default();
        if self.job.failed() {
            return Vec::new();
        }
        if let Err(error) = step(&mut out) {
            self.job.fail(error.of_node(&self.name));
            return Vec::new();
        }
        out.further.retain(|(port, rows)| rows.data.num_rows() > 0 && self.ports.contains(port));
        out.rows.retain(|rows| rows.data.num_rows() > 0);
        for refused in &out.refused {
            if let Err(error) = self.refusals.refuse_row(refused) {
                self.job.fail(error);
            }
        }
        out.rows.iter().for_each(|rows| self.tap.show(&rows.data));
        self.meter.rows_out.inc_by(out.rows.iter().map(|rows| rows.data.num_rows() as u64).sum());
        self.meter.held_back.inc_by(out.held_back);
        self.meter.late.inc_by(out.late);
        self.meter.outside.inc_by(out.outside);
        self.meter.unmatched.inc_by(out.unmatched);
        self.meter.repeats.inc_by(out.repeats);
        let rows = out.rows.into_iter().map(|rows| (ROWS, rows));
        rows.chain(out.further).map(|(port, rows)| Batch::of_port(port, Body::Rows(rows))).collect()
    }

    fn in_order(&self, rows: Vec<(usize, Rows)>, take: &Take) -> Vec<(usize, Rows)> {
        self.meter.rows_in.inc_by(rows.iter().map(|(_, rows)| rows.data.num_rows() as u64).sum());
        take.in_order(rows).unwrap_or_else(|error| {
            self.job.fail(error);
            Vec::new()
        })
    }
}
