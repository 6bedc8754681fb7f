//! The one driver that runs operators in timely: epochs in order, marks handed on.
//!
//! An operator that keeps state sees its rows at the worker that owns their key, epoch after epoch. Where all
//! rows of a key come from one partition, rows of the least open epoch are taken as they arrive and only those
//! that ran ahead wait. Elsewhere an epoch is held until it is complete and sorted by (source, `seq`), or (source,
//! event time, `seq`) where the source is ordered so, and the same cut gives the same result. Watermarks take effect at the end of an epoch, for the same reason.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{DistributorPact, ParallelizationContract, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::Operator as _;

use super::exchange::{To, address};
use super::ports::ROWS;
use super::settings::Setter;
use super::state::{Snapshots, StateKeeper};
use super::watermarks::{Watermarks, origin};
use super::{Operator, Output, Transform};
use crate::batch::{Batch, Body, ByAddress, Epoch, Mark, Rows};
use crate::error::Result;
use crate::keys::KeyReader;
use crate::metrics::Meter;
use crate::runtime::Job;
use crate::runtime::standing::Standing;
use crate::runtime::tap::Tap;
use crate::sinks::dead_letters::Refusals;
use crate::sources::lanes::Lanes;
use crate::sources::{ORDER, SEQ};
use crate::spec::{Edge, EdgeKind};

/// A node, as it is rendered on one worker.
pub struct NodeContext {
    /// Its name.
    pub name: String,
    /// Its position in the plan.
    pub index: usize,
    /// Its job.
    pub job: Arc<Job>,
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

/// Runs an operator with state on the rows of `stream`, which are of `edge`.
pub fn keyed<'s>(
    stream: Stream<'s, Epoch, Batch>,
    edge: &Edge,
    node: NodeContext,
    operator: Box<dyn Operator>,
    keeper: Option<StateKeeper>,
) -> Result<Stream<'s, Epoch, Batch>> {
    let take = if edge.in_order { Take::AsTheyArrive } else { Take::CompleteAndSorted(Sorting::of(edge, &node)) };
    if edge.placed || stream.scope().peers() == 1 {
        return Ok(drive(stream, Pipeline, take, node, operator, keeper));
    }
    let keys = To::Owner(KeyReader::new(&edge.schema, &edge.key)?);
    let addressed = address(stream, edge, keys, Arc::clone(&node.job));
    Ok(drive(addressed, DistributorPact(|_| ByAddress), take, node, operator, keeper))
}

/// How the rows of an epoch are taken.
pub enum Take {
    /// In the least open epoch, as they arrive.
    AsTheyArrive,
    /// When the epoch is complete, sorted.
    CompleteAndSorted(Sorting),
}

/// How the rows of an epoch are sorted: by source, then by `seq`, or first in order of event time where the source is.
#[derive(Clone)]
pub struct Sorting {
    seq: Option<usize>,
    order: Option<usize>,
    by_time: Arc<[u16]>,
}

impl Sorting {
    /// For rows of `edge` that come to `node`.
    pub fn of(edge: &Edge, node: &NodeContext) -> Self {
        // What changes rows comes in the order in which it was told.
        let position = |name: &str| edge.position(name).filter(|_| edge.kind == EdgeKind::Append);
        Sorting { seq: position(SEQ), order: position(ORDER), by_time: Arc::clone(&node.by_time) }
    }

    /// The columns of the order of event time, where rows of `source` are in it, and of `seq`.
    fn columns(&self, source: u16) -> (Option<usize>, Option<usize>) {
        (self.order.filter(|_| self.by_time.contains(&source)), self.seq)
    }
}

