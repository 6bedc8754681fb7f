//! The running operator: finds the groups of each row, aggregates column by column, and tells of groups when their time
//! has come.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Int64Type, TimestampNanosecondType};

use super::groups::{Group, Groups};
use super::intervals::Belongs;
use super::kept::Kept;
use super::{LATE, Late, WindowPlan};
use crate::aggregates::{Accumulator, Entries, Place};
use crate::batch::Rows;
use crate::error::Result;
use crate::keys::{KeyIds, KeyReader};
use crate::operators::changes::Changes;
use crate::operators::{BuildContext, Operator, Output, StateKind};
use crate::sources::lanes::Lanes;
use crate::spec::{DELETE, Refused, surviving};
use crate::state::{Draft, Reader, put_varint};

/// The windows of all keys of one worker.
pub struct Window {
    pub(super) plan: Arc<WindowPlan>,
    /// Whose rows these are: the position of the node in the plan.
    pub(super) node: u16,
    pub(super) keys: KeyReader,
    pub(super) ids: KeyIds,
    lanes: Arc<Lanes>,
    row_ids: Vec<u32>,
    changes: Changes,
    pub(super) held: Held,
    /// Groups that have changed in this epoch and may have to be told of.
    changed: Vec<u32>,
    /// Groups whose first row came when their end had passed.
    filled_late: Vec<u32>,
    /// The watermark.
    passed: i64,
}

/// What is part of a checkpoint.
pub struct Held {
    pub groups: Groups,
    /// Of the aggregates, then of the last values that are carried on.
    pub accumulators: Vec<Box<dyn Accumulator>>,
    /// Set where rows may be replaced or taken back.
    pub kept: Option<Kept>,
    /// How many arguments each aggregate has.
    arguments: Vec<usize>,
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
            lanes: Arc::clone(&context.lanes),
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
            out.late += entries.late.len() as u64;
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
        while let Some(slot) = self.held.groups.close_next(time) {
            self.touch(slot);
            if self.is_behind_all(slot) {
                self.forget(slot);
                continue;
            }
            self.go_on_behind(slot);
            told.push(slot);
        }
        self.tell(&told, out)?;
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

    fn state(&self) -> StateKind {
        let WindowPlan { formulas, intervals, .. } = self.plan.as_ref();
        StateKind { name: format!("window {intervals:?} {}", formulas.texts.join("; ")), version: 1 }
    }

    fn begin_snapshot(&mut self, full: bool) {
        self.changes.begin(&self.ids, full);
    }

    fn snapshot(&mut self, keys: usize) -> Result<Option<Draft>> {
        let held = &self.held;
        Ok(self.changes.tell(&self.ids, keys, |id, value| held.write(id, value)))
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let key = self.ids.id(key);
        self.held.read(key, value, self.plan.reach)
    }
}

/// Which rows go where.
#[derive(Default)]
struct Chosen {
    rows: Vec<u32>,
    slots: Vec<u32>,
    /// Rows that came too late for every interval.
    late: Vec<u32>,
    /// How many came while the exchange was closed.
    outside: u64,
    /// Rows of years that the calendar does not cover.
    not_covered: Vec<usize>,
}

impl Window {
    fn number_keys(&mut self, data: &RecordBatch) -> Result<()> {
        let (ids, row_ids) = (&mut self.ids, &mut self.row_ids);
        row_ids.clear();
        row_ids.reserve(data.num_rows());
        self.keys.for_each(data, |_, key| row_ids.push(ids.id(key)))?;
        let held = &self.held;
        self.changes.touch(ids, row_ids, |id, value| held.write(id, value));
        Ok(())
    }

    /// The key of a group is about to change.
    fn touch(&mut self, slot: u32) {
        let held = &self.held;
        let key = held.groups.at(slot).key;
        self.changes.touch(&self.ids, &[key], |id, value| held.write(id, value));
    }

