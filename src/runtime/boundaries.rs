//! How far the sources of a job may go, and at which epochs its state is kept.
//!
//! No source opens an epoch at or behind the *horizon*. A leader moves it ahead of time, on all workers, by commands
//! that all take in the same order. A move may make the old horizon the *boundary* of a checkpoint: nobody has passed
//! it, so that everybody acts on it before anything of a later epoch.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::batch::Epoch;

/// Boundaries that are remembered: a checkpoint begins when the one before it is complete.
const KNOWN: usize = 4;

/// Where a checkpoint stands: between the epochs before `epoch` and this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// The number of the checkpoint: rising, from 1.
    pub number: u64,
    /// The first epoch that it does not hold.
    pub epoch: Epoch,
    /// Whether it holds all state, and not only what has changed.
    pub full: bool,
}

/// Moves the horizon; decided by the leader and taken by every process, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Rising: the workers of a process all take a move, and it counts once.
    pub turn: u64,
    /// The new horizon.
    pub until: Epoch,
    /// The old horizon becomes the boundary of this checkpoint.
    pub checkpoint: Option<u64>,
    /// Which holds all state.
    pub full: bool,
    /// Nothing is read behind that boundary: the job is asked to end there.
    pub last: bool,
    /// The horizon stays for now, and sources come up to it and wait: what is decided there holds for all that follows.
    pub holds: bool,
}

/// The horizon and the boundaries of one job in one process.
pub struct Boundaries {
    horizon: AtomicU64,
    /// The last epoch that a source may come to: the one before the horizon or, while it is held, the horizon.
    reach: AtomicU64,
    /// From where on a source asks for more.
    soft: AtomicU64,
    wanted: AtomicU64,
    /// The number of the newest boundary: what is looked at in every turn.
    newest: AtomicU64,
    /// The number of the newest checkpoint that is complete.
    complete: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    turn: u64,
    list: VecDeque<Boundary>,
    last: Option<Boundary>,
}

impl Boundaries {
    /// No horizon, and no checkpoints.
    pub fn none() -> Self {
        Boundaries::up_to(Epoch::MAX, 0)
    }

    /// A first horizon, after checkpoint `number`.
    pub fn up_to(horizon: Epoch, number: u64) -> Self {
        Boundaries {
            horizon: AtomicU64::new(horizon),
            reach: AtomicU64::new(horizon - 1),
            soft: AtomicU64::new(horizon),
            wanted: AtomicU64::new(0),
            newest: AtomicU64::new(number),
            complete: AtomicU64::new(number),
            known: Mutex::default(),
        }
    }

    /// Whether there are checkpoints.
    pub fn any(&self) -> bool {
        self.horizon() != Epoch::MAX
    }

    /// The first epoch that may not be opened.
    pub fn horizon(&self) -> Epoch {
        self.horizon.load(Ordering::Acquire)
    }

    /// The last epoch that a source may come to. It opens none at the horizon, also where it may come there.
    pub fn reach(&self) -> Epoch {
        self.reach.load(Ordering::Acquire)
    }

    /// Takes a move.
    pub fn take(&self, step: Move) {
        let mut known = self.known();
        if step.turn <= known.turn {
            return;
        }
        known.turn = step.turn;
        let horizon = self.horizon();
        if let Some(number) = step.checkpoint {
            let boundary = Boundary { number, epoch: horizon, full: step.full };
            known.list.push_back(boundary);
            if known.list.len() > KNOWN {
                known.list.pop_front();
            }
            known.last = step.last.then_some(boundary);
            // Whoever sees the new horizon sees the boundary before it.
            self.newest.store(number, Ordering::Release);
        }
        self.soft.store(horizon + step.until.saturating_sub(horizon) / 2, Ordering::Release);
        self.horizon.fetch_max(step.until, Ordering::AcqRel);
        // Behind the horizon: who may come further sees the boundary that lies there, and the new horizon.
        self.reach.fetch_max(if step.holds { horizon } else { step.until - 1 }, Ordering::AcqRel);
    }

    /// A source is about to open `epoch`; whether it may.
    pub fn may_open(&self, epoch: Epoch) -> bool {
        if epoch >= self.soft.load(Ordering::Acquire) {
            self.wanted.fetch_max(epoch, Ordering::AcqRel);
        }
        epoch < self.horizon()
    }