fn drive<'s, P: ParallelizationContract<Epoch, Batch>>(
    stream: Stream<'s, Epoch, Batch>,
    pact: P,
    take: Take,
    node: NodeContext,
    mut operator: Box<dyn Operator>,
    keeper: Option<StateKeeper>,
) -> Stream<'s, Epoch, Batch> {
    let name = node.name.clone();
    let origin = origin(node.index, stream.scope().index());
    let scope = stream.scope();
    let worker = scope.index();
    stream.unary_frontier::<CapacityContainerBuilder<Batch>, _, _, _>(pact, &name, move |first, info| {
        let again = scope.activator_for(info.address);
        let mut snapshots = Snapshots::new(keeper);
        let mut setter = Setter::new(node.name.clone(), worker, Arc::clone(&node.job));
        let mut epochs = Epochs::new(take);
        // All workers pass the first epoch before any row: an operator that was put back can tell the next ones in it.
        epochs.push(*first.time(), || first.clone(), Body::Empty);
        let mut announce = Some(first);
        let mut watermarks = Watermarks::default();
        let mut handed_on = i64::MIN;
        move |(input, frontier), output| {
            if let Some(capability) = announce.take() {
                let mark = Mark::Watermark { origin, time: i64::MIN };
                output.session(&capability).give_container(&mut Batch::new(Body::Mark(mark)));
            }
            input.for_each(|capability, batch| epochs.push(*capability.time(), || capability.retain(0), batch.take()));
            node.standing.note(epochs.oldest(), false);
            let mut moved = false;
            // Other workers may know before this one what holds behind the horizon.
            let earlier = |epoch: &Epoch| frontier.less_than(epoch) || *epoch >= node.job.boundaries.horizon();
            while let Some(ready) = epochs.next(earlier, |epoch| frontier.less_equal(epoch)) {
                snapshots.pass(*ready.capability.time(), operator.as_mut());
                setter.pass(*ready.capability.time(), operator.as_mut());
                moved = true;
                let mut session = output.session(&ready.capability);
                for rows in node.sorted(ready.rows, &epochs.take) {
                    for mut batch in node.run(|out| operator.rows(rows, out)) {
                        session.give_container(&mut batch);
                    }
                }
                ready.marks.into_iter().for_each(|mark| watermarks.note(mark));
                if !ready.complete {
                    continue;
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
            let reached = frontier.frontier().first().copied().unwrap_or(Epoch::MAX);
            let next = epochs.least().unwrap_or(Epoch::MAX).min(reached);
            snapshots.pass(next, operator.as_mut());
            setter.pass(next, operator.as_mut());
            // Nobody comes back to an operator that has ended.
            if snapshots.go_on(operator.as_mut(), reached == Epoch::MAX) {
                again.activate();
            }
            node.standing.note(epochs.oldest(), moved);
        }
    })
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

    fn sorted(&self, rows: Vec<Rows>, take: &Take) -> Vec<Rows> {
        self.meter.rows_in.inc_by(rows.iter().map(|rows| rows.data.num_rows() as u64).sum());
        match take {
            Take::AsTheyArrive => rows,
            Take::CompleteAndSorted(sorting) => sort(rows, sorting).unwrap_or_else(|error| {
                self.job.fail(error);
                Vec::new()
            }),
        }
    }
}

/// Sorts the rows of an epoch.
pub fn sort(rows: Vec<Rows>, sorting: &Sorting) -> Result<Vec<Rows>> {
    let mut sources: BTreeMap<u16, Vec<RecordBatch>> = BTreeMap::new();
    for Rows { data, source } in rows {
        sources.entry(source).or_default().push(data);
    }
    let mut sorted = Vec::new();
    for (source, batches) in sources {
        let (time, seq) = sorting.columns(source);
        if is_sorted(&batches, time, seq) {
            sorted.extend(batches.into_iter().map(|data| Rows { data, source }));
            continue;
        }
        let whole = concat_batches(&batches[0].schema(), &batches)?;
        let by = |values: ArrayRef| SortColumn { values, options: None };
        let columns = time.into_iter().chain(seq).map(|at| Arc::clone(whole.column(at)));
        // Changes of one row stay as they came.
        let come: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..whole.num_rows() as u32));
        let order = lexsort_to_indices(&columns.chain([come]).map(by).collect::<Vec<_>>(), None)?;
        sorted.push(Rows { data: take_record_batch(&whole, &order)?, source });
    }
    Ok(sorted)
}

fn is_sorted(batches: &[RecordBatch], time: Option<usize>, seq: Option<usize>) -> bool {
    let mut last = (i64::MIN, i64::MIN);
    batches.iter().all(|data| {
        let times = time.map(|at| data.column(at).as_primitive::<TimestampNanosecondType>().values());
        let seqs = seq.map(|at| data.column(at).as_primitive::<Int64Type>().values());
        (0..data.num_rows()).all(|row| {
            let next = (times.map_or(0, |times| times[row]), seqs.map_or(0, |seqs| seqs[row]));
            let rises = next >= last;
            last = next;
            rises
        })
    })
}

/// Rows and marks that wait for their epoch.
struct Epochs<C = Capability<Epoch>> {
    take: Take,
    waiting: BTreeMap<Epoch, Waiting<C>>,
}

struct Waiting<C> {
    capability: C,
    rows: Vec<Rows>,
    marks: Vec<Mark>,
}

/// What can be taken now.
struct Ready<C> {
    capability: C,
    rows: Vec<Rows>,
    marks: Vec<Mark>,
    complete: bool,
}

impl<C: Clone> Epochs<C> {
    fn new(take: Take) -> Self {
        Epochs { take, waiting: BTreeMap::new() }
    }

    fn push(&mut self, epoch: Epoch, capability: impl FnOnce() -> C, body: Body) {
        let waiting = self.waiting.entry(epoch);
        let waiting =
            waiting.or_insert_with(|| Waiting { capability: capability(), rows: Vec::new(), marks: Vec::new() });
        match body {
            Body::Empty => {}
            Body::Rows(rows) => waiting.rows.push(rows),
            Body::Mark(mark) => waiting.marks.push(mark),
        }
    }

