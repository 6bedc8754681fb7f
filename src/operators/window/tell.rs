//! Groups become rows: what they are known by, what their formulas come to, and how often they were corrected.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
    TimestampNanosecondArray, new_null_array,
};
use arrow::compute::cast;
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use xxhash_rust::xxh3::xxh3_64;

use super::WindowPlan;
use super::groups::Group;
use super::run::Window;
use crate::aggregates::Empty;
use crate::batch::Rows;
use crate::error::Result;
use crate::operators::Output;
use crate::operators::formulas::finite;
use crate::sources::{ORDER, SEQ, TIME};
use crate::spec::{DELETE, INSERT, OP, REPLACE, REVISION, Refused, surviving};

/// The column that says whether an interval had no rows of its own.
pub const IS_FILLED: &str = "is_filled";
/// The columns of an interval.
pub const START: &str = "start";
pub const END: &str = "end";
/// The day of the session of an exchange that an interval belongs to.
const SESSION_DATE: &str = "session_date";

/// The columns behind those of the user: visible ones first. Where rows are only ever appended they have a place among
/// those of their node: the end of the interval, then the key.
pub fn further_columns(changes: bool, fills: bool) -> (Vec<Field>, Vec<Field>) {
    let instant = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let mut visible = Vec::new();
    visible.extend(fills.then(|| Field::new(IS_FILLED, DataType::Boolean, false)));
    let mut hidden = vec![Field::new(TIME, instant.clone(), false)];
    if changes {
        visible.push(Field::new(REVISION, DataType::Int64, false));
        visible.push(Field::new(OP, DataType::Utf8, false));
    } else {
        hidden.extend([Field::new(ORDER, instant, false), Field::new(SEQ, DataType::Int64, false)]);
    }
    (visible, hidden)
}

/// `start` and `end`, and the day of the session of an exchange.
pub fn interval_columns(of_exchange: bool) -> Vec<Field> {
    let instant = DataType::Timestamp(TimeUnit::Millisecond, None);
    let mut fields = vec![Field::new(START, instant.clone(), false), Field::new(END, instant, false)];
    fields.extend(of_exchange.then(|| Field::new(SESSION_DATE, DataType::Date32, true)));
    fields
}

/// A column of ms of these instants.
fn milliseconds(times: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from_iter_values(times.map(|time| time.div_euclid(1_000_000))))
}

