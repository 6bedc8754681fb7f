//! Rows and marks that wait for their epoch, and the order in which the rows of one are taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use timely::dataflow::operators::Capability;

use crate::batch::{Body, Epoch, Mark, Rows};
use crate::error::Result;
use crate::sources::{ORDER, SEQ};
use crate::spec::{Edge, EdgeKind};

/// How the rows of an epoch are taken.
pub enum Take {
    /// In the least open epoch, as they arrive.
    AsTheyArrive,
    /// When the epoch is complete, one side after the other, each sorted.
    CompleteAndSorted(Vec<Sorting>),
}

impl Take {
    /// The rows of an epoch, or as much of it as is there, in the order in which they are taken, and their sides.
    pub fn in_order(&self, rows: Vec<(usize, Rows)>) -> Result<Vec<(usize, Rows)>> {
        let Take::CompleteAndSorted(sortings) = self else { return Ok(rows) };
        let mut sides: Vec<Vec<Rows>> = sortings.iter().map(|_| Vec::new()).collect();
        rows.into_iter().for_each(|(side, rows)| sides[side].push(rows));
        let mut all = Vec::new();
        for (side, (rows, sorting)) in sides.into_iter().zip(sortings).enumerate() {
            all.extend(sort(rows, sorting)?.into_iter().map(|rows| (side, rows)));
        }
        Ok(all)
    }
}

/// How the rows of an epoch are sorted: by source, then by `seq`, or first in order of event time where the source is.
#[derive(Clone)]
pub struct Sorting {
    seq: Option<usize>,
    order: Option<usize>,
    by_time: Arc<[u16]>,
}

impl Sorting {
    /// For rows of `edge`. The rows of the sources `by_time` are in order of event time.
    pub fn of(edge: &Edge, by_time: &Arc<[u16]>) -> Self {
        // What changes rows comes in the order in which it was told, unless it is of rows that are known by their places.
        let seq = edge.position(SEQ);
        let is_sorted = edge.kind == EdgeKind::Append || seq.is_some_and(|seq| edge.row_key == [seq]);
        let position = |name: &str| edge.position(name).filter(|_| is_sorted);
        Sorting { seq: position(SEQ), order: position(ORDER), by_time: Arc::clone(by_time) }
    }

