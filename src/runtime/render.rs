//! The second step of an installation: a prepared plan becomes a timely dataflow, the same on every worker.
//!
//! Nothing here may fail or differ between workers: a dataflow that is missing on one worker hangs the others.

use std::sync::Arc;
use std::time::Duration;

use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::probe::{Handle as Probe, Probe as _};
use timely::dataflow::{Scope, Stream};
use timely::worker::Worker;

use super::fit;
use super::prepare::Prepared;
use crate::batch::{Batch, Epoch};
use crate::error::{Error, Result};
use crate::metrics::Meter;
use crate::operators::gate::gate;
use crate::operators::keyed::{NodeContext, Side, keyed, stateless};
use crate::operators::ports::{Outputs, ROWS, part};
use crate::operators::state::StateKeeper;
use crate::operators::{BuildContext, Built, Operator, OperatorPlan, Stage};
use crate::sinks::drain::drain;
use crate::sources::ReaderContext;
use crate::sources::feed::{Feed, feed};
use crate::sources::lanes::Lanes;
use crate::sources::letters::{LETTERS, Letters};
use crate::sources::shape::{OnError, ShapePlan};
use crate::spec::{Edge, Input, PlannedNode, Role};

/// What can be seen of a dataflow from outside.
#[derive(Default)]
pub struct Rendered {
    /// Behind the readers of all its sources.
    pub sources: Probe<Epoch>,
    /// Behind all its sinks: what it has passed is durable.
    pub durable: Probe<Epoch>,
}

/// Builds the dataflow of `prepared` on this worker.
pub fn render(worker: &mut Worker, prepared: &Arc<Prepared>) -> Rendered {
    let rendered = Rendered::default();
    let name = prepared.plan.job.name.clone();
    worker.dataflow_named::<Epoch, _, _>(&name, |scope| {
        let lanes = Arc::new(Lanes::of(&prepared.plan));
        let by_time = lanes.by_time().into();
        let gate = prepared.kept.is_some().then(|| gate(scope, &prepared.job));
        let renderer = Renderer { scope, prepared, rendered: &rendered, by_time, gate, lanes };
        if let Err(error) = renderer.render() {
            prepared.job.fail(error);
        }
    });
    rendered
}

struct Renderer<'a, 's> {
    scope: Scope<'s, Epoch>,
    prepared: &'a Arc<Prepared>,
    rendered: &'a Rendered,
    by_time: Arc<[u16]>,
    /// Set where there are checkpoints.
    gate: Option<Stream<'s, Epoch, Batch>>,
    lanes: Arc<Lanes>,
}

