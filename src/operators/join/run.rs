//! The running join by event time.

use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt16Array, new_null_array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, TimestampNanosecondType, UInt16Type};
use arrow::row::{RowConverter, SortField};

use super::as_of::{AsOfPlan, SidePlan};
use super::columns::whole_key;
use super::known::Known;
use crate::aggregates::Place;
use crate::batch::Rows;
use crate::error::{Error, Result};
use crate::keys::{KeyIds, KeyReader};
use crate::operators::changes::Changes;
use crate::operators::held::{Held, with_places};
use crate::operators::{BuildContext, LEFT, Operator, Output, RIGHT, StateKind};
use crate::sources::lanes::Lanes;
use crate::spec::surviving;
use crate::state::Draft;

/// Under these names the rows that wait are part of the state. No key begins like that.
const HELD: [&[u8]; 2] = [b"\xff left", b"\xff right"];

/// The join of all keys of one worker.
pub struct AsOf {
    plan: Arc<AsOfPlan>,
    /// Whose rows come out: the position of the node in the plan.
    node: u16,
    lanes: Arc<Lanes>,
    left: Held,
    right: Held,
    /// Up to where event time has come on each side.
    came: [i64; 2],
    keys: [KeyReader; 2],
    ids: KeyIds,
    known: Known,
    changes: Changes,
    columns: RowConverter,
    /// The columns of a right row that is not there.
    nothing: Rc<[u8]>,
    failed: Option<Error>,
}

/// Right rows that event time has passed, in order.
struct Passed<'d> {
    next: usize,
    keys: Vec<Option<u32>>,
    of: Places<'d>,
    columns: arrow::row::Rows,
}

/// Where the rows of a side stand.
struct Places<'d> {
    order: &'d [i64],
    times: &'d [i64],
    seqs: &'d [i64],
    sources: &'d [u16],
}

impl SidePlan {
    fn places<'d>(&self, data: &'d RecordBatch) -> Places<'d> {
        let times = |at: usize| data.column(at).as_primitive::<TimestampNanosecondType>().values();
        Places {
            order: times(self.order),
            times: times(self.time),
            seqs: data.column(self.seq).as_primitive::<Int64Type>().values(),
            sources: data.column(self.source).as_primitive::<UInt16Type>().values(),
        }
    }

    fn with_source(&self, data: &RecordBatch, source: u16) -> Result<RecordBatch> {
        let source = Arc::new(UInt16Array::from_value(source, data.num_rows())) as ArrayRef;
        let columns = data.columns().iter().cloned().chain([source]).collect();
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn keys(&self) -> Result<KeyReader> {
        Ok(KeyReader::new(&self.schema, &self.key)?)
    }

    fn held(&self) -> Result<Held> {
        Ok(Held::new(self.keys()?, vec![self.order, self.seq, self.source]))
    }

    /// Calls `each` with every row's position and key; a key with a null in it is none.
    fn for_each_key(
        &self,
        keys: &KeyReader,
        data: &RecordBatch,
        mut each: impl FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        let is_whole = whole_key(data, &self.key);
        Ok(keys.for_each(data, |row, key| each(row, Some(key).filter(|_| is_whole(row))))?)
    }
}

impl AsOf {
    /// Nothing yet.
    pub fn new(plan: &Arc<AsOfPlan>, context: &BuildContext) -> Result<Self> {
        let fields = &plan.projection.schema().fields()[..plan.count];
        let kinds = fields.iter().map(|field| field.data_type().clone());
        let columns = RowConverter::new(kinds.clone().map(SortField::new).collect())?;
        let nulls: Vec<ArrayRef> = kinds.map(|kind| new_null_array(&kind, 1)).collect();
        let nothing = columns.convert_columns(&nulls)?.row(0).as_ref().into();
        Ok(AsOf {
            node: context.node,
            lanes: Arc::clone(&context.lanes),
            left: plan.left.held()?,
            right: plan.right.held()?,
            came: [i64::MIN; 2],
            keys: [plan.left.keys()?, plan.right.keys()?],
            ids: KeyIds::default(),
            known: Known::new(plan.tolerance),
            changes: Changes::default(),
            columns,
            nothing,
            failed: None,
            plan: Arc::clone(plan),
        })
    }
}

impl Operator for AsOf {
    fn rows(&mut self, rows: Rows, _out: &mut Output) -> Result<()> {
        let of = &self.plan.left;
        let mut data = of.with_source(&rows.data, rows.source)?;
        if !self.lanes.shows_lateness(rows.source) {
            // What is told at its end is looked up where it begins.
            let times = of.places(&data).times.to_vec();
            data = with_places(&data, of.order, times)?;
        }
        self.left.hold(data, self.came[LEFT])
    }