    fn times<'d>(&self, data: &'d RecordBatch) -> &'d [i64] {
        data.column(self.plan.time).as_primitive::<TimestampNanosecondType>().values()
    }

    /// Where rows stand among the others of their groups, if anybody asks.
    fn places(&self, data: &RecordBatch, source: u16) -> Vec<Place> {
        if !self.plan.by_place {
            return Vec::new();
        }
        let seqs = self.plan.seq.map(|at| data.column(at).as_primitive::<Int64Type>().values());
        let place = |(row, time): (usize, &i64)| {
            let at = seqs.map_or(0, |seqs| self.lanes.partition_first(source, seqs[row]));
            Place { time: *time, source, at }
        };
        self.times(data).iter().enumerate().map(place).collect()
    }

    /// Finds the groups of rows, and opens those that are not there.
    fn choose(&mut self, data: &RecordBatch, rows: impl Iterator<Item = usize>, chosen: &mut Chosen) {
        let plan = Arc::clone(&self.plan);
        let times = self.times(data);
        let order = plan.order.map(|at| data.column(at).as_primitive::<TimestampNanosecondType>().values());
        chosen.rows.reserve(data.num_rows());
        chosen.slots.reserve(data.num_rows());
        for row in rows {
            let (key, time) = (self.row_ids[row], times[row]);
            // How far event time had come: in the partition of the row, or here.
            let come = order.map_or(i64::MIN, |order| if order[row] > time { order[row] } else { i64::MIN });
            let come = come.max(self.passed);
            let before = chosen.rows.len();
            let belongs = match plan.intervals.gap() {
                Some(gap) => {
                    if let Some(slot) = self.session(key, time, gap, come, chosen) {
                        self.enter(row, slot, chosen);
                    }
                    Belongs::There
                }
                None => plan.intervals.of(time, |start, end| {
                    if let Some(slot) = self.group(key, start, end, come) {
                        self.enter(row, slot, chosen);
                    }
                }),
            };
            match belongs {
                Belongs::There if chosen.rows.len() == before => chosen.late.push(row as u32),
                Belongs::There => {}
                Belongs::Outside => chosen.outside += 1,
                Belongs::NotCovered => chosen.not_covered.push(row),
            }
        }
    }

    fn enter(&mut self, row: usize, slot: u32, chosen: &mut Chosen) {
        let group = self.held.groups.at_mut(slot);
        if group.rows == 0 && group.closed && self.plan.fill.is_some() {
            self.filled_late.push(slot);
        }
        group.rows += 1;
        if !group.changed && (group.closed || self.plan.updates) {
            self.changed.push(slot);
        }
        group.changed = true;
        chosen.rows.push(row as u32);
        chosen.slots.push(slot);
    }

    /// The group of a row, where event time has come to `come`; none where the row is too late for it.
    #[inline]
    fn group(&mut self, key: u32, start: i64, end: i64, come: i64) -> Option<u32> {
        let is_late = end <= come;
        if is_late && end.saturating_add(self.plan.reach) <= come {
            return None;
        }
        let slot = match self.held.groups.find(key, start) {
            Some(slot) => slot,
            None => self.open(key, start, end, end <= self.passed),
        };
        self.held.groups.at_mut(slot).corrections += u64::from(is_late);
        Some(slot)
    }

    fn open(&mut self, key: u32, start: i64, end: i64, closed: bool) -> u32 {
        let slot = self.held.groups.open(Group { key, start, end, closed, ..Group::default() });
        self.held.accumulators.iter_mut().for_each(|accumulator| accumulator.clear(slot));
        if closed {
            self.held.groups.leaves_at(slot, end.saturating_add(self.plan.reach));
        }
        slot
    }

    /// The session of a row: those that it touches become one.
    fn session(&mut self, key: u32, time: i64, gap: i64, come: i64, chosen: &mut Chosen) -> Option<u32> {
        let (mut start, mut end) = (time, time.saturating_add(gap));
        let groups = &self.held.groups;
        let is_there = |slot: &&u32| {
            let group = groups.at(**slot);
            group.start <= end && time <= group.end && group.end.saturating_add(self.plan.reach) > come
        };
        let touched: Vec<u32> = groups.of_key(key).iter().filter(is_there).copied().collect();
        // A row at the very end of a session begins the next one.
        let touched: Vec<u32> =
            touched.into_iter().filter(|slot| time < groups.at(*slot).end && groups.at(*slot).start < end).collect();
        for slot in &touched {
            (start, end) = (start.min(groups.at(*slot).start), end.max(groups.at(*slot).end));
        }
        let is_late = end <= come;
        if is_late && end.saturating_add(self.plan.reach) <= come {
            return None;
        }
        let slot = match touched.split_first() {
            None => self.open(key, start, end, end <= self.passed),
            Some((first, rest)) => {
                rest.iter().for_each(|other| self.merge(*first, *other, chosen));
                self.held.groups.extend(*first, start, end);
                *first
            }
        };
        self.held.groups.at_mut(slot).corrections += u64::from(is_late);
        Some(slot)
    }

    fn merge(&mut self, into: u32, from: u32, chosen: &mut Chosen) {
        // Rows of this batch that were to go there.
        chosen.slots.iter_mut().filter(|slot| **slot == from).for_each(|slot| *slot = into);
        let other = self.held.groups.at(from).clone();
        self.held.accumulators.iter_mut().for_each(|accumulator| accumulator.merge(into, from));
        self.held.groups.remove(from);
        let group = self.held.groups.at_mut(into);
        group.rows += other.rows;
        group.corrections += other.corrections;
        group.corrected += other.corrected;
    }

    /// Takes rows that insert, replace and delete. Those that only come in addition are chosen for groups; groups that lose
    /// something are computed anew.
    fn change(
        &mut self,
        data: &RecordBatch,
        places: &[Place],
        arguments: &[Vec<ArrayRef>],
        chosen: &mut Chosen,
    ) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let (Some(op), Some(kept)) = (plan.input_op, &mut self.held.kept) else { return Ok(()) };
        let ops = data.column(op).as_string::<i32>();
        let revisions = plan.input_revision.map(|at| data.column(at).as_primitive::<Int64Type>().values());
        let times = data.column(plan.time).as_primitive::<TimestampNanosecondType>().values();
        let flat: Vec<ArrayRef> = arguments.iter().flatten().cloned().collect();
        let values = kept.encode(&flat)?;
        let identify = KeyReader::new(&data.schema(), &plan.input.row_key)?;
        let (mut added, mut stale) = (Vec::new(), Vec::new());
        identify.for_each(data, |row, id| {
            let (key, time) = (self.row_ids[row], times[row]);
            let revision = revisions.map_or(0, |revisions| revisions[row].max(0) as u64);
            let place = places.get(row).copied().unwrap_or(Place { time, ..Place::default() });
            if ops.value(row) == DELETE {
                if kept.take(key, time, id).is_some() {
                    stale.push((key, time, revision));
                }
            } else if kept.put(key, time, id, place, revision, values.row(row).as_ref()).is_some() {
                stale.push((key, time, 0));
            } else {
                added.push((row, revision));
            }
        })?;
        for (row, revision) in added {
            let before = chosen.slots.len();
            self.choose(data, std::iter::once(row), chosen);
            for slot in &chosen.slots[before..] {
                self.held.groups.at_mut(*slot).corrected += revision;
            }
        }
        self.anew(&stale)
    }

    /// Computes the groups anew that hold these times of these keys, from the rows that are kept. With each comes how many
    /// corrections a row had seen that was taken back, and its own.
    fn anew(&mut self, stale: &[(u32, i64, u64)]) -> Result<()> {
        let mut groups = Vec::new();
        for (key, time, lost) in stale {
            self.plan.intervals.of(*time, |start, _| {
                if let Some(slot) = self.held.groups.find(*key, start) {
                    self.held.groups.at_mut(slot).corrections += lost;
                    groups.push(slot);
                }
            });
        }
        groups.sort_unstable();
        groups.dedup();
        for slot in groups {
            self.held.aggregate_anew(slot)?;
            let group = self.held.groups.at_mut(slot);
            if !std::mem::replace(&mut group.changed, true) {
                self.changed.push(slot);
            }
        }
        Ok(())
    }

    /// Opens the interval behind one that has ended, where empty ones are told of, too.
    fn go_on_behind(&mut self, slot: u32) {
        let is_last = self.held.groups.behind(slot).is_none();
        // Behind the last row of all nothing comes any more.
        if self.plan.fill.is_some() && !(is_last && self.passed == i64::MAX) {
            self.fill(slot, i64::MIN);
        }
    }

    /// Whether an empty interval waited for rows that will never come.
    fn is_behind_all(&self, slot: u32) -> bool {
        self.passed == i64::MAX && self.held.groups.at(slot).rows == 0 && self.held.groups.behind(slot).is_none()
    }

    /// A group was opened behind time: the empty ones that belong behind it are not there yet.
    fn fill_behind(&mut self, slot: u32) {
        let mut last = slot;
        while let Some(empty) = self.fill(last, self.passed) {
            self.held.groups.at_mut(empty).changed = true;
            self.changed.push(empty);
            if !self.held.groups.at(empty).closed {
                break;
            }
            last = empty;
        }
    }

    /// The empty interval behind a group, opened if it is not there, and closed if it ends by `passed`; none where there are
    /// rows, or for too long none were.
    fn fill(&mut self, slot: u32, passed: i64) -> Option<u32> {
        let Group { key, start, .. } = *self.held.groups.at(slot);
        let (next, end) = self.plan.intervals.next(start)?;
        let since = next.saturating_sub(self.held.last_with_rows(slot));
        if let Some(there) = self.held.groups.find(key, next) {
            return Some(there).filter(|there| self.held.groups.at(*there).rows == 0);
        }
        if since >= self.plan.fill? {
            return None;
        }
        let empty = self.open(key, next, end, end <= passed);
        self.carry(slot, empty);
        Some(empty)
    }

    /// Hands the last values of a group on to the one behind it.
    fn carry(&mut self, from: u32, to: u32) {
        let aggregates = self.plan.formulas.calls.len();
        for accumulator in &mut self.held.accumulators[aggregates..] {
            accumulator.copy(from, to);
        }
    }

    /// The empty groups behind one that has changed go on from what it is now.
    fn carry_behind(&mut self, slot: u32) -> Vec<u32> {
        let mut carried = Vec::new();
        if self.plan.fill.is_none() || !self.held.groups.at(slot).used {
            return carried;
        }
        let mut last = slot;
        while let Some(next) = self.held.groups.behind(last).filter(|next| self.held.groups.at(*next).rows == 0) {
            self.carry(last, next);
            self.held.groups.at_mut(next).changed = true;
            carried.push(next);
            last = next;
        }
        carried
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

impl Held {
    /// Computes a group anew from the rows that are kept.
    fn aggregate_anew(&mut self, slot: u32) -> Result<()> {
        let Some(kept) = &self.kept else { return Ok(()) };
        let Group { key, start, end, .. } = *self.groups.at(slot);
        let (places, arguments, corrected) = kept.within(key, start, end)?;
        let rows: Vec<u32> = (0..places.len() as u32).collect();
        let slots = vec![slot; places.len()];
        let mut arguments = arguments.as_slice();
        for (accumulator, count) in self.accumulators.iter_mut().zip(&self.arguments) {
            let (own, rest) = arguments.split_at(*count);
            accumulator.clear(slot);
            accumulator.update(Entries { rows: &rows, slots: &slots, places: &places }, own);
            arguments = rest;
        }
        let group = self.groups.at_mut(slot);
        (group.rows, group.corrected) = (places.len() as u64, corrected);
        Ok(())
    }

    /// Where the last interval of its key ended, up to this one, that had rows.
    fn last_with_rows(&self, slot: u32) -> i64 {
        let Group { key, start, .. } = *self.groups.at(slot);
        let before = self.groups.of_key(key).iter().rev().map(|slot| self.groups.at(*slot));
        let found = before.filter(|group| group.start <= start).find(|group| group.rows > 0);
        found.map_or(i64::MIN, |group| group.end)
    }

    fn write(&self, key: u32, out: &mut Vec<u8>) {
        if let Some(kept) = &self.kept {
            kept.write(key, out);
        }
        for slot in self.groups.of_key(key) {
            let group = self.groups.at(*slot);
            out.extend_from_slice(&group.start.to_le_bytes());
            out.extend_from_slice(&group.end.to_le_bytes());
            put_varint(out, group.rows);
            put_varint(out, group.corrections);
            put_varint(out, group.corrected);
            out.push(u8::from(group.closed) | u8::from(group.told) << 1);
            self.accumulators.iter().for_each(|accumulator| accumulator.write(*slot, out));
        }
    }

    fn read(&mut self, key: u32, mut value: &[u8], reach: i64) -> Result<()> {
        if let Some(kept) = &mut self.kept {
            value = kept.read(key, value)?;
        }
        while !value.is_empty() {
            let mut reader = Reader(value);
            let (start, end) = (reader.u64()? as i64, reader.u64()? as i64);
            let (rows, corrections, corrected) = (reader.varint()?, reader.varint()?, reader.varint()?);
            let flags = reader.u8()?;
            let (closed, told) = (flags & 1 != 0, flags & 2 != 0);
            let group = Group { key, start, end, rows, corrections, corrected, closed, told, ..Group::default() };
            let slot = self.groups.open(group);
            value = reader.0;
            for accumulator in &mut self.accumulators {
                value = accumulator.read(slot, value)?;
            }
            if closed {
                self.groups.leaves_at(slot, end.saturating_add(reach));
            }
        }
        Ok(())
    }
}