/// The rows of groups before their formulas are evaluated: key, interval, aggregates, and what comes behind.
pub fn schema_of_groups(groups: &SchemaRef, changes: bool, fills: bool) -> SchemaRef {
    let (visible, hidden) = further_columns(changes, fills);
    let fields = groups.fields().iter().map(|field| field.as_ref().clone()).chain(visible).chain(hidden);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

impl Window {
    /// Tells of groups, in the order of their ends and keys.
    pub(super) fn tell(&mut self, slots: &[u32], out: &mut Output) -> Result<()> {
        let mut slots = slots.to_vec();
        slots.retain(|slot| self.is_told(*slot));
        let order = |slot: &u32| {
            let group = self.held.groups.at(*slot);
            (group.end, self.rank(group.key), group.start)
        };
        slots.sort_by_cached_key(order);
        for slot in &slots {
            self.held.groups.at_mut(*slot).changed = false;
        }
        let slots = self.without_overflows(slots, out)?;
        if slots.is_empty() {
            return Ok(());
        }
        let plan = Arc::clone(&self.plan);
        let data = self.rows_of(&slots)?;
        let formulas = |data: &RecordBatch| {
            plan.formulas
                .columns
                .iter()
                .map(|(_, scalar)| Ok(finite(scalar.evaluate(data)?)))
                .collect::<Result<Vec<_>>>()
        };
        let before = out.refused.len();
        if let Some((data, columns)) = surviving(data, &mut out.refused, formulas)? {
            out.rows.push(Rows { data: assemble(&plan, &data, columns)?, source: self.node });
        }
        // Nobody has seen what was refused.
        let refused = |at: &usize| out.refused[before..].iter().any(|refused| refused.row == *at);
        let told: Vec<u32> = (0..slots.len()).filter(|at| !refused(at)).map(|at| slots[at]).collect();
        self.told(&told);
        Ok(())
    }

    /// Whether there is something to tell: not of an interval that never had a row. One that has none left is deleted also
    /// where it was not told here: before a restart epochs may have ended in between, and somebody may have seen it.
    fn is_told(&self, slot: u32) -> bool {
        let group = self.held.groups.at(slot);
        group.rows > 0 || group.told || self.plan.fill.is_some() || self.plan.input_op.is_some()
    }

    /// An order of keys that does not depend on who came first.
    fn rank(&self, key: u32) -> i64 {
        (xxh3_64(self.ids.key(key)) >> 1) as i64
    }

    fn told(&mut self, slots: &[u32]) {
        for slot in slots {
            let group = self.held.groups.at_mut(*slot);
            // One that was taken back as a whole is gone: another row makes a new one.
            group.told = group.rows > 0 || self.plan.fill.is_some();
        }
    }

    /// Leaves out, and refuses, groups of which a result does not fit its type.
    fn without_overflows(&self, slots: Vec<u32>, out: &mut Output) -> Result<Vec<u32>> {
        let formulas = &self.plan.formulas;
        formulas.fitting(&self.held.accumulators, slots, |slot, reason| {
            let columns = self.given(&[self.held.groups.at(slot)])?;
            let fields = formulas.schema.fields()[..self.plan.given].to_vec();
            let data = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
            out.refused.push(Refused { row: 0, data, reason });
            Ok(())
        })
    }

    /// What groups are known by.
    fn given(&self, groups: &[&Group]) -> Result<Vec<ArrayRef>> {
        let mut columns = self.keys.columns(groups.iter().map(|group| self.ids.key(group.key)))?;
        columns.push(milliseconds(groups.iter().map(|group| group.start)));
        columns.push(milliseconds(groups.iter().map(|group| group.end)));
        if self.plan.of_exchange {
            let dates = groups.iter().map(|group| self.plan.intervals.date(group.start));
            columns.push(Arc::new(dates.collect::<Date32Array>()));
        }
        Ok(columns)
    }

    fn rows_of(&self, slots: &[u32]) -> Result<RecordBatch> {
        let groups: Vec<&Group> = slots.iter().map(|slot| self.held.groups.at(*slot)).collect();
        let mut columns = self.given(&groups)?;
        columns.extend(self.results(slots, &groups)?);
        if self.plan.fill.is_some() {
            columns.push(Arc::new(groups.iter().map(|group| Some(group.rows == 0)).collect::<BooleanArray>()));
        }
        let starts = || groups.iter().map(|group| group.start);
        if self.plan.changes {
            let revisions = groups.iter().map(|group| (group.corrections + group.corrected) as i64);
            columns.push(Arc::new(Int64Array::from_iter_values(revisions)));
            columns.push(Arc::new(StringArray::from_iter_values(groups.iter().map(|group| self.op(group)))));
            columns.push(Arc::new(TimestampNanosecondArray::from_iter_values(starts())));
        } else {
            columns.push(Arc::new(TimestampNanosecondArray::from_iter_values(starts())));
            let last = groups.iter().map(|group| group.end.saturating_sub(1));
            columns.push(Arc::new(TimestampNanosecondArray::from_iter_values(last)));
            columns.push(Arc::new(Int64Array::from_iter_values(groups.iter().map(|group| self.rank(group.key)))));
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.plan.rows), columns)?)
    }

    fn op(&self, group: &Group) -> &'static str {
        match (group.rows, group.told) {
            (0, _) if self.plan.fill.is_none() => DELETE,
            (_, true) => REPLACE,
            (_, false) => INSERT,
        }
    }

    /// What the aggregates come to; in intervals without rows what is carried on.
    fn results(&self, slots: &[u32], groups: &[&Group]) -> Result<Vec<ArrayRef>> {
        let empty: BooleanArray = groups.iter().map(|group| Some(group.rows == 0)).collect();
        let any_empty = self.plan.fill.is_some() && empty.true_count() > 0;
        let mut carried = self.plan.formulas.calls.len();
        let mut all = Vec::new();
        for (at, call) in self.plan.formulas.calls.iter().enumerate() {
            let overflow = |_| crate::error::Error::run("a result does not fit its type");
            let own = self.held.accumulators[at].results(slots).map_err(overflow)?;
            let is_carried = self.plan.carried[at].is_some();
            let column = match call.empty {
                _ if !any_empty => own,
                Empty::Last if is_carried => {
                    let last = self.held.accumulators[carried].results(slots).map_err(overflow)?;
                    zip(&empty, &cast(&last, call.output())?, &own)?
                }
                Empty::Zero if self.plan.carries => {
                    let zero = cast(&(Arc::new(Int64Array::from(vec![0; slots.len()])) as ArrayRef), call.output())?;
                    zip(&empty, &zero, &own)?
                }
                _ => zip(&empty, &new_null_array(call.output(), slots.len()), &own)?,
            };
            carried += usize::from(is_carried);
            all.push(column);
        }
        Ok(all)
    }
}

/// The rows as they leave: key and interval, the columns of the user, and what comes behind.
fn assemble(plan: &WindowPlan, data: &RecordBatch, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let behind = plan.formulas.schema.fields().len();
    let given = data.columns()[..plan.given].iter().cloned();
    let all = given.chain(columns).chain(data.columns()[behind..].iter().cloned());
    Ok(RecordBatch::try_new(Arc::clone(&plan.output), all.collect())?)
}
