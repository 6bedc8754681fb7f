//! The running operator: finds the groups of each row, aggregates column by column, and tells of groups when their time
//! has come.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;

use super::choose::Chosen;
use super::groups::{Group, Groups};
use super::held::Held;
use super::{LATE, Late, WindowPlan};
use crate::aggregates::Entries;
use crate::batch::Rows;
use crate::error::Result;
use crate::keys::{KeyIds, KeyReader};
use crate::operators::changes::Changes;
use crate::operators::kept::Kept;
use crate::operators::places::Places;
use crate::operators::{BuildContext, Operator, Output, StateKind};
use crate::spec::{Refused, surviving};
use crate::state::Draft;

/// The windows of all keys of one worker.
pub struct Window {
    pub(super) plan: Arc<WindowPlan>,
    /// Whose rows these are: the position of the node in the plan.
    pub(super) node: u16,
    pub(super) keys: KeyReader,
    pub(super) ids: KeyIds,
    pub(super) places: Places,
    pub(super) row_ids: Vec<u32>,
    pub(super) changes: Changes,
    pub(super) held: Held,
    /// Groups that have changed in this epoch and may have to be told of.
    pub(super) changed: Vec<u32>,
    /// Groups whose first row came when their end had passed.
    pub(super) filled_late: Vec<u32>,
    /// The watermark.
    pub(super) passed: i64,
}

impl Window {
    /// Nothing yet.
    pub fn new(plan: &Arc<WindowPlan>, context: &BuildContext) -> Result<Self> {
        let calls = plan.formulas.calls.iter().chain(plan.carried.iter().flatten());
        let kinds: Vec<_> = calls.clone().flat_map(|call| call.argument_types().to_vec()).collect();
        Ok(Window {
            node: context.node,
            keys: KeyReader::new(&plan.input.schema, &plan.input.key)?,
            ids: KeyIds::default(),
            places: Places::new(&plan.input, &context.lanes),
            row_ids: Vec::new(),
            changes: Changes::default(),
            held: Held {
                groups: Groups::default(),
                arguments: calls.clone().map(|call| call.argument_types().len()).collect(),
                accumulators: calls.map(|call| call.build()).collect(),
                kept: plan.input_op.map(|_| Kept::new(&kinds)).transpose()?,
            },
            changed: Vec::new(),
            filled_late: Vec::new(),
            passed: i64::MIN,
            plan: Arc::clone(plan),
        })
    }
}

impl Operator for Window {
    fn rows(&mut self, rows: Rows, out: &mut Output) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let calls = || plan.formulas.calls.iter().chain(plan.carried.iter().flatten());
        let evaluate = |data: &RecordBatch| calls().map(|call| call.evaluate(data)).collect::<Result<Vec<_>>>();
        let Some((data, arguments)) = surviving(rows.data, &mut out.refused, evaluate)? else { return Ok(()) };
        self.number_keys(&data)?;
        let places = self.places(&data, rows.source);
        let mut entries = Chosen::default();
        match plan.input_op {
            None => self.choose(&data, 0..data.num_rows(), &mut entries),
            Some(_) => self.change(&data, &places, &arguments, &mut entries)?,
        }
        let of = Entries { rows: &entries.rows, slots: &entries.slots, places: &places };
        for (accumulator, arguments) in self.held.accumulators.iter_mut().zip(&arguments) {
            accumulator.update(of, arguments);
        }
        out.outside += entries.outside;
        for row in entries.not_covered {
            let reason = "the calendar of the window does not cover its year".to_string();
            out.refused.push(Refused { row, data: data.slice(row, 1), reason });
        }
        if !entries.late.is_empty() {
            out.late += entries.late.len() as u64 - entries.late_changes;
            if plan.late == Late::SideOutput {
                let late = take_record_batch(&data, &UInt32Array::from(entries.late))?;
                out.further.push((LATE, Rows { data: late, source: rows.source }));
            }
        }
        Ok(())
    }

    fn watermark(&mut self, time: i64, out: &mut Output) -> Result<i64> {
        self.passed = time;
        let mut told = Vec::new();
        while let Some(slot) = self.held.groups.next_ended(time) {
            self.touch(slot);
            self.held.groups.at_mut(slot).closed = true;
            if self.is_behind_all(slot) {
                self.forget(slot);
                continue;
            }
            self.go_on_behind(slot);
            told.push(slot);
        }
        let groups = &self.held.groups;
        let is_known = |slot: &u32| groups.at(*slot).told && !groups.at(*slot).changed;
        let new: Vec<u32> = told.iter().copied().filter(|slot| !is_known(slot)).collect();
        self.tell(&new, out)?;
        for slot in told {
            let end = self.held.groups.at(slot).end;
            let reach = end.saturating_add(self.plan.reach);
            self.held.groups.leaves_at(slot, reach);
        }
        Ok(self.handed_on(time))
    }

    fn end_of_epoch(&mut self, out: &mut Output) -> Result<()> {
        for slot in std::mem::take(&mut self.filled_late) {
            self.fill_behind(slot);
        }
        let mut changed = std::mem::take(&mut self.changed);
        let filled: Vec<u32> = changed.iter().flat_map(|slot| self.carry_behind(*slot)).collect();
        changed.extend(filled);
        changed.sort_unstable();
        changed.dedup();
        let groups = &self.held.groups;
        let is_due = |group: &Group| group.used && group.changed && (group.closed || self.plan.updates);
        changed.retain(|slot| is_due(groups.at(*slot)));
        self.tell(&changed, out)?;
        for slot in self.held.groups.leaving(self.passed) {
            self.touch(slot);
            self.forget(slot);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.ids.heap_bytes() + self.held.heap_bytes()
    }

    fn state(&self) -> StateKind {
        let WindowPlan { formulas, intervals, .. } = self.plan.as_ref();
        let rows = if self.plan.input_op.is_some() { ", of changes" } else { "" };
        StateKind { name: format!("window {intervals}: {}{rows}", formulas.texts.join("; ")), version: 1 }
    }

    fn begin_snapshot(&mut self, full: bool) {
        self.changes.begin(&self.ids, full);
    }

    fn snapshot(&mut self, keys: usize) -> Result<Option<Draft>> {
        let held = &self.held;
        Ok(self.changes.tell(&self.ids, keys, |id, value| held.write(id, value)))
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let key = self.changes.put_back(&mut self.ids, key);
        self.held.read(key, value, self.plan.reach)
    }
}

impl Window {
    /// The key of a group is about to change.
    fn touch(&mut self, slot: u32) {
        let held = &self.held;
        let key = held.groups.at(slot).key;
        self.changes.touch(&self.ids, &[key], |id, value| held.write(id, value));
    }

    fn forget(&mut self, slot: u32) {
        let Group { key, end, used, .. } = *self.held.groups.at(slot);
        if !used {
            return;
        }
        self.held.groups.remove(slot);
        if let Some(kept) = &mut self.held.kept {
            let first = self.held.groups.of_key(key).first().map(|slot| self.held.groups.at(*slot).start);
            kept.forget(key, first.map_or(end, |first| first.min(end)));
        }
        if self.held.is_empty(key) {
            self.changes.forget(&mut self.ids, key);
        }
    }

    /// Up to where no group begins any more that is told of for the first time.
    fn handed_on(&self, time: i64) -> i64 {
        if time == i64::MAX {
            return time;
        }
        let from = self.plan.intervals.open_from(time);
        let grows = self.plan.intervals.gap().is_some();
        self.held.groups.first_open().filter(|_| grows).map_or(from, |first| first.min(from))
    }
}
