//! What a sink of one worker and the client that writes beside it tell each other: rows on their way, room, failure.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use timely::scheduling::SyncActivator;

use crate::batch::Epoch;
use crate::error::{Error, Result};

/// How many bytes of rows may be on their way, for each worker.
const ROOM: usize = 8 << 20;

/// A row on its way.
pub trait OnItsWay {
    /// Its epoch.
    fn epoch(&self) -> Epoch;
    /// About how much memory it holds.
    fn bytes(&self) -> usize;
}

/// Shared by the sink of one worker and its client.
pub struct Progress {
    unacknowledged: Mutex<BTreeMap<Epoch, usize>>,
    bytes: AtomicUsize,
    sink_waits: AtomicBool,
    failure: Mutex<Option<Error>>,
    wake: SyncActivator,
}

impl Progress {
    /// Nothing on its way; `wake` calls the worker.
    pub fn new(wake: SyncActivator) -> Self {
        Progress {
            unacknowledged: Mutex::default(),
            bytes: AtomicUsize::new(0),
            sink_waits: AtomicBool::new(false),
            failure: Mutex::default(),
            wake,
        }
    }

    /// These rows are on their way.
    pub fn begin<T: OnItsWay>(&self, rows: &[T]) {
        self.bytes.fetch_add(size(rows), Ordering::SeqCst);
        let mut unacknowledged = lock(&self.unacknowledged);
        for (epoch, count) in by_epoch(rows) {
            *unacknowledged.entry(epoch).or_default() += count;
        }
    }

    /// The server has acknowledged these rows.
    pub fn acknowledge<T: OnItsWay>(&self, rows: &[T]) {
        self.bytes.fetch_sub(size(rows), Ordering::SeqCst);
        let mut completed = false;
        let mut unacknowledged = lock(&self.unacknowledged);
        for (epoch, count) in by_epoch(rows) {
            if let Some(left) = unacknowledged.get_mut(&epoch) {
                *left -= count;
                if *left == 0 {
                    unacknowledged.remove(&epoch);
                    completed = true;
                }
            }
        }
        drop(unacknowledged);
        let room = self.bytes.load(Ordering::SeqCst) < ROOM / 2 && self.sink_waits.swap(false, Ordering::SeqCst);
        if completed || room {
            self.wake();
        }
    }

    /// The least epoch of which rows are on their way.
    pub fn least(&self) -> Result<Option<Epoch>> {
        match lock(&self.failure).clone() {
            Some(error) => Err(error),
            None => Ok(lock(&self.unacknowledged).keys().next().copied()),
        }
    }

    /// Whether there is room for more; where there is none the worker is called when there is.
    pub fn has_room(&self) -> bool {
        let room = || self.bytes.load(Ordering::SeqCst) < ROOM;
        if room() {
            return true;
        }
        self.sink_waits.store(true, Ordering::SeqCst);
        // An acknowledgement may have come in between.
        room()
    }

    /// Writing has failed for good.
    pub fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
        self.wake();
    }

    fn wake(&self) {
        // It fails where the worker has ended: then nobody needs to know.
        let _ = self.wake.activate();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn size<T: OnItsWay>(rows: &[T]) -> usize {
    rows.iter().map(T::bytes).sum()
}

/// Runs of rows of the same epoch, and their lengths.
fn by_epoch<T: OnItsWay>(rows: &[T]) -> impl Iterator<Item = (Epoch, usize)> {
    rows.chunk_by(|one, next| one.epoch() == next.epoch()).map(|run| (run[0].epoch(), run.len()))
}
