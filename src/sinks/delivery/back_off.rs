//! How long a failed attempt waits for the next.

use std::time::Duration;

use rand::Rng;

/// The first wait, at most; each next one may be twice as long, up to the second of these.
const WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// The longest wait that a server may ask for.
const LONGEST: Duration = Duration::from_secs(3600);

/// Waits that grow.
pub struct BackOff {
    most: Duration,
}

impl BackOff {
    /// Nothing has failed yet.
    pub fn new() -> Self {
        BackOff { most: WAITS.0 }
    }

    /// How long to wait now: not just as long as others who have failed with us, and not less than the server `asked`.
    pub fn next(&mut self, asked: Option<Duration>) -> Duration {
        let wait = self.most.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.most = (self.most * 2).min(WAITS.1);
        asked.map_or(wait, |asked| wait.max(asked.min(LONGEST)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_are_not_all_the_same() {
        let waits = || {
            let mut back_off = BackOff::new();
            (0..12).map(|_| back_off.next(None)).collect::<Vec<_>>()
        };
        let (one, other) = (waits(), waits());
        for (number, wait) in one.iter().chain(&other).enumerate() {
            let most = (WAITS.0 * (1 << (number % 12))).min(WAITS.1);
            assert!(most / 2 <= *wait && *wait <= most, "{number}: {wait:?}");
        }
        assert_ne!(one, other);
    }

    #[test]
    fn a_server_is_given_the_time_it_asks_for_within_reason() {
        let mut back_off = BackOff::new();
        assert_eq!(back_off.next(Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert!(back_off.next(Some(Duration::ZERO)) >= WAITS.0, "not less than without being asked");
        assert_eq!(back_off.next(Some(Duration::MAX)), LONGEST);
    }
}
