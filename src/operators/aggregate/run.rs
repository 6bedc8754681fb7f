//! The running operator: rows come to their groups and leave them again.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;

use super::AggregatePlan;
use super::held::{Group, Held};
use crate::aggregates::{Entries, Place};
use crate::batch::Rows;
use crate::error::{Error, Result};
use crate::keys::{KeyIds, KeyReader};
use crate::memory::Heap;
use crate::operators::changes::Changes;
use crate::operators::kept::{Kept, Row};
use crate::operators::places::Places;
use crate::operators::{BuildContext, Operator, Output, StateKind};
use crate::spec::{DELETE, surviving};
use crate::state::Draft;

/// The groups of one worker.
pub struct Aggregating {
    pub(super) plan: Arc<AggregatePlan>,
    /// Whose rows these are: the position of the node in the plan.
    pub(super) node: u16,
    pub(super) keys: KeyReader,
    pub(super) ids: KeyIds,
    pub(super) held: Held,
    pub(super) changed: Vec<u32>,
    changes: Changes,
    places: Places,
    /// What a row is known by, where rows are kept.
    identify: KeyReader,
    row_ids: Vec<u32>,
    /// When the first row of a group leaves it, and which group.
    leaving: BTreeSet<(i64, u32)>,
    /// The watermark.
    passed: i64,
}

/// The rows of a batch, by what becomes of them.
#[derive(Default)]
struct Chosen {
    rows: Vec<u32>,
    slots: Vec<u32>,
}

impl Aggregating {
    /// Nothing yet.
    pub fn new(plan: &Arc<AggregatePlan>, context: &BuildContext) -> Result<Self> {
        let kinds: Vec<_> = plan.formulas.calls.iter().flat_map(|call| call.argument_types().to_vec()).collect();
        if plan.is_reversible() && !plan.formulas.calls.iter().all(|call| call.is_reversible()) {
            return Err(Error::run(
                "rows cannot be taken back from all of these aggregates: this is a bug of tapeflow",
            ));
        }
        Ok(Aggregating {
            node: context.node,
            keys: KeyReader::new(&plan.input.schema, &plan.input.key)?,
            ids: KeyIds::default(),
            held: Held {
                groups: Vec::new(),
                accumulators: plan.formulas.calls.iter().map(|call| call.build()).collect(),
                kept: plan.over.map(|_| Kept::new(&kinds)).transpose()?,
            },
            changed: Vec::new(),
            changes: Changes::default(),
            places: Places::new(&plan.input, &context.lanes),
            identify: KeyReader::new(&plan.input.schema, &plan.input.row_key)?,
            row_ids: Vec::new(),
            leaving: BTreeSet::new(),
            passed: i64::MIN,
            plan: Arc::clone(plan),
        })
    }
}

