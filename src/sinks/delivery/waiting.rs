//! Rows that wait for company.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::Parcel;

/// How many rows go together, and how long they wait for that.
#[derive(Clone, Copy, Debug)]
pub struct Gather {
    /// So many at most.
    pub rows: usize,
    /// So long at most; zero: until the other rows of their epoch are there.
    pub delay: Duration,
}

/// Rows that wait, in order.
pub struct Waiting {
    gather: Gather,
    /// With the time at which they go at the latest; none where that is said by a flush.
    parcels: VecDeque<(Option<Instant>, Parcel)>,
}

impl Waiting {
    /// None yet.
    pub fn new(gather: Gather) -> Self {
        Waiting { gather, parcels: VecDeque::new() }
    }

    /// Takes rows that have come at `now`.
    pub fn push(&mut self, parcels: Vec<Parcel>, now: Instant) {
        let due = (!self.gather.delay.is_zero()).then(|| now + self.gather.delay);
        self.parcels.extend(parcels.into_iter().map(|parcel| (due, parcel)));
    }

    /// The epochs of all rows that wait are complete; with `end` nothing comes any more.
    pub fn flush(&mut self, end: bool, now: Instant) {
        if end || self.gather.delay.is_zero() {
            self.parcels.iter_mut().for_each(|(due, _)| *due = Some(now));
        }
    }

    /// When the next rows go without company.
    pub fn due(&self) -> Option<Instant> {
        self.parcels.front().and_then(|(due, _)| *due)
    }

    /// The rows that go now.
    pub fn next(&mut self, now: Instant) -> Option<Vec<Parcel>> {
        let full = self.parcels.len() >= self.gather.rows;
        if !full && self.due().is_none_or(|due| due > now) {
            return None;
        }
        let count = self.gather.rows.min(self.parcels.len());
        Some(self.parcels.drain(..count).map(|(_, parcel)| parcel).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcels(numbers: std::ops::Range<u64>) -> Vec<Parcel> {
        let parcel = |epoch| Parcel { epoch, texts: Vec::new(), key: None, row: String::new() };
        numbers.map(parcel).collect()
    }

    fn next(waiting: &mut Waiting, now: Instant) -> Option<Vec<u64>> {
        Some(waiting.next(now)?.iter().map(|parcel| parcel.epoch).collect())
    }

    #[test]
    fn rows_go_when_there_are_enough_or_one_has_waited_long() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut waiting = Waiting::new(Gather { rows: 3, delay: second });
        waiting.push(parcels(0..4), start);
        assert_eq!(next(&mut waiting, start), Some(vec![0, 1, 2]));
        assert_eq!(next(&mut waiting, start), None);
        waiting.flush(false, start);
        assert_eq!(next(&mut waiting, start), None, "others may come");
        waiting.push(parcels(4..5), start + second / 2);
        assert_eq!(waiting.due(), Some(start + second));
        assert_eq!(next(&mut waiting, start + second), Some(vec![3, 4]), "who has not waited long goes along");
        waiting.push(parcels(5..6), start);
        waiting.flush(true, start);
        assert_eq!(next(&mut waiting, start), Some(vec![5]));
        assert_eq!((next(&mut waiting, start + second * 9), waiting.due()), (None, None));
    }

    #[test]
    fn without_a_delay_rows_wait_for_those_of_their_epoch() {
        let start = Instant::now();
        let mut waiting = Waiting::new(Gather { rows: 3, delay: Duration::ZERO });
        waiting.push(parcels(0..1), start);
        assert_eq!((next(&mut waiting, start + Duration::from_secs(9)), waiting.due()), (None, None));
        waiting.push(parcels(1..2), start);
        waiting.flush(false, start);
        assert_eq!(next(&mut waiting, start), Some(vec![0, 1]));
        let mut alone = Waiting::new(Gather { rows: 1, delay: Duration::ZERO });
        alone.push(parcels(0..2), start);
        assert_eq!(next(&mut alone, start), Some(vec![0]), "enough");
    }
}
