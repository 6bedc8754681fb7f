//! Which offsets are durable: those read before the epochs that still wait for a sink.

use std::collections::VecDeque;

use crate::batch::Epoch;
use crate::runtime::epochs;

/// Follows the positions of a reader until they are durable.
pub struct Durable {
    /// The clock when positions were reached, and these positions; one for each epoch.
    reached: VecDeque<(Epoch, Vec<i64>)>,
    settled: Option<Vec<i64>>,
    fresh: bool,
    clock: Epoch,
    epoch: u64,
}

impl Durable {
    /// Nothing is durable yet; `epoch` is in microseconds.
    pub fn new(epoch: u64) -> Self {
        Durable { reached: VecDeque::new(), settled: None, fresh: false, clock: 0, epoch }
    }

    /// These positions are reached now.
    pub fn note(&mut self, positions: impl Iterator<Item = i64>) {
        // The epoch of the rows was named by an earlier look at the clock, which never goes back.
        self.clock = self.clock.max(epochs::now());
        match self.reached.back_mut() {
            Some((clock, reached)) if *clock / self.epoch == self.clock / self.epoch => {
                *clock = self.clock;
                reached.clear();
                reached.extend(positions);
            }
            _ => self.reached.push_back((self.clock, positions.collect())),
        }
    }

    /// All of the epochs before `frontier` is durable.
    pub fn settle(&mut self, frontier: Epoch) {
        self.clock = self.clock.max(epochs::now());
        while self.reached.front().is_some_and(|(clock, _)| *clock < frontier) {
            if let Some((_, positions)) = self.reached.pop_front() {
                self.settled = Some(positions);
                self.fresh = true;
            }
        }
    }

    /// All that was read is durable.
    pub fn all(&mut self, positions: impl Iterator<Item = i64>) {
        self.settled = Some(positions.collect());
    }

    /// Durable positions that were not committed yet.
    pub fn fresh(&self) -> Option<&[i64]> {
        self.settled().filter(|_| self.fresh)
    }

    /// Durable positions.
    pub fn settled(&self) -> Option<&[i64]> {
        self.settled.as_deref()
    }

    /// What was fresh is committed.
    pub fn committed(&mut self) {
        self.fresh = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_durable_when_the_frontier_has_passed_the_moment_they_were_reached() {
        let mut durable = Durable::new(1);
        let before = epochs::now();
        durable.note([7, 8].into_iter());
        durable.settle(before);
        assert_eq!(durable.fresh(), None);
        durable.settle(Epoch::MAX);
        assert_eq!(durable.fresh(), Some(&[7, 8][..]));
        durable.committed();
        assert_eq!((durable.fresh(), durable.settled()), (None, Some(&[7, 8][..])));
    }
}