    /// The columns of the order of event time, where rows of `source` are in it, and of `seq`.
    fn columns(&self, source: u16) -> (Option<usize>, Option<usize>) {
        (self.order.filter(|_| self.by_time.contains(&source)), self.seq)
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
        // What stands at one place stays as it came.
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

/// Rows and marks that wait for their epoch, each of a side.
pub struct Epochs<C = Capability<Epoch>> {
    /// How rows are taken.
    pub take: Take,
    waiting: BTreeMap<Epoch, Waiting<C>>,
}

struct Waiting<C> {
    capability: C,
    rows: Vec<(usize, Rows)>,
    marks: Vec<(usize, Mark)>,
}

/// What can be taken now.
pub struct Ready<C = Capability<Epoch>> {
    /// To send in its epoch.
    pub capability: C,
    /// Rows and their sides, as they have come.
    pub rows: Vec<(usize, Rows)>,
    /// Marks and their sides.
    pub marks: Vec<(usize, Mark)>,
    /// Whether nothing more comes in this epoch.
    pub complete: bool,
}

impl<C: Clone> Epochs<C> {
    /// None yet.
    pub fn new(take: Take) -> Self {
        Epochs { take, waiting: BTreeMap::new() }
    }

    /// Something has come on a side.
    pub fn push(&mut self, side: usize, epoch: Epoch, capability: impl FnOnce() -> C, body: Body) {
        let waiting = self.waiting.entry(epoch);
        let waiting =
            waiting.or_insert_with(|| Waiting { capability: capability(), rows: Vec::new(), marks: Vec::new() });
        match body {
            Body::Empty => {}
            Body::Rows(rows) => waiting.rows.push((side, rows)),
            Body::Mark(mark) => waiting.marks.push((side, mark)),
        }
    }

    /// The least epoch that waits.
    pub fn least(&self) -> Option<Epoch> {
        self.waiting.first_key_value().map(|(epoch, _)| *epoch)
    }

    /// The oldest epoch of which rows wait.
    pub fn oldest(&self) -> Option<Epoch> {
        self.waiting.iter().find(|(_, waiting)| !waiting.rows.is_empty()).map(|(epoch, _)| *epoch)
    }

    /// The next epoch, in order, of which something can be taken. `earlier` tells whether an earlier epoch may
    /// still bring something, `open` whether this or an earlier one may.
    pub fn next(&mut self, earlier: impl Fn(&Epoch) -> bool, open: impl Fn(&Epoch) -> bool) -> Option<Ready<C>> {
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

    fn seqs<'r>(rows: impl IntoIterator<Item = &'r Rows>) -> Vec<(u16, i64)> {
        let of = |rows: &Rows| {
            let source = rows.source;
            let values = rows.data.column(0).as_primitive::<Int64Type>().values().to_vec();
            values.into_iter().map(move |seq| (source, seq))
        };
        rows.into_iter().flat_map(of).collect()
    }

    fn of_one_side(ready: &Ready<u64>) -> Vec<(u16, i64)> {
        seqs(ready.rows.iter().map(|(_, rows)| rows))
    }

    #[test]
    fn rows_of_the_least_open_epoch_are_taken_as_they_arrive_and_later_ones_wait() {
        let mut epochs: Epochs<u64> = Epochs::new(Take::AsTheyArrive);
        epochs.push(0, 10, || 10, Body::Rows(rows(0, &[1])));
        epochs.push(0, 20, || 20, Body::Rows(rows(0, &[2])));
        epochs.push(0, 10, || 10, Body::Rows(rows(0, &[3])));
        let open_from = |least: u64| (move |epoch: &u64| least < *epoch, move |epoch: &u64| least <= *epoch);
        let (earlier, open) = open_from(5);
        assert!(epochs.next(earlier, open).is_none());
        let (earlier, open) = open_from(10);
        let ready = epochs.next(earlier, open).expect("epoch 10 is the least open one");
        assert_eq!((of_one_side(&ready), ready.complete), (vec![(0, 1), (0, 3)], false));
        assert!(epochs.next(earlier, open).is_none());
        let (earlier, open) = open_from(20);
        assert!(epochs.next(earlier, open).expect("10 is complete").complete);
        assert_eq!(of_one_side(&epochs.next(earlier, open).expect("20 is open")), vec![(0, 2)]);
    }

    #[test]
    fn a_held_epoch_is_sorted_by_source_and_seq() {
        let mixed = vec![rows(1, &[5, 6]), rows(0, &[7, 9]), rows(0, &[1, 8])];
        let sorting = Sorting { seq: Some(0), order: None, by_time: Arc::new([]) };
        let sorted = sort(mixed, &sorting).expect("sorts");
        assert_eq!(seqs(&sorted), vec![(0, 1), (0, 7), (0, 8), (0, 9), (1, 5), (1, 6)]);
    }

    #[test]
    fn of_two_sides_the_left_one_comes_first() {
        let sorting = Sorting { seq: Some(0), order: None, by_time: Arc::new([]) };
        let take = Take::CompleteAndSorted(vec![sorting.clone(), sorting]);
        let mixed = vec![(1, rows(0, &[2])), (0, rows(3, &[9])), (1, rows(0, &[1])), (0, rows(2, &[4]))];
        let sorted = take.in_order(mixed).expect("sorts");
        let sides: Vec<usize> = sorted.iter().map(|(side, _)| *side).collect();
        assert_eq!(sides, [0, 0, 1]);
        assert_eq!(seqs(sorted.iter().map(|(_, rows)| rows)), vec![(2, 4), (3, 9), (0, 1), (0, 2)]);
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
