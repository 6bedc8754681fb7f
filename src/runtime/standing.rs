//! Since when the oldest input of a node waits: where that does not change for long, something does not move.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::epochs;
use crate::batch::Epoch;

/// What one node on one worker holds.
#[derive(Default)]
pub struct Standing {
    /// The oldest epoch that waits; 0 where none does.
    oldest: AtomicU64,
    /// Since when it is the oldest, or when something of it was done last: microseconds since 1970 UTC.
    since: AtomicU64,
}

impl Standing {
    /// The node holds `oldest`, and has done something of it if it has `moved`. Called by its worker alone.
    pub fn note(&self, oldest: Option<Epoch>, moved: bool) {
        let oldest = oldest.unwrap_or(0);
        if self.oldest.swap(oldest, Ordering::Relaxed) != oldest || moved {
            self.since.store(epochs::now(), Ordering::Relaxed);
        }
    }

    /// How long it has not moved, where that is longer than `longest`.
    pub fn stands(&self, longest: Duration) -> Option<Duration> {
        if self.oldest.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let stands = Duration::from_micros(epochs::now().saturating_sub(self.since.load(Ordering::Relaxed)));
        (stands > longest).then_some(stands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_does_not_stand() {
        let standing = Standing::default();
        let (longest, longer) = (Duration::from_millis(5), Duration::from_millis(10));
        std::thread::sleep(longer);
        assert_eq!(standing.stands(longest), None, "nothing waits");
        standing.note(Some(7), false);
        std::thread::sleep(longer);
        assert!(standing.stands(longest).is_some(), "it waits");
        standing.note(Some(7), false);
        assert!(standing.stands(longest).is_some(), "looking at it moves nothing");
        standing.note(Some(7), true);
        assert_eq!(standing.stands(Duration::from_secs(60)), None);
        std::thread::sleep(longer);
        standing.note(Some(8), false);
        assert_eq!(standing.stands(Duration::from_secs(60)), None);
        standing.note(None, false);
        std::thread::sleep(longer);
        assert_eq!(standing.stands(longest), None);
    }
}