impl Operator for Aggregating {
    fn rows(&mut self, rows: Rows, out: &mut Output) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let evaluate =
            |data: &RecordBatch| plan.formulas.calls.iter().map(|call| call.evaluate(data)).collect::<Result<Vec<_>>>();
        let Some((data, arguments)) = surviving(rows.data, &mut out.refused, evaluate)? else { return Ok(()) };
        self.number_groups(&data)?;
        let by_place = plan.by_place || plan.over.is_some();
        let places = if by_place { self.places.of(&data, rows.source) } else { Vec::new() };
        let (mut come, mut go) = (Chosen::default(), Chosen::default());
        self.choose(&data, &mut come, &mut go);
        if self.held.kept.is_some() {
            self.keep(&data, rows.source, &arguments, (&mut come, &mut go), out)?;
        }
        self.count(&data, &come, &go);
        for (accumulator, arguments) in self.held.accumulators.iter_mut().zip(&arguments) {
            accumulator.update(Entries { rows: &come.rows, slots: &come.slots, places: &places }, arguments);
            if !go.rows.is_empty() {
                accumulator.take_back(Entries { rows: &go.rows, slots: &go.slots, places: &places }, arguments);
            }
        }
        Ok(())
    }

    fn watermark(&mut self, time: i64, _out: &mut Output) -> Result<i64> {
        // What stands at the end of all rows stays.
        if time < i64::MAX {
            self.passed = time;
            self.let_leave()?;
        }
        Ok(time)
    }

    fn end_of_epoch(&mut self, out: &mut Output) -> Result<()> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        self.settle(&changed);
        self.tell(changed, out)
    }

    fn bytes(&self) -> usize {
        self.ids.heap_bytes() + self.held.heap_bytes() + self.leaving.heap_bytes()
    }

    fn state(&self) -> StateKind {
        let AggregatePlan { formulas, over, input, .. } = self.plan.as_ref();
        let name = |at: &usize| input.schema.field(*at).name().as_str();
        let by: Vec<&str> = input.key.iter().map(name).collect();
        let over = over.map_or("all time".to_string(), |over| format!("{over} ns"));
        let kind = if self.plan.is_reversible() { "aggregate of changes" } else { "aggregate" };
        StateKind {
            name: format!("{kind} by {} over {over}: {}", by.join(", "), formulas.texts.join("; ")),
            version: 1,
        }
    }

    fn begin_snapshot(&mut self, full: bool) {
        self.changes.begin(&self.ids, full);
    }

    fn snapshot(&mut self, keys: usize) -> Result<Option<Draft>> {
        let held = &self.held;
        Ok(self.changes.tell(&self.ids, keys, |id, value| held.write(id, value)))
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let slot = self.changes.put_back(&mut self.ids, key);
        self.held.grow(self.ids.len());
        self.held.read(slot, value)?;
        self.leaves(slot);
        Ok(())
    }
}

impl Aggregating {
    /// Nothing is known any more of a group, which was touched.
    pub(super) fn forget(&mut self, slot: u32) {
        self.held.clear(slot);
        self.changes.forget(&mut self.ids, slot);
    }

    /// Numbers the groups of rows, which are about to change.
    fn number_groups(&mut self, data: &RecordBatch) -> Result<()> {
        let (ids, row_ids) = (&mut self.ids, &mut self.row_ids);
        row_ids.clear();
        self.keys.for_each(data, |_, key| row_ids.push(ids.id(key)))?;
        self.held.grow(ids.len());
        let held = &self.held;
        self.changes.touch(ids, row_ids, |id, value| held.write(id, value));
        Ok(())
    }

    /// Which rows come, and which are taken back.
    fn choose(&self, data: &RecordBatch, come: &mut Chosen, go: &mut Chosen) {
        let ops = self.plan.op.map(|at| data.column(at).as_string::<i32>());
        for (row, slot) in self.row_ids.iter().enumerate() {
            let goes = ops.is_some_and(|ops| ops.value(row) == DELETE);
            let chosen = if goes { &mut *go } else { &mut *come };
            chosen.rows.push(row as u32);
            chosen.slots.push(*slot);
        }
    }

    /// Keeps the rows that come, until they leave; those that are too old already do not come, and those that have left
    /// cannot be taken back.
    fn keep(
        &mut self,
        data: &RecordBatch,
        source: u16,
        arguments: &[Vec<ArrayRef>],
        (come, go): (&mut Chosen, &mut Chosen),
        out: &mut Output,
    ) -> Result<()> {
        let (Some(kept), Some(over)) = (&mut self.held.kept, self.plan.over) else { return Ok(()) };
        let flat: Vec<ArrayRef> = arguments.iter().flatten().cloned().collect();
        let values = kept.encode(&flat)?;
        let places = self.places.of(data, source);
        let gone = self.passed.saturating_sub(over);
        let mut names: Vec<Vec<u8>> = Vec::with_capacity(data.num_rows());
        self.identify.for_each(data, |_, name| names.push([&source.to_le_bytes(), name].concat()))?;
        let mut late = 0;
        let ops = self.plan.op.map(|at| data.column(at).as_string::<i32>());
        let mut stays = vec![false; data.num_rows()];
        for (row, slot) in self.row_ids.iter().enumerate() {
            let Place { time, .. } = places[row];
            stays[row] = if ops.is_some_and(|ops| ops.value(row) == DELETE) {
                kept.take(*slot, time, &names[row]).is_some()
            } else if time <= gone {
                late += 1;
                false
            } else {
                let first = kept.first(*slot);
                let values = values.row(row).as_ref().into();
                let kept_row = Row { place: places[row], revision: 0, come: i64::MIN, values };
                let is_new = kept.put(*slot, time, &names[row], kept_row).is_none();
                if first.is_none_or(|first| time < first) {
                    first.map(|first| self.leaving.remove(&(first, *slot)));
                    self.leaving.insert((time, *slot));
                }
                is_new
            };
        }
        out.late += late;
        come.retain(&stays);
        go.retain(&stays);
        Ok(())
    }

