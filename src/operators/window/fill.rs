//! Intervals without rows, where they are told of, too.

use super::groups::Group;
use super::run::Window;

impl Window {
    /// Opens the interval behind one that has ended, where empty ones are told of, too.
    pub(super) fn go_on_behind(&mut self, slot: u32) {
        let is_last = self.held.groups.behind(slot).is_none();
        // Behind the last row of all nothing comes any more.
        if self.plan.fill.is_some() && !(is_last && self.passed == i64::MAX) {
            self.fill(slot, i64::MIN);
        }
    }

    /// Whether an empty interval waited for rows that will never come.
    pub(super) fn is_behind_all(&self, slot: u32) -> bool {
        self.passed == i64::MAX && self.held.groups.at(slot).rows == 0 && self.held.groups.behind(slot).is_none()
    }

    /// A group was opened behind time: the empty ones that belong behind it are not there yet.
    pub(super) fn fill_behind(&mut self, slot: u32) {
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
        if let Some(there) = self.held.groups.find(key, next) {
            let is_empty = self.held.groups.at(there).rows == 0;
            if is_empty {
                self.carry(slot, there);
            }
            return Some(there).filter(|_| is_empty);
        }
        if next.saturating_sub(self.held.groups.at(slot).last_end()) >= self.plan.fill? {
            return None;
        }
        let empty = self.open(key, next, end, end <= passed);
        self.carry(slot, empty);
        Some(empty)
    }

    /// Hands the last values of a group, and when they were, on to the one behind it.
    fn carry(&mut self, from: u32, to: u32) {
        self.held.groups.at_mut(to).empty_since = self.held.groups.at(from).last_end();
        let aggregates = self.plan.formulas.calls.len();
        for accumulator in &mut self.held.accumulators[aggregates..] {
            accumulator.copy(from, to);
        }
    }

    /// A group gets a row: what is behind it goes on from its own values only, whether it was there before or not.
    pub(super) fn carry_nothing(&mut self, slot: u32) {
        let aggregates = self.plan.formulas.calls.len();
        self.held.accumulators[aggregates..].iter_mut().for_each(|accumulator| accumulator.clear(slot));
    }

    /// The empty groups behind one that has changed go on from what it is now.
    pub(super) fn carry_behind(&mut self, slot: u32) -> Vec<u32> {
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
}
