//! The running join of two collections.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use arrow::row::{RowConverter, SortField};

use super::collection::{Collection, Id, Kept, State, WHOLE};
use super::columns::whole_key;
use super::latest::{LatestPlan, SidePlan};
use super::pairs::{Change, changes};
use crate::aggregates::Place;
use crate::batch::Rows;
use crate::error::{Error, Result};
use crate::keys::{KeyIds, KeyReader};
use crate::operators::changes::Changes;
use crate::operators::{BuildContext, LEFT, Operator, Output, RIGHT, StateKind};
use crate::sources::lanes::Lanes;
use crate::spec::{DELETE, surviving};
use crate::state::Draft;

/// So many rows are sent at a time: one row may have many partners.
const ROWS: usize = 8192;

/// The join of all keys of one worker.
pub struct Latest {
    plan: Arc<LatestPlan>,
    node: u16,
    lanes: Arc<Lanes>,
    readers: [Reader; 2],
    ids: KeyIds,
    sides: [Collection; 2],
    changes: Changes,
    /// The columns of a right row that is not there.
    nothing: Rc<[u8]>,
}

/// How the rows of a side are read.
struct Reader {
    keys: KeyReader,
    ids: KeyReader,
    columns: RowConverter,
}

impl Reader {
    fn new(plan: &SidePlan) -> Result<Self> {
        let kinds = plan.kept.schema().fields().iter().map(|field| SortField::new(field.data_type().clone()));
        Ok(Reader {
            keys: KeyReader::new(&plan.schema, &plan.on)?,
            ids: KeyReader::new(&plan.schema, &plan.id)?,
            columns: RowConverter::new(kinds.collect())?,
        })
    }

    fn decode<'c>(&self, rows: impl Iterator<Item = &'c [u8]>) -> Result<Vec<ArrayRef>> {
        let parser = self.columns.parser();
        Ok(self.columns.convert_rows(rows.map(|row| parser.parse(row)))?)
    }
}

impl Latest {
    /// Nothing yet.
    pub fn new(plan: &Arc<LatestPlan>, context: &BuildContext) -> Result<Self> {
        let readers = [Reader::new(&plan.sides[LEFT])?, Reader::new(&plan.sides[RIGHT])?];
        let kept = plan.sides[RIGHT].kept.schema().fields().iter();
        let nulls: Vec<ArrayRef> = kept.map(|field| new_null_array(field.data_type(), 1)).collect();
        let nothing = readers[RIGHT].columns.convert_columns(&nulls)?.row(0).as_ref().into();
        Ok(Latest {
            plan: Arc::clone(plan),
            node: context.node,
            lanes: Arc::clone(&context.lanes),
            readers,
            ids: KeyIds::default(),
            sides: Default::default(),
            changes: Changes::default(),
            nothing,
        })
    }
}

impl Operator for Latest {
    fn rows(&mut self, rows: Rows, out: &mut Output) -> Result<()> {
        self.take(LEFT, rows, out)
    }

    fn right(&mut self, rows: Rows, out: &mut Output) -> Result<()> {
        self.take(RIGHT, rows, out)
    }