impl<'s> Renderer<'_, 's> {
    fn render(&self) -> Result<()> {
        let nodes = &self.prepared.plan.nodes;
        let mut streams: Vec<Outputs<'s>> = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let outputs = match &node.role {
                Role::Source(_) => self.source(index, node)?,
                Role::Operator(plan) => {
                    let sides = self.sides(node, plan.as_ref(), &streams)?;
                    let stream = self.operator(sides, index, node, plan.as_ref())?;
                    part(stream, &self.prepared.plan.read_ports(index))
                }
                Role::Sink(_) => {
                    let Side { stream, edge } = self.input(node, &streams)?;
                    self.sink(stream, &edge, index, node)?;
                    Outputs::new()
                }
            };
            streams.push(outputs);
        }
        Ok(())
    }

    fn context(&self, index: usize, node: &PlannedNode, on_error: OnError) -> NodeContext {
        let meter = self.prepared.job.meter(&node.name, self.scope.index());
        NodeContext {
            name: node.name.clone(),
            index,
            job: Arc::clone(&self.prepared.job),
            first: self.prepared.start.saturating_sub(1),
            refusals: self.prepared.refusals(&node.name, on_error, meter.clone()),
            meter,
            tap: self.prepared.job.tap(&node.name),
            standing: self.prepared.job.standing(&node.name, self.scope.index()),
            by_time: Arc::clone(&self.by_time),
            ports: self.prepared.plan.read_ports(index),
            lanes: Arc::clone(&self.lanes),
        }
    }

    fn source(&self, index: usize, node: &PlannedNode) -> Result<Outputs<'s>> {
        let Role::Source(plan) = &node.role else { return Err(broken(node)) };
        let source = Arc::clone(self.prepared.source(index).ok_or_else(|| broken(node))?);
        let mut context = self.context(index, node, plan.shape().on_error);
        if plan.shape().order.is_some() || plan.shape().corrections.is_some() {
            // Rows leave the node in order, and as changes: as they are read they are not looked at.
            context.tap = Arc::default();
        }
        let ports = std::mem::take(&mut context.ports);
        let letters = ports.contains(&LETTERS).then(|| Arc::new(Letters::new(plan.shape().layout)));
        context.refusals.read.clone_from(&letters);
        let (refusals, job) = (context.refusals.clone(), Arc::clone(&context.job));
        let (worker, workers) = (self.scope.index(), self.scope.peers());
        let settings = &self.prepared.plan.job.settings;
        let from = self.prepared.start;
        let start = self.prepared.kept.as_ref().map_or(from, |kept| kept.settings.origin_of(&node.name));
        let stream = feed(
            self.scope,
            Feed {
                node: context,
                epoch: settings.epoch.max(Duration::from_millis(10)),
                start: from,
                durable: self.rendered.durable.clone(),
                memory: settings.memory.0 as usize,
                keeper: self.keeper(&node.name),
                letters,
            },
            |wake| source.reader(ReaderContext { worker, workers, node: index, job, start, from, refusals, wake }),
        );
        let stream = stream.probe_with(&self.rendered.sources);
        let stream = match &self.gate {
            Some(gate) => self.scope.concatenate([stream, gate.clone()]),
            None => stream,
        };
        let mut outputs = part(stream, &ports);
        if let Some(rows) = outputs.remove(&ROWS) {
            outputs.insert(ROWS, self.behind_source(rows, index, node, plan.shape())?);
        }
        Ok(outputs)
    }

    /// Puts the rows of a source in order, and makes changes of them, where it says so.
    fn behind_source(
        &self,
        mut rows: Stream<'s, Epoch, Batch>,
        index: usize,
        node: &PlannedNode,
        shape: &ShapePlan,
    ) -> Result<Stream<'s, Epoch, Batch>> {
        let ShapePlan { read, order, corrections, on_error, .. } = shape;
        let context = |name: &str| {
            // With counters of its own: every row has left the source before. What cannot be used is counted there.
            let own = self.context(index, node, *on_error);
            let meter = self.prepared.job.meter(name, self.scope.index());
            let meter = Meter { unmatched: own.meter.unmatched.clone(), state: own.meter.state.clone(), ..meter };
            NodeContext { meter, ports: Vec::new(), standing: Arc::default(), ..own }
        };
        if let Some(order) = order {
            let name = format!("{}.{}", node.name, fit::ORDER);
            let mut context = context(&name);
            if corrections.is_some() {
                context.tap = Arc::default();
            }
            let order = order.build(read, index as u16)?;
            rows = self.keyed(vec![Side { stream: rows, edge: read.clone() }], &name, context, order)?;
        }
        if let Some(corrections) = corrections {
            let name = format!("{}.{}", node.name, fit::CORRECTIONS);
            let read = Edge { placed: order.is_some(), ..read.clone() };
            let corrections = corrections.build(&read, &node.edge)?;
            rows = self.keyed(vec![Side { stream: rows, edge: read }], &name, context(&name), corrections)?;
        }
        Ok(rows)
    }

    /// What comes in: of a join on each side, else all inputs together.
    fn sides(&self, node: &PlannedNode, plan: &dyn OperatorPlan, streams: &[Outputs<'s>]) -> Result<Vec<Side<'s>>> {
        let Some(keys) = plan.sides() else { return Ok(vec![self.input(node, streams)?]) };
        let side = |(input, key): (&Input, Vec<usize>)| {
            let edge = self.prepared.plan.edge(*input).clone();
            let placed = edge.placed && edge.key == key;
            Ok(Side { stream: self.stream(node, *input, streams)?, edge: Edge { key, placed, ..edge } })
        };
        node.inputs.iter().zip(keys).map(side).collect()
    }

    fn stream(&self, node: &PlannedNode, input: Input, streams: &[Outputs<'s>]) -> Result<Stream<'s, Epoch, Batch>> {
        streams[input.node].get(&input.port).cloned().ok_or_else(|| broken(node))
    }

    /// The rows of all inputs of a node, and the edge they make together.
    fn input(&self, node: &PlannedNode, streams: &[Outputs<'s>]) -> Result<Side<'s>> {
        let inputs = node.inputs.iter().map(|input| self.stream(node, *input, streams)).collect::<Result<Vec<_>>>()?;
        let edges: Vec<&Edge> = node.inputs.iter().map(|input| self.prepared.plan.edge(*input)).collect();
        let edge = Edge {
            placed: edges.iter().all(|edge| edge.placed),
            in_order: edges.len() == 1 && edges[0].in_order,
            retracts: edges.iter().all(|edge| edge.retracts),
            reach: edges.iter().map(|edge| edge.reach).max().unwrap_or(0),
            ..edges[0].clone()
        };
        let stream = match <[_; 1]>::try_from(inputs) {
            Ok([one]) => one,
            Err(several) => self.scope.concatenate(several),
        };
        Ok(Side { stream, edge })
    }

    fn operator(
        &self,
        mut sides: Vec<Side<'s>>,
        index: usize,
        node: &PlannedNode,
        plan: &dyn OperatorPlan,
    ) -> Result<Stream<'s, Epoch, Batch>> {
        let context = self.context(index, node, OnError::DeadLetter);
        match plan.build(&BuildContext { node: index as u16, lanes: Arc::clone(&self.lanes) })? {
            Built::Stateless(transform) => {
                let side = sides.pop().ok_or_else(|| broken(node))?;
                Ok(stateless(side.stream, context, transform))
            }
            Built::Keyed(operator) => self.keyed(sides, &node.name, context, operator),
            Built::Staged(stages) => {
                let side = sides.pop().ok_or_else(|| broken(node))?;
                self.staged(side.stream, stages, index, node)
            }
        }
    }

    /// Operators one behind the other, that together are `node`: what enters the first one enters the node, and what leaves
    /// the last one leaves it; all else that they count is of the node, too.
    fn staged(
        &self,
        mut stream: Stream<'s, Epoch, Batch>,
        stages: Vec<Stage>,
        index: usize,
        node: &PlannedNode,
    ) -> Result<Stream<'s, Epoch, Batch>> {
        let last = stages.len().saturating_sub(1);
        for (at, stage) in stages.into_iter().enumerate() {
            let (name, mut context) = (stage.name_in(&node.name), self.context(index, node, OnError::DeadLetter));
            let own = self.prepared.job.meter(&format!("{}.stages", node.name), self.scope.index());
            if at > 0 {
                context.meter.rows_in = own.rows_in;
            }
            if at < last {
                context.meter.rows_out = own.rows_out;
                (context.tap, context.ports, context.standing) = (Arc::default(), Vec::new(), Arc::default());
            }
            stream = match stage.built {
                Built::Stateless(transform) => stateless(stream, context, transform),
                Built::Keyed(operator) => {
                    self.keyed(vec![Side { stream, edge: stage.input }], &name, context, operator)?
                }
                Built::Staged(_) => return Err(broken(node)),
            };
        }
        Ok(stream)
    }

    /// Runs an operator that keeps its state under `name`.
    fn keyed(
        &self,
        sides: Vec<Side<'s>>,
        name: &str,
        context: NodeContext,
        mut operator: Box<dyn Operator>,
    ) -> Result<Stream<'s, Epoch, Batch>> {
        if let Some(resumed) = self.prepared.kept.as_ref().and_then(|kept| kept.resumed.as_ref()) {
            resumed.restore(name, operator.as_mut(), self.scope.index(), self.scope.peers())?;
        }
        keyed(self.scope, sides, context, operator, self.keeper(name))
    }

    /// Keeps the state of `node` on this worker, where there are checkpoints.
    fn keeper(&self, node: &str) -> Option<StateKeeper> {
        let kept = self.prepared.kept.as_ref()?;
        let (job, checkpointing) = (Arc::clone(&self.prepared.job), Arc::clone(&kept.checkpointing));
        Some(StateKeeper::new(node.to_string(), self.scope.index(), job, checkpointing))
    }

    fn sink(&self, input: Stream<'s, Epoch, Batch>, edge: &Edge, index: usize, node: &PlannedNode) -> Result<()> {
        let Role::Sink(plan) = &node.role else { return Err(broken(node)) };
        let sink = self.prepared.sink(index).ok_or_else(|| broken(node))?;
        let context = self.context(index, node, OnError::DeadLetter);
        let keeper = self.keeper(&node.name);
        drain(input, edge, context, &plan.placement(), sink.as_ref(), keeper)?.probe_with(&self.rendered.durable);
        Ok(())
    }
}

fn broken(node: &PlannedNode) -> Error {
    Error::run(format!("`{}` was not prepared", node.name))
}
