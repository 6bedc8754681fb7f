//! Whether this process has stood still: stopped by a signal, or its machine suspended. The others took it for lost
//! meanwhile and went on, so it may not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::system::since_boot;

/// When this process was last seen to run. Somebody has to look all the time.
pub struct Alive {
    seen: AtomicU64,
}

impl Default for Alive {
    fn default() -> Self {
        Alive { seen: AtomicU64::new(now()) }
    }
}

impl Alive {
    /// From now on.
    pub fn begin(&self) {
        self.seen.store(now(), Ordering::Release);
    }

    /// How long it has not been seen, where that is longer than `longest`. Only [`Alive::see`] changes what is seen,
    /// so once it was too long it stays so.
    pub fn stood_still(&self, longest: Duration) -> Option<Duration> {
        let unseen = Duration::from_millis(now().saturating_sub(self.seen.load(Ordering::Acquire)));
        (unseen > longest).then_some(unseen)
    }

    /// It runs, unless it has stood still for longer than `longest`.
    pub fn see(&self, longest: Duration) -> Option<Duration> {
        let stood = self.stood_still(longest);
        if stood.is_none() {
            self.begin();
        }
        stood
    }
}

fn now() -> u64 {
    since_boot().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stood_still_stays_so() {
        let alive = Alive::default();
        let longest = Duration::from_millis(20);
        assert_eq!(alive.see(Duration::from_secs(60)), None);
        std::thread::sleep(2 * longest);
        assert!(alive.see(longest).is_some() && alive.stood_still(longest).is_some());
        alive.begin();
        assert_eq!(alive.see(Duration::from_secs(60)), None);
    }
}