    /// The least epoch that waits.
    fn least(&self) -> Option<Epoch> {
        self.waiting.first_key_value().map(|(epoch, _)| *epoch)
    }

    /// The oldest epoch of which rows wait.
    fn oldest(&self) -> Option<Epoch> {
        self.waiting.iter().find(|(_, waiting)| !waiting.rows.is_empty()).map(|(epoch, _)| *epoch)
    }

    /// The next epoch, in order, of which something can be taken. `earlier` tells whether an earlier epoch may
    /// still bring something, `open` whether this or an earlier one may.
    fn next(&mut self, earlier: impl Fn(&Epoch) -> bool, open: impl Fn(&Epoch) -> bool) -> Option<Ready<C>> {
        let mut first = self.waiting.first_entry()?;
        let epoch = *first.key();
        if !open(&epoch) {
            let Waiting { capability, rows, marks } = first.remove();
            return Some(Ready { capability, rows, marks, complete: true });
        }
        let waiting = first.get_mut();
        if earlier(&epoch) || matches!(self.take, Take::CompleteAndSorted(_)) || waiting.rows.is_empty() {
            return None;
        }
        let rows = std::mem::take(&mut waiting.rows);
        Some(Ready { capability: waiting.capability.clone(), rows, marks: Vec::new(), complete: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, TimestampNanosecondArray};
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

    fn rows(source: u16, seqs: &[i64]) -> Rows {
        let schema = Arc::new(Schema::new(vec![Field::new("seq", DataType::Int64, false)]));
        let column = Arc::new(Int64Array::from(seqs.to_vec()));
        Rows { data: RecordBatch::try_new(schema, vec![column]).expect("rows"), source }
    }

    fn seqs(rows: &[Rows]) -> Vec<(u16, i64)> {
        let of = |rows: &Rows| {
            let source = rows.source;
            let values = rows.data.column(0).as_primitive::<Int64Type>().values().to_vec();
            values.into_iter().map(move |seq| (source, seq))
        };
        rows.iter().flat_map(of).collect()
    }

    #[test]
    fn rows_of_the_least_open_epoch_are_taken_as_they_arrive_and_later_ones_wait() {
        let mut epochs: Epochs<u64> = Epochs::new(Take::AsTheyArrive);
        epochs.push(10, || 10, Body::Rows(rows(0, &[1])));
        epochs.push(20, || 20, Body::Rows(rows(0, &[2])));
        epochs.push(10, || 10, Body::Rows(rows(0, &[3])));
        let open_from = |least: u64| (move |epoch: &u64| least < *epoch, move |epoch: &u64| least <= *epoch);
        let (earlier, open) = open_from(5);
        assert!(epochs.next(earlier, open).is_none());
        let (earlier, open) = open_from(10);
        let ready = epochs.next(earlier, open).expect("epoch 10 is the least open one");
        assert_eq!((seqs(&ready.rows), ready.complete), (vec![(0, 1), (0, 3)], false));
        assert!(epochs.next(earlier, open).is_none());
        let (earlier, open) = open_from(20);
        assert!(epochs.next(earlier, open).expect("10 is complete").complete);
        assert_eq!(seqs(&epochs.next(earlier, open).expect("20 is open").rows), vec![(0, 2)]);
    }

    #[test]
    fn a_held_epoch_is_sorted_by_source_and_seq() {
        let mixed = vec![rows(1, &[5, 6]), rows(0, &[7, 9]), rows(0, &[1, 8])];
        let sorting = Sorting { seq: Some(0), order: None, by_time: Arc::new([]) };
        let sorted = sort(mixed, &sorting).expect("sorts");
        assert_eq!(seqs(&sorted), vec![(0, 1), (0, 7), (0, 8), (0, 9), (1, 5), (1, 6)]);
    }

    #[test]
    fn rows_of_a_source_that_is_ordered_by_event_time_stay_so() {
        let timed = |source: u16, rows: &[(i64, i64)]| {
            let schema = Schema::new(vec![
                Field::new("seq", DataType::Int64, false),
                Field::new("_order", DataType::Timestamp(TimeUnit::Nanosecond, None), false),
            ]);
            let seqs = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
            let times = TimestampNanosecondArray::from_iter_values(rows.iter().map(|row| row.0));
            let data = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(seqs), Arc::new(times)]).expect("rows");
            Rows { data, source }
        };
        let mixed = vec![timed(1, &[(30, 1), (30, 3)]), timed(0, &[(30, 1), (10, 2)]), timed(1, &[(10, 5), (30, 2)])];
        let sorting = Sorting { seq: Some(0), order: Some(1), by_time: Arc::new([1]) };
        let sorted = sort(mixed, &sorting).expect("sorts");
        assert_eq!(seqs(&sorted), vec![(0, 1), (0, 2), (1, 5), (1, 1), (1, 2), (1, 3)]);
    }
}