    /// Counts the rows of groups, and notes which have changed.
    fn count(&mut self, data: &RecordBatch, come: &Chosen, go: &Chosen) {
        let revisions = self.plan.revision.map(|at| data.column(at).as_primitive::<Int64Type>().values());
        for (row, slot) in come.each() {
            let group = &mut self.held.groups[slot as usize];
            group.rows = group.rows.wrapping_add(1);
            group.corrections += revisions.map_or(0, |revisions| revisions[row].max(0) as u64);
        }
        for (_, slot) in go.each() {
            let group = &mut self.held.groups[slot as usize];
            group.rows = group.rows.wrapping_sub(1);
            group.corrections += 1;
        }
        come.each().chain(go.each()).for_each(|(_, slot)| self.note(slot));
    }

    /// A group has changed.
    fn note(&mut self, slot: u32) {
        if !std::mem::replace(&mut self.held.groups[slot as usize].changed, true) {
            self.changed.push(slot);
        }
    }

    /// Rows leave that are older than the span.
    fn let_leave(&mut self) -> Result<()> {
        let Some(over) = self.plan.over else { return Ok(()) };
        let gone = self.passed.saturating_sub(over);
        while let Some((first, slot)) = self.leaving.first().copied().filter(|(first, _)| *first <= gone) {
            self.leaving.remove(&(first, slot));
            let held = &self.held;
            self.changes.touch(&self.ids, &[slot], |id, value| held.write(id, value));
            let Some(kept) = &mut self.held.kept else { return Ok(()) };
            let (places, arguments, _) = kept.within(slot, (i64::MIN, gone + 1), i64::MAX)?;
            kept.forget(slot, gone + 1);
            let rows: Vec<u32> = (0..places.len() as u32).collect();
            let slots = vec![slot; places.len()];
            let mut arguments = arguments.as_slice();
            for (accumulator, call) in self.held.accumulators.iter_mut().zip(&self.plan.formulas.calls) {
                let (own, rest) = arguments.split_at(call.argument_types().len());
                accumulator.take_back(Entries { rows: &rows, slots: &slots, places: &places }, own);
                arguments = rest;
            }
            self.held.groups[slot as usize].rows -= places.len() as u64;
            self.note(slot);
            self.leaves(slot);
        }
        Ok(())
    }

    /// Notes when the first row of a group leaves.
    fn leaves(&mut self, slot: u32) {
        if let Some(first) = self.held.kept.as_ref().and_then(|kept| kept.first(slot)) {
            self.leaving.insert((first, slot));
        }
    }

    /// Lets the aggregates of groups forget what cannot be taken back any more, not too often.
    fn settle(&mut self, slots: &[u32]) {
        let reach = self.plan.input.reach;
        let time = self.passed.saturating_sub(reach);
        if self.plan.op.is_none() || self.plan.over.is_some() {
            return;
        }
        for slot in slots {
            let Group { settled, .. } = &mut self.held.groups[*slot as usize];
            if time.saturating_sub(*settled) > reach / 8 {
                *settled = time;
                self.held.accumulators.iter_mut().for_each(|accumulator| accumulator.settle(*slot, time));
            }
        }
    }
}

impl Chosen {
    fn each(&self) -> impl Iterator<Item = (usize, u32)> + use<'_> {
        self.rows.iter().map(|row| *row as usize).zip(self.slots.iter().copied())
    }

    /// Leaves out the rows that do not stay.
    fn retain(&mut self, stays: &[bool]) {
        let entries = std::mem::take(&mut self.rows).into_iter().zip(std::mem::take(&mut self.slots));
        (self.rows, self.slots) = entries.filter(|(row, _)| stays[*row as usize]).unzip();
    }
}
