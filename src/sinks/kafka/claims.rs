//! What earlier generations have committed, as the workers of a process wait for it.

use std::mem::replace;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use timely::scheduling::SyncActivator;

use super::markers::Markers;
use super::positions::Claim;
use crate::error::{Error, Result};
use crate::sources::lanes::Lanes;

/// What earlier generations have committed: read once a process, beside the workers.
#[derive(Default)]
pub struct Claims {
    state: Mutex<Reading>,
}

#[derive(Default)]
struct Reading {
    begun: bool,
    read: Option<Result<Arc<Vec<Claim>>>>,
    waiting: Vec<SyncActivator>,
}

impl Claims {
    /// Nothing is to be read where there are no markers.
    pub fn of(markers: bool) -> Self {
        let read = (!markers).then(|| Ok(Arc::default()));
        Claims { state: Mutex::new(Reading { read, ..Reading::default() }) }
    }

    /// Has them read, and `wake` called when they are.
    ///
    /// Where it is told how many `slots` are in use, it takes back the markers of others that are not needed any more.
    pub fn ask(
        self: &Arc<Self>,
        wake: SyncActivator,
        markers: Option<&Markers>,
        lanes: &Arc<Lanes>,
        slots: Option<usize>,
    ) {
        let mut state = self.state();
        state.waiting.push(wake);
        let Some(markers) = markers.filter(|_| !replace(&mut state.begun, true)) else { return };
        let (claims, markers, lanes) = (Arc::clone(self), markers.clone(), Arc::clone(lanes));
        let read = move || {
            let read = markers.read(&lanes).map(Arc::new);
            claims.have(read.clone());
            if let (Ok(claims), Some(slots)) = (read, slots)
                && let Err(error) = markers.retire(&claims, slots)
            {
                tracing::warn!("topic {}: old markers are left for another time: {error}", markers.topic);
            }
        };
        if let Err(error) = Builder::new().name("kafka-markers".to_string()).spawn(read) {
            state.read = Some(Err(Error::run(format!("cannot start a thread: {error}"))));
        }
    }

    fn have(&self, read: Result<Arc<Vec<Claim>>>) {
        let mut state = self.state();
        state.read = Some(read);
        for wake in state.waiting.drain(..) {
            // A worker that is gone needs no waking.
            let _ = wake.activate();
        }
    }

    /// Them, once they are read.
    pub fn get(&self) -> Option<Result<Arc<Vec<Claim>>>> {
        self.state().read.clone()
    }

    fn state(&self) -> MutexGuard<'_, Reading> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