    /// The greatest epoch that a source here wants to open and that is far on, or behind the horizon.
    pub fn wanted(&self) -> Option<Epoch> {
        let wanted = self.wanted.load(Ordering::Acquire);
        (wanted >= self.soft.load(Ordering::Acquire)).then_some(wanted)
    }

    /// A source of another process wants to open `epoch`.
    pub fn want(&self, epoch: Epoch) {
        self.wanted.fetch_max(epoch, Ordering::AcqRel);
    }

    /// The first boundary behind that of checkpoint `number`.
    pub fn after(&self, number: u64) -> Option<Boundary> {
        if self.newest.load(Ordering::Acquire) <= number {
            return None;
        }
        self.known().list.iter().copied().find(|boundary| boundary.number > number)
    }

    /// The boundary at which the job ends, once that is decided.
    pub fn last(&self) -> Option<Boundary> {
        self.known().last
    }

    /// Checkpoint `number` is complete.
    pub fn completed(&self, number: u64) {
        self.complete.fetch_max(number, Ordering::AcqRel);
    }

    /// The newest complete checkpoint.
    pub fn complete(&self) -> u64 {
        self.complete.load(Ordering::Acquire)
    }

    /// Whether no checkpoint is to come any more.
    pub fn settled(&self) -> bool {
        !self.any() || self.last().is_some_and(|last| self.complete() >= last.number)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(turn: u64, until: Epoch, checkpoint: Option<u64>) -> Move {
        Move { turn, until, checkpoint, full: false, last: false, holds: false }
    }

    #[test]
    fn the_old_horizon_is_the_boundary() {
        let boundaries = Boundaries::up_to(100, 0);
        boundaries.take(step(1, 200, None));
        assert_eq!((boundaries.horizon(), boundaries.after(0)), (200, None));
        boundaries.take(step(2, 300, Some(5)));
        boundaries.take(step(3, 400, Some(6)));
        boundaries.take(step(3, 400, Some(6)));
        assert_eq!(boundaries.after(0), Some(Boundary { number: 5, epoch: 200, full: false }));
        assert_eq!(boundaries.after(5), Some(Boundary { number: 6, epoch: 300, full: false }));
        assert_eq!((boundaries.after(6), boundaries.horizon()), (None, 400));
    }

    #[test]
    fn a_source_asks_for_more_when_it_is_half_way() {
        let boundaries = Boundaries::up_to(100, 0);
        boundaries.take(step(1, 200, None));
        assert!(boundaries.may_open(149));
        assert_eq!(boundaries.wanted(), None);
        assert!(boundaries.may_open(150) && !boundaries.may_open(200));
        assert_eq!(boundaries.wanted(), Some(200));
        boundaries.take(step(2, 1000, None));
        assert!(boundaries.may_open(200));
        assert_eq!(boundaries.wanted(), None);
    }

    #[test]
    fn sources_come_up_to_a_horizon_that_is_held_and_open_nothing_there() {
        let boundaries = Boundaries::up_to(100, 0);
        assert_eq!(boundaries.reach(), 99);
        boundaries.take(Move { holds: true, ..step(1, 100, Some(1)) });
        assert_eq!((boundaries.reach(), boundaries.horizon(), boundaries.may_open(100)), (100, 100, false));
        assert_eq!(boundaries.after(0), Some(Boundary { number: 1, epoch: 100, full: false }));
        assert_eq!(boundaries.wanted(), Some(100));
        boundaries.take(step(2, 200, None));
        assert_eq!((boundaries.reach(), boundaries.may_open(100)), (199, true));
    }

    #[test]
    fn it_is_settled_when_the_last_checkpoint_is_complete() {
        let boundaries = Boundaries::up_to(100, 3);
        boundaries.take(Move { full: true, last: true, ..step(1, 100, Some(4)) });
        assert_eq!(boundaries.last(), Some(Boundary { number: 4, epoch: 100, full: true }));
        assert!(!boundaries.settled());
        boundaries.completed(4);
        assert!(boundaries.settled() && Boundaries::none().settled());
    }
}
