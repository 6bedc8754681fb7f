//! Rows that insert, replace and delete: what they add goes to groups like other rows, and groups that lose something are
//! computed anew.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};

use super::choose::Chosen;
use super::groups::Group;
use super::intervals::Belongs;

use super::run::Window;
use crate::aggregates::Place;
use crate::error::Result;
use crate::keys::KeyReader;
use crate::operators::kept::Row;
use crate::spec::DELETE;

/// How far event time had come when a row came, and whether that was too late for all its intervals.
#[derive(Clone, Copy)]
struct Came {
    come: i64,
    too_late: bool,
}

impl Default for Came {
    fn default() -> Self {
        Came { come: i64::MIN, too_late: false }
    }
}

/// A row that comes in addition.
struct Added {
    row: usize,
    /// How many corrections it has seen.
    revision: u64,
    /// Whether it takes the place of one that was taken back right before.
    again: bool,
}

impl Added {
    /// Counts a correction of its group, unless that was done when the row before it was taken back.
    fn count(&self, group: &mut Group, come: i64) {
        let counted = u64::from(group.end <= come);
        match (self.revision > 0, self.again) {
            (true, true) => group.corrections -= counted,
            (true, false) => group.corrections += 1 - counted,
            (false, _) => {}
        }
    }
}

impl Window {
    /// Takes rows that insert, replace and delete. Those that only come in addition are chosen for groups; groups that lose
    /// something are computed anew.
    pub(super) fn change(
        &mut self,
        data: &RecordBatch,
        places: &[Place],
        arguments: &[Vec<ArrayRef>],
        chosen: &mut Chosen,
    ) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let came = self.came(data);
        let (Some(op), Some(kept)) = (plan.input_op, &mut self.held.kept) else { return Ok(()) };
        let ops = data.column(op).as_string::<i32>();
        let revisions = plan.input_revision.map(|at| data.column(at).as_primitive::<Int64Type>().values());
        let times = data.column(plan.time).as_primitive::<TimestampNanosecondType>().values();
        let flat: Vec<ArrayRef> = arguments.iter().flatten().cloned().collect();
        let values = kept.encode(&flat)?;
        let identify = KeyReader::new(&data.schema(), &plan.input.row_key)?;
        let (mut added, mut stale) = (Vec::new(), Vec::new());
        let mut taken = None;
        identify.for_each(data, |row, id| {
            let (key, time) = (self.row_ids[row], times[row]);
            let revision = revisions.map_or(0, |revisions| revisions[row].max(0) as u64);
            let is_delete = ops.value(row) == DELETE;
            let before = taken.take();
            if is_delete && kept.take(key, time, id).is_some() {
                stale.push((key, time, if plan.input.retracts { 1 } else { revision }));
                taken = Some((key, Box::<[u8]>::from(id)));
            } else if came[row].too_late {
                chosen.late.push(row as u32);
                chosen.late_changes += u64::from(is_delete || revision > 0);
            } else if !is_delete {
                let place = places.get(row).copied().unwrap_or(Place { time, ..Place::default() });
                let corrected = if plan.input.retracts { 0 } else { revision };
                let values = values.row(row).as_ref().into();
                let again = before.is_some_and(|(other, was)| other == key && was.as_ref() == id);
                match kept.put(key, time, id, Row { place, revision: corrected, come: came[row].come, values }) {
                    Some(_) => stale.push((key, time, 0)),
                    None => added.push(Added { row, revision, again }),
                }
            }
        })?;
        for row in added {
            let before = chosen.slots.len();
            self.choose(data, std::iter::once(row.row), chosen);
            for slot in &chosen.slots[before..] {
                let group = self.held.groups.at_mut(*slot);
                match plan.input.retracts {
                    true => row.count(group, came[row.row].come),
                    false => group.corrected += row.revision,
                }
            }
        }
        // They hold the rows that were added, too.
        let anew = self.anew(&stale)?;
        chosen.leave_out(&anew);
        Ok(())
    }

    /// When changes that say where they stand came.
    fn came(&self, data: &RecordBatch) -> Vec<Came> {
        let times = self.times(data);
        let Some(order) = self.plan.order else { return vec![Came::default(); times.len()] };
        let order = data.column(order).as_primitive::<TimestampNanosecondType>().values();
        let came = |(time, place): (&i64, &i64)| {
            let come = self.come(Some(*place), *time);
            Came { come, too_late: self.is_too_late(*time, come) }
        };
        times.iter().zip(order).map(came).collect()
    }

    /// Computes the groups anew that hold these times of these keys, from the rows that are kept. With each comes how many
    /// corrections a row had seen that was taken back, and its own. Returns the groups, sorted.
    fn anew(&mut self, stale: &[(u32, i64, u64)]) -> Result<Vec<u32>> {
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
        for slot in &groups {
            self.held.aggregate_anew(*slot, self.plan.revises)?;
            let group = self.held.groups.at_mut(*slot);
            if !std::mem::replace(&mut group.changed, true) {
                self.changed.push(*slot);
            }
        }
        Ok(groups)
    }

    /// Whether a row of `time` comes too late for all its intervals, where event time has come to `come`.
    fn is_too_late(&self, time: i64, come: i64) -> bool {
        let mut is_late = true;
        let revises = self.plan.revises;
        let belongs = self.plan.intervals.of(time, |_, end| is_late &= end.saturating_add(revises) <= come);
        is_late && matches!(belongs, Belongs::There)
    }
}
