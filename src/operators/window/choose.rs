//! Which groups rows go to.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampNanosecondType;

use super::groups::Group;
use super::intervals::Belongs;
use super::run::Window;
use crate::aggregates::Place;
use crate::error::Result;

/// Which rows go where.
#[derive(Default)]
pub struct Chosen {
    pub rows: Vec<u32>,
    pub slots: Vec<u32>,
    /// Rows that came too late for every interval,
    pub late: Vec<u32>,
    /// and how many of them take back or correct one that came before.
    pub late_changes: u64,
    /// How many came while the exchange was closed.
    pub outside: u64,
    /// Rows of years that the calendar does not cover.
    pub not_covered: Vec<usize>,
}

impl Chosen {
    /// Leaves out what was to go to these groups, which are sorted.
    pub fn leave_out(&mut self, groups: &[u32]) {
        let stays = |(_, slot): &(u32, u32)| groups.binary_search(slot).is_err();
        let entries = std::mem::take(&mut self.rows).into_iter().zip(std::mem::take(&mut self.slots));
        (self.rows, self.slots) = entries.filter(stays).unzip();
    }
}

impl Window {
    /// Numbers the keys of rows, which are about to change.
    pub(super) fn number_keys(&mut self, data: &RecordBatch) -> Result<()> {
        let (ids, row_ids) = (&mut self.ids, &mut self.row_ids);
        row_ids.clear();
        row_ids.reserve(data.num_rows());
        self.keys.for_each(data, |_, key| row_ids.push(ids.id(key)))?;
        let held = &self.held;
        self.changes.touch(ids, row_ids, |id, value| held.write(id, value));
        Ok(())
    }

    pub(super) fn times<'d>(&self, data: &'d RecordBatch) -> &'d [i64] {
        data.column(self.plan.time).as_primitive::<TimestampNanosecondType>().values()
    }

    /// Where rows stand among the others of their groups, if anybody asks.
    pub(super) fn places(&self, data: &RecordBatch, source: u16) -> Vec<Place> {
        if self.plan.by_place { self.places.of(data, source) } else { Vec::new() }
    }

    /// Finds the groups of rows, and opens those that are not there.
    pub(super) fn choose(&mut self, data: &RecordBatch, rows: impl Iterator<Item = usize>, chosen: &mut Chosen) {
        let plan = Arc::clone(&self.plan);
        let times = self.times(data);
        let order = plan.order.map(|at| data.column(at).as_primitive::<TimestampNanosecondType>().values());
        chosen.rows.reserve(data.num_rows());
        chosen.slots.reserve(data.num_rows());
        for row in rows {
            let (key, time) = (self.row_ids[row], times[row]);
            let come = self.come(order.map(|order| order[row]), time);
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

    /// How far event time had come when a row of `time` came: in its partition, or here. What takes the place of another row
    /// may come at any time: its place alone tells when the other one came.
    pub(super) fn come(&self, place: Option<i64>, time: i64) -> i64 {
        let told = place.map_or(i64::MIN, |place| if place > time { place } else { i64::MIN });
        if self.plan.input_op.is_some() && place.is_some() { told } else { told.max(self.passed) }
    }

    fn enter(&mut self, row: usize, slot: u32, chosen: &mut Chosen) {
        if self.held.groups.at(slot).rows == 0 {
            self.carry_nothing(slot);
        }
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
        if is_late && end.saturating_add(self.plan.revises) <= come {
            return None;
        }
        let slot = match self.held.groups.find(key, start) {
            Some(slot) => slot,
            None => self.open(key, start, end, end <= self.passed),
        };
        self.held.groups.at_mut(slot).corrections += u64::from(is_late);
        Some(slot)
    }

    pub(super) fn open(&mut self, key: u32, start: i64, end: i64, closed: bool) -> u32 {
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
        // A row at the very end of a session begins the next one, and those that have ended are not touched any more.
        let touches = |group: &Group| time < group.end && group.start < end && group.end > come;
        let touched: Vec<u32> = groups.of_key(key).iter().filter(|slot| touches(groups.at(**slot))).copied().collect();
        for slot in &touched {
            (start, end) = (start.min(groups.at(*slot).start), end.max(groups.at(*slot).end));
        }
        let is_late = end <= come;
        if is_late && end.saturating_add(self.plan.revises) <= come {
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
}
