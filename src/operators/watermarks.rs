//! The least watermark of all origins.

use std::collections::HashMap;

use crate::batch::{Mark, Origin};

/// Follows the watermarks of the origins upstream.
#[derive(Default)]
pub struct Watermarks {
    origins: HashMap<Origin, i64>,
    /// The greatest one of all.
    greatest: Option<i64>,
    passed: Option<i64>,
}

impl Watermarks {
    /// Takes a mark. A watermark never falls; a closed origin expects nothing more.
    pub fn note(&mut self, mark: Mark) {
        let (origin, time) = match mark {
            Mark::Watermark { origin, time } => (origin, time),
            Mark::Close { origin } => (origin, i64::MAX),
        };
        if time < i64::MAX {
            self.greatest = self.greatest.max(Some(time));
        }
        let known = self.origins.entry(origin).or_insert(i64::MIN);
        *known = time.max(*known);
    }

    /// The least watermark, where it has risen since the last call: to be asked at the end of an epoch, until there is
    /// none. Where all have ended, event time first comes to the greatest there was, which is the same at every replay.
    pub fn advanced(&mut self) -> Option<i64> {
        let mut least = self.origins.values().copied().min().filter(|time| *time > i64::MIN)?;
        if least == i64::MAX && self.passed < self.greatest {
            least = self.greatest?;
        }
        if self.passed.is_some_and(|passed| least <= passed) {
            return None;
        }
        self.passed = Some(least);
        Some(least)
    }
}

/// A name for a sender of marks: a partition of a source, or a node on a worker.
pub fn origin(node: usize, part: usize) -> Origin {
    ((node as u64) << 32) | part as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_all_origins_counts() {
        let mut watermarks = Watermarks::default();
        for origin in [1, 2] {
            watermarks.note(Mark::Watermark { origin, time: i64::MIN });
        }
        watermarks.note(Mark::Watermark { origin: 1, time: 50 });
        assert_eq!(watermarks.advanced(), None);
        watermarks.note(Mark::Watermark { origin: 2, time: 30 });
        assert_eq!(watermarks.advanced(), Some(30));
        watermarks.note(Mark::Watermark { origin: 2, time: 20 });
        assert_eq!(watermarks.advanced(), None);
        watermarks.note(Mark::Close { origin: 2 });
        assert_eq!(watermarks.advanced(), Some(50));
        watermarks.note(Mark::Watermark { origin: 1, time: 70 });
        watermarks.note(Mark::Close { origin: 1 });
        assert_eq!([(); 3].map(|()| watermarks.advanced()), [Some(70), Some(i64::MAX), None], "the end of all");
    }
}
