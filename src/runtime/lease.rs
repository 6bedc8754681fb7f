//! How far the epochs of this process may go: never behind a bound that stands in the state store. It is moved ahead of time,
//! and where that cannot be done the sources wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::{epochs, runtime};
use crate::batch::Epoch;
use crate::error::{Error, Result};
use crate::state::{Stamps, Store};

/// How far it is moved ahead: so long the store may be away before the sources wait.
const LENGTH: Epoch = 60_000_000;
/// How long is waited before it is tried again to move it.
const AGAIN: Duration = Duration::from_secs(1);

/// The bound of one process.
pub struct Lease {
    stamps: Stamps,
    generation: u64,
    process: usize,
    /// Behind all epochs of generations before.
    first: Epoch,
    until: AtomicU64,
    moving: AtomicBool,
}

impl Lease {
    /// Begins behind all bounds of earlier generations.
    pub async fn begin(store: Store, generation: u64, process: usize) -> Result<Arc<Lease>> {
        let stamps = Stamps::new(store);
        let first = stamps.greatest_before(generation).await?;
        let lease =
            Lease { stamps, generation, process, first, until: AtomicU64::new(0), moving: AtomicBool::new(false) };
        lease.cover(lease.start()).await?;
        if process == 0 {
            lease.stamps.forget_before(generation).await?;
        }
        Ok(Arc::new(lease))
    }

    /// The first epoch of what begins now: there is one before it that nobody has stamped, for what is told once more.
    pub fn start(&self) -> Epoch {
        epochs::now().max(self.first + 1)
    }

    /// Waits until `epoch` may be opened, and what follows it for a while.
    pub async fn cover(&self, epoch: Epoch) -> Result<()> {
        if epoch + LENGTH / 2 > self.until.load(Ordering::Acquire) {
            self.move_to(epoch + LENGTH).await?;
        }
        Ok(())
    }

    /// How far epochs may go, where somebody wants to go to `wanted`; moves the bound ahead of that.
    pub fn limit(self: &Arc<Self>, wanted: Epoch) -> Epoch {
        let until = self.until.load(Ordering::Acquire);
        if wanted + LENGTH / 2 > until && !self.moving.swap(true, Ordering::AcqRel) {
            let lease = Arc::clone(self);
            let work = async move {
                if let Err(error) = lease.move_to(wanted + LENGTH).await {
                    tracing::warn!("{error}; sources wait at the latest {} s from now", LENGTH / 2_000_000);
                    tokio::time::sleep(AGAIN).await;
                }
                lease.moving.store(false, Ordering::Release);
            };
            match runtime() {
                Ok(runtime) => drop(runtime.spawn(work)),
                Err(error) => tracing::error!("{error}"),
            }
        }
        until
    }

    async fn move_to(&self, until: Epoch) -> Result<()> {
        let kept = self.stamps.keep_below(self.generation, self.process, self.first, until).await;
        kept.map_err(|error| Error::connect(format!("how far epochs may go cannot be written down: {error}")))?;
        self.until.fetch_max(until, Ordering::AcqRel);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Generation;

    #[tokio::test]
    async fn the_next_generation_begins_behind_all_that_the_last_could_stamp() {
        let store = Store::in_memory().expect("a store");
        Generation::take(&store, "one", 1).await.expect("taken");
        let first = Lease::begin(store.clone(), 1, 0).await.expect("begun");
        let other = Lease::begin(store.clone(), 1, 1).await.expect("begun");
        let now = epochs::now();
        let far = now + 100 * LENGTH;
        other.cover(far).await.expect("covered");
        assert!(first.limit(now) < far && other.limit(far) >= far + LENGTH);
        Generation::take(&store, "two", 1).await.expect("taken");
        let next = Lease::begin(store.clone(), 2, 0).await.expect("begun");
        assert!(next.start() >= far + LENGTH);
        assert!(next.limit(next.start()) > next.start(), "what begins may be stamped");
        // Who was replaced comes no further.
        let before = other.limit(far);
        assert!(other.cover(far + LENGTH).await.is_err());
        assert_eq!(other.limit(far), before);
    }
}
