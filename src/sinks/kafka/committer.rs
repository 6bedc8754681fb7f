//! The thread of one slot that commits: whole epochs, each in one transaction with the marker that tells of it. When it
//! falls behind, several epochs share one.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use timely::scheduling::SyncActivator;

use super::encode::Messages;
use super::markers::Markers;
use super::positions::Slot;
use crate::batch::Epoch;
use crate::error::{Error, Result};
use crate::kafka::{Failure, Transactions};
use crate::sources::lanes::{Lanes, Positions};

/// Bytes of complete epochs that may wait.
const WAITING: usize = 64 << 20;
/// Bytes after which a transaction takes no further epoch.
const ENOUGH: usize = 8 << 20;

/// The rows of one epoch.
#[derive(Default)]
pub struct Parcel {
    /// The epoch.
    pub epoch: Epoch,
    /// Its messages.
    pub messages: Vec<Messages>,
    /// How far it takes the slot.
    pub reached: Positions,
}

impl Parcel {
    fn count(&self) -> u64 {
        self.messages.iter().map(|messages| messages.len() as u64).sum()
    }

    fn bytes(&self) -> usize {
        self.messages.iter().map(Messages::bytes).sum()
    }
}

/// What the worker and the thread share.
#[derive(Clone, Default)]
pub struct Desk(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Parcel>,
    /// The first epoch of the transaction that is under way.
    under_way: Option<Epoch>,
    bytes: usize,
    messages: u64,
    failure: Option<String>,
    /// The worker wants nothing more.
    left: bool,
    wake: Option<SyncActivator>,
}

impl Desk {
    /// Has `wake` called when something was committed or has failed.
    pub fn wake_by(&self, wake: SyncActivator) {
        self.state().wake = Some(wake);
    }

    /// Whether there is room for more.
    pub fn has_room(&self) -> bool {
        self.state().bytes < WAITING
    }

    /// Hands over the rows of a complete epoch. Epochs come in order.
    pub fn hand_over(&self, parcel: Parcel) {
        let mut state = self.state();
        state.bytes += parcel.bytes();
        state.messages += parcel.count();
        state.waiting.push_back(parcel);
        self.0.changed.notify_one();
    }

    /// The least epoch that is not committed, and how many messages are not.
    pub fn uncommitted(&self) -> Result<(Option<Epoch>, u64)> {
        let state = self.state();
        match &state.failure {
            Some(reason) => Err(Error::run(reason)),
            None => Ok((state.under_way.or(state.waiting.front().map(|parcel| parcel.epoch)), state.messages)),
        }
    }

    /// Wants nothing more: what is not committed is aborted.
    pub fn leave(&self) {
        self.state().left = true;
        self.0.changed.notify_one();
    }

    /// Something has gone wrong for good.
    pub fn fail(&self, reason: String) {
        self.state().failure.get_or_insert(reason);
        self.wake();
    }

    fn is_wanted(&self) -> bool {
        !self.state().left
    }

    /// Waits for what the next transaction is to hold; nothing where nobody wants one any more.
    fn next(&self) -> Option<Vec<Parcel>> {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.left;
        let state = self.0.changed.wait_while(self.state(), idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        if state.left {
            return None;
        }
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(parcel) = state.waiting.pop_front_if(|_| bytes < ENOUGH) {
            bytes += parcel.bytes();
            taken.push(parcel);
        }
        state.under_way = taken.first().map(|parcel| parcel.epoch);
        Some(taken)
    }

    fn committed(&self, parcels: &[Parcel]) {
        let mut state = self.state();
        state.bytes -= parcels.iter().map(Parcel::bytes).sum::<usize>();
        state.messages -= parcels.iter().map(Parcel::count).sum::<u64>();
        state.under_way = None;
        drop(state);
        self.wake();
    }

    fn wake(&self) {
        // A worker that is gone needs no waking.
        let _ = self.state().wake.as_ref().map(SyncActivator::activate);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a slot writes, and what of.
pub struct Committer {
    /// Its producer, initialised.
    pub transactions: Transactions,
    /// The topic.
    pub topic: String,
    /// What comes in, and what has become of it.
    pub desk: Desk,
    /// Set where a later generation will ask what was committed.
    pub marking: Option<Marking>,
}

/// What a slot needs to leave markers.
pub struct Marking {
    /// Where they are.
    pub markers: Markers,
    /// Who leaves them.
    pub slot: Slot,
    /// How far the slot has come.
    pub positions: Positions,
    /// The names of the sources.
    pub lanes: Arc<Lanes>,
}

impl Committer {
    /// Commits what comes until nobody wants it any more or it fails.
    pub fn run(mut self) {
        while let Some(parcels) = self.desk.next() {
            match self.commit(&parcels) {
                Ok(()) => self.desk.committed(&parcels),
                Err(Failure::Passing(reason) | Failure::Final(reason)) => {
                    return self.desk.fail(format!("topic {}: {reason}", self.topic));
                }
                Err(Failure::Unwanted) => return,
            }
        }
    }

    fn commit(&mut self, parcels: &[Parcel]) -> Result<(), Failure> {
        let marker = self.marking.as_mut().map(|marking| marking.advance(parcels)).transpose();
        let marker = marker.map_err(|error| Failure::Final(error.to_string()))?;
        let desk = self.desk.clone();
        let wanted = || desk.is_wanted();
        loop {
            self.transactions.begin()?;
            let sent = self.send(parcels, marker.as_ref(), &wanted).and_then(|()| self.transactions.drain(&wanted));
            match sent {
                // From here on it may be committed whatever is heard of it, so that it is never sent again: where the
                // outcome stays unknown the markers tell the next generation.
                Ok(()) => return self.transactions.commit(&wanted),
                Err(Failure::Passing(reason)) => {
                    tracing::warn!("topic {}: {reason}; the transaction is aborted and sent again", self.topic);
                    self.transactions.abort(&wanted)?;
                }
                Err(failure) => {
                    // The next generation aborts it where this does not succeed any more.
                    let _ = self.transactions.abort(&|| false);
                    return Err(failure);
                }
            }
        }
    }

    fn send(&self, parcels: &[Parcel], marker: Option<&Marker>, wanted: &dyn Fn() -> bool) -> Result<(), Failure> {
        for messages in parcels.iter().flat_map(|parcel| &parcel.messages) {
            for row in 0..messages.len() {
                self.transactions.send(&self.topic, messages.key(row), messages.payload(row), wanted)?;
            }
        }
        match marker {
            None => Ok(()),
            Some(Marker { topic, key, value }) => self.transactions.send(topic, Some(key), Some(value), wanted),
        }
    }
}

struct Marker {
    topic: String,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Marking {
    /// The marker of a transaction that holds `parcels`.
    fn advance(&mut self, parcels: &[Parcel]) -> Result<Marker> {
        for (lane, place) in parcels.iter().flat_map(|parcel| &parcel.reached) {
            let last = self.positions.entry(*lane).or_insert(*place);
            *last = (*place).max(*last);
        }
        let epoch = parcels.last().map_or(0, |parcel| parcel.epoch);
        let (topic, key) = (self.markers.topic.clone(), self.markers.key(self.slot)?);
        Ok(Marker { topic, key, value: self.markers.value(epoch, &self.positions, &self.lanes)? })
    }
}