    fn end_of_epoch(&mut self, out: &mut Output) -> Result<()> {
        let changed: BTreeSet<u32> = self.sides.iter().flat_map(Collection::changed).collect();
        let mut changed: Vec<u32> = changed.into_iter().collect();
        // An order that does not depend on which key came first.
        changed.sort_by_key(|key| self.ids.key(*key));
        let mut pairs = Vec::new();
        for key in &changed {
            let mut told = Ok(());
            changes(&self.sides, *key, self.plan.outer, |change| {
                pairs.push(change);
                if pairs.len() == ROWS && told.is_ok() {
                    told = self.tell(std::mem::take(&mut pairs), out);
                }
            });
            told?;
        }
        self.tell(pairs, out)?;
        self.sides.iter_mut().for_each(Collection::settle);
        for key in changed {
            if self.sides.iter().all(|side| side.rows(key).is_empty()) {
                self.changes.forget(&mut self.ids, key);
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.ids.heap_bytes() + self.sides.iter().map(Collection::heap_bytes).sum::<usize>()
    }

    fn state(&self) -> StateKind {
        StateKind { name: self.plan.state.clone(), version: 1 }
    }

    fn begin_snapshot(&mut self, full: bool) {
        self.changes.begin(&self.ids, full);
    }

    fn snapshot(&mut self, keys: usize) -> Result<Option<Draft>> {
        let sides = &self.sides;
        Ok(self.changes.tell(&self.ids, keys, |key, value| write(sides, key, value)))
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let State([left, right]) =
            postcard::from_bytes(value).map_err(|error| Error::run(format!("not the rows of a key: {error}")))?;
        let key = self.changes.put_back(&mut self.ids, key);
        for (side, rows) in self.sides.iter_mut().zip([left, right]) {
            side.reach(self.ids.len());
            side.put_back(key, rows);
        }
        Ok(())
    }
}

fn write(sides: &[Collection; 2], key: u32, out: &mut Vec<u8>) {
    let state = State([LEFT, RIGHT].map(|side| sides[side].written(key)));
    // Memory can be written: this does not fail.
    if let Ok(whole) = postcard::to_extend(&state, std::mem::take(out)) {
        *out = whole;
    }
}

impl Latest {
    fn take(&mut self, side: usize, rows: Rows, out: &mut Output) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let of = &plan.sides[side];
        let keep = |data: &RecordBatch| of.kept.apply(data);
        let Some((data, kept)) = surviving(rows.data, &mut out.refused, keep)? else { return Ok(()) };
        let keys = self.number_keys(side, &data)?;
        let columns = self.readers[side].columns.convert_columns(kept.columns())?;
        let (ids, places) = (self.known_by(side, &data)?, self.places(of, &data, rows.source));
        let ops = of.op.map(|at| data.column(at).as_string::<i32>());
        for (row, id) in ids.into_iter().enumerate() {
            // What belongs to nothing is nobody's partner.
            if side == RIGHT && id.first() != Some(&WHOLE) {
                continue;
            }
            match ops.map(|ops| ops.value(row)) {
                Some(DELETE) => self.sides[side].remove(keys[row], id),
                _ => {
                    let kept = Kept { place: places[row], columns: columns.row(row).as_ref().into() };
                    self.sides[side].put(keys[row], id, kept);
                }
            }
        }
        Ok(())
    }

    fn number_keys(&mut self, side: usize, data: &RecordBatch) -> Result<Vec<u32>> {
        let (ids, mut keys) = (&mut self.ids, Vec::with_capacity(data.num_rows()));
        self.readers[side].keys.for_each(data, |_, key| keys.push(ids.id(key)))?;
        self.sides.iter_mut().for_each(|side| side.reach(ids.len()));
        let sides = &self.sides;
        self.changes.touch(ids, &keys, |key, value| write(sides, key, value));
        Ok(keys)
    }

    fn known_by(&self, side: usize, data: &RecordBatch) -> Result<Vec<Id>> {
        let mut ids = Vec::with_capacity(data.num_rows());
        let is_whole = whole_key(data, &self.plan.sides[side].on);
        let id = |row: usize, id: &[u8]| [&[if is_whole(row) { WHOLE } else { WHOLE + 1 }], id].concat().into();
        self.readers[side].ids.for_each(data, |row, bytes| ids.push(id(row, bytes)))?;
        Ok(ids)
    }

    /// Where appended rows stand; changes follow one another.
    fn places(&self, of: &SidePlan, data: &RecordBatch, source: u16) -> Vec<Place> {
        let times = of.time.map(|at| data.column(at).as_primitive::<TimestampNanosecondType>().values());
        let seqs = of.seq.map(|at| data.column(at).as_primitive::<Int64Type>().values());
        let place = |row: usize| Place {
            time: times.map_or(0, |times| times[row]),
            source: if seqs.is_some() { source } else { 0 },
            at: seqs.map_or(0, |seqs| self.lanes.partition_first(source, seqs[row])),
        };
        (0..data.num_rows()).map(place).collect()
    }

    fn tell(&self, pairs: Vec<Change>, out: &mut Output) -> Result<()> {
        if pairs.is_empty() {
            return Ok(());
        }
        let plan = &self.plan;
        let left = self.readers[LEFT].decode(pairs.iter().map(|(_, left, _)| left.as_ref()))?;
        let right = pairs.iter().map(|(_, _, right)| right.as_ref().unwrap_or(&self.nothing).as_ref());
        let right = self.readers[RIGHT].decode(right)?;
        let ops = Arc::new(StringArray::from_iter_values(pairs.iter().map(|(op, ..)| op))) as ArrayRef;
        let (left, left_hidden) = left.split_at(plan.visible[LEFT]);
        let (right, right_hidden) = right.split_at(plan.visible[RIGHT]);
        let visible = left.iter().chain(right).chain([&ops]);
        let columns = visible.chain(left_hidden).chain(right_hidden).cloned().collect();
        let data = RecordBatch::try_new(Arc::clone(&plan.output), columns)?;
        out.rows.push(Rows { data, source: self.node });
        Ok(())
    }
}