    fn right(&mut self, rows: Rows, out: &mut Output) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let project = |data: &RecordBatch| plan.projection.apply(data);
        let Some((_, data)) = surviving(rows.data, &mut out.refused, project)? else { return Ok(()) };
        let data = plan.right.with_source(&data, rows.source)?;
        if self.lanes.shows_lateness(rows.source) {
            let Places { order, times, .. } = plan.right.places(&data);
            let is_late = |(order, time): &(&i64, &i64)| self.came[RIGHT].max(**order) > **time;
            out.late += order.iter().zip(times).filter(is_late).count() as u64;
        }
        self.right.hold(data, self.came[RIGHT])
    }

    fn side_passed(&mut self, side: usize, time: i64) {
        self.came[side] = time;
    }

    fn watermark(&mut self, time: i64, out: &mut Output) -> Result<i64> {
        let (left, right) = (self.left.passed(time)?, self.right.passed(time)?);
        let mut right = right.as_ref().map(|right| self.about_to_come(right)).transpose()?;
        if let Some(left) = left {
            let data = self.join(&left, right.as_mut())?;
            out.rows.push(Rows { data, source: self.node });
        }
        if let Some(right) = &mut right {
            self.learn(right, i64::MAX);
        }
        self.forget(time);
        Ok(time)
    }

    fn bytes(&self) -> usize {
        self.left.heap_bytes() + self.right.heap_bytes() + self.ids.heap_bytes() + self.known.heap_bytes()
    }

    fn state(&self) -> StateKind {
        StateKind { name: self.plan.state.clone(), version: 1 }
    }

    fn begin_snapshot(&mut self, full: bool) {
        self.changes.begin(&self.ids, full);
        let (left, right) = (&mut self.left, &mut self.right);
        let held = |draft: &mut Draft| left.tell(HELD[LEFT], draft).and_then(|()| right.tell(HELD[RIGHT], draft));
        self.failed = self.changes.add(held).err();
    }

    fn snapshot(&mut self, keys: usize) -> Result<Option<Draft>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let known = &self.known;
        Ok(self.changes.tell(&self.ids, keys, |key, value| known.write(key, value)))
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match HELD.iter().position(|name| *name == key) {
            Some(LEFT) => self.left.restore(value),
            Some(_) => self.right.restore(value),
            None => {
                let key = self.changes.put_back(&mut self.ids, key);
                self.known.reach(self.ids.len());
                self.known.read(key, value)
            }
        }
    }
}

impl AsOf {
    /// Right rows that event time has passed.
    fn about_to_come<'d>(&mut self, data: &'d RecordBatch) -> Result<Passed<'d>> {
        let (plan, ids) = (Arc::clone(&self.plan), &mut self.ids);
        let mut keys = Vec::with_capacity(data.num_rows());
        plan.right.for_each_key(&self.keys[RIGHT], data, |_, key| keys.push(key.map(|key| ids.id(key))))?;
        self.known.reach(ids.len());
        let changed: Vec<u32> = keys.iter().flatten().copied().collect();
        let known = &self.known;
        self.changes.touch(ids, &changed, |key, value| known.write(key, value));
        let columns = self.columns.convert_columns(&data.columns()[..plan.count])?;
        Ok(Passed { next: 0, keys, of: plan.right.places(data), columns })
    }

    /// Takes the right rows up to `place`.
    fn learn(&mut self, right: &mut Passed<'_>, place: i64) {
        let Passed { next, keys, of, columns } = right;
        while let Some(now) = of.order.get(*next).copied().filter(|now| *now <= place) {
            let place = Place { time: of.times[*next], source: of.sources[*next], at: of.seqs[*next] };
            if let Some(key) = keys[*next] {
                self.known.learn(key, place, columns.row(*next).as_ref(), now);
            }
            *next += 1;
        }
    }

    /// Left rows that event time has passed, in order, with what they find.
    fn join(&mut self, left: &RecordBatch, mut right: Option<&mut Passed<'_>>) -> Result<RecordBatch> {
        let plan = Arc::clone(&self.plan);
        let of = plan.left.places(left);
        let mut keys = Vec::with_capacity(left.num_rows());
        let ids = &self.ids;
        plan.left.for_each_key(&self.keys[LEFT], left, |_, key| keys.push(key.and_then(|key| ids.known(key))))?;
        let mut found = Vec::with_capacity(left.num_rows());
        for (row, key) in keys.into_iter().enumerate() {
            if let Some(right) = right.as_deref_mut() {
                self.learn(right, of.order[row]);
            }
            found.push(key.and_then(|key| self.known.find(key, of.times[row], of.order[row])));
        }
        let data = self.beside(left, &found)?;
        if plan.outer {
            return Ok(data);
        }
        let is_found: BooleanArray = found.iter().map(|row| Some(row.is_some())).collect();
        Ok(filter_record_batch(&data, &is_found)?)
    }

    /// Left rows and, behind their visible columns, those of the right rows.
    fn beside(&self, left: &RecordBatch, found: &[Option<Rc<[u8]>>]) -> Result<RecordBatch> {
        let plan = &self.plan;
        let parser = self.columns.parser();
        let rows = found.iter().map(|row| parser.parse(row.as_ref().unwrap_or(&self.nothing)));
        let right = self.columns.convert_rows(rows)?;
        let (visible, hidden) = left.columns()[..plan.left.source].split_at(plan.visible);
        let columns = visible.iter().cloned().chain(right).chain(hidden.iter().cloned()).collect();
        Ok(RecordBatch::try_new(Arc::clone(&plan.output), columns)?)
    }

    /// Forgets what nobody finds any more, also of keys that have no rows any more.
    fn forget(&mut self, now: i64) {
        let outdated = self.known.outdated(now);
        let known = &self.known;
        self.changes.touch(&self.ids, &outdated, |key, value| known.write(key, value));
        self.known.forget(&outdated, now);
        for key in outdated.into_iter().filter(|key| self.known.is_empty(*key)) {
            self.changes.forget(&mut self.ids, key);
        }
    }
}
