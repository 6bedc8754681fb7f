//! Rows that wait for their turn, by partition: the busier the server, the fuller the batches.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::rows::Row;

/// How long rows may be passed over by fuller batches.
const PATIENCE: Duration = Duration::from_millis(500);

/// How much one request may hold.
#[derive(Clone, Copy, Debug)]
pub struct BatchSize {
    /// Rows.
    pub rows: usize,
    /// Bytes; a row that is larger goes alone.
    pub bytes: usize,
}

/// Rows by partition. A partition is known by the hash of its key alone: were two ever to meet, their rows would
/// share a batch, which is slower and just as right.
pub struct Waiting {
    size: BatchSize,
    partitions: HashMap<u64, Partition>,
    /// Partitions and their tickets, the one with the oldest row first.
    by_age: VecDeque<(u64, u64)>,
    /// Partitions that had a batch full, with their tickets.
    full: VecDeque<(u64, u64)>,
    next_ticket: u64,
}

struct Partition {
    rows: VecDeque<Row>,
    bytes: usize,
    since: Instant,
    /// Says which of its entries in the queues is the valid one.
    ticket: u64,
    full: bool,
}

impl Waiting {
    /// None yet.
    pub fn new(size: BatchSize) -> Self {
        Waiting { size, partitions: HashMap::new(), by_age: VecDeque::new(), full: VecDeque::new(), next_ticket: 0 }
    }

    /// Takes a row that has come at `now`.
    pub fn push(&mut self, row: Row, now: Instant) {
        let id = row.partition;
        let (by_age, next_ticket) = (&mut self.by_age, &mut self.next_ticket);
        let partition = self.partitions.entry(id).or_insert_with(|| {
            *next_ticket += 1;
            by_age.push_back((id, *next_ticket));
            Partition { rows: VecDeque::new(), bytes: 0, since: now, ticket: *next_ticket, full: false }
        });
        partition.bytes += row.bytes.len();
        partition.rows.push_back(row);
        if !partition.full && partition.is_full(self.size) {
            partition.full = true;
            self.full.push_back((id, partition.ticket));
        }
    }

    /// The next batch: of the oldest partition where it has waited long, else of a full one, else of the oldest.
    pub fn next(&mut self, now: Instant) -> Option<Vec<Row>> {
        let oldest = self.oldest()?;
        let impatient = now.duration_since(self.partitions[&oldest].since) > PATIENCE;
        let id = if impatient { oldest } else { self.next_full().unwrap_or(oldest) };
        let partition = self.partitions.get_mut(&id)?;
        let batch = partition.take(self.size);
        if partition.rows.is_empty() {
            self.partitions.remove(&id);
            return Some(batch);
        }
        self.next_ticket += 1;
        partition.ticket = self.next_ticket;
        partition.since = now;
        partition.full = partition.is_full(self.size);
        if partition.full {
            self.full.push_back((id, partition.ticket));
        }
        self.by_age.push_back((id, partition.ticket));
        Some(batch)
    }

    fn oldest(&mut self) -> Option<u64> {
        first_valid(&mut self.by_age, &self.partitions)
    }

    fn next_full(&mut self) -> Option<u64> {
        first_valid(&mut self.full, &self.partitions)
    }
}

/// The first partition of `queue` whose ticket is still valid; those before it are dropped.
fn first_valid(queue: &mut VecDeque<(u64, u64)>, partitions: &HashMap<u64, Partition>) -> Option<u64> {
    while let Some((id, ticket)) = queue.front().copied() {
        if partitions.get(&id).is_some_and(|partition| partition.ticket == ticket) {
            return Some(id);
        }
        queue.pop_front();
    }
    None
}

impl Partition {
    fn is_full(&self, size: BatchSize) -> bool {
        self.rows.len() >= size.rows || self.bytes >= size.bytes
    }

    /// As many rows, from the oldest on, as one request may hold.
    fn take(&mut self, size: BatchSize) -> Vec<Row> {
        let mut bytes = 0;
        let fits = |row: &&Row| {
            bytes += row.bytes.len();
            bytes <= size.bytes
        };
        let count = self.rows.iter().take(size.rows).take_while(fits).count().max(1);
        let batch: Vec<Row> = self.rows.drain(..count).collect();
        self.bytes -= batch.iter().map(|row| row.bytes.len()).sum::<usize>();
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const SIZE: BatchSize = BatchSize { rows: 3, bytes: 100 };

    /// A row of `bytes` bytes, known by its epoch.
    fn row(partition: u64, epoch: u64, bytes: usize) -> Row {
        Row::of(Bytes::from(vec![0; bytes]), epoch, partition)
    }

    fn next(waiting: &mut Waiting, now: Instant) -> Option<(u64, Vec<u64>)> {
        let batch = waiting.next(now)?;
        assert!(batch.iter().all(|row| row.partition == batch[0].partition));
        Some((batch[0].partition, batch.iter().map(|row| row.epoch).collect()))
    }

    #[test]
    fn full_batches_go_first_then_the_oldest() {
        let (mut waiting, now) = (Waiting::new(SIZE), Instant::now());
        for (partition, epoch) in [(1, 1), (2, 2), (2, 3), (2, 4), (2, 5), (3, 6), (1, 7)] {
            waiting.push(row(partition, epoch, 10), now);
        }
        assert_eq!(next(&mut waiting, now), Some((2, vec![2, 3, 4])));
        assert_eq!(next(&mut waiting, now), Some((1, vec![1, 7])));
        assert_eq!(next(&mut waiting, now), Some((3, vec![6])));
        assert_eq!(next(&mut waiting, now), Some((2, vec![5])));
        assert_eq!(next(&mut waiting, now), None);
        assert!(waiting.partitions.is_empty());
    }

    #[test]
    fn rows_are_not_passed_over_for_ever() {
        let (mut waiting, now) = (Waiting::new(SIZE), Instant::now());
        waiting.push(row(1, 0, 10), now);
        let later = now + PATIENCE * 2;
        (0..6).for_each(|epoch| waiting.push(row(2, epoch, 10), later));
        assert_eq!(next(&mut waiting, now), Some((2, vec![0, 1, 2])));
        assert_eq!(next(&mut waiting, later), Some((1, vec![0])));
        assert_eq!(next(&mut waiting, later), Some((2, vec![3, 4, 5])));
        assert_eq!(next(&mut waiting, later), None);
    }

    #[test]
    fn a_batch_is_bounded_in_bytes_too() {
        let (mut waiting, now) = (Waiting::new(SIZE), Instant::now());
        for (epoch, bytes) in [60, 60, 500, 40, 40].into_iter().enumerate() {
            waiting.push(row(1, epoch as u64, bytes), now);
        }
        for epochs in [vec![0], vec![1], vec![2], vec![3, 4]] {
            assert_eq!(next(&mut waiting, now), Some((1, epochs)));
        }
        assert_eq!(next(&mut waiting, now), None);
    }

    #[test]
    fn every_row_goes_once() {
        let (mut waiting, now) = (Waiting::new(SIZE), Instant::now());
        let mut gone = Vec::new();
        for epoch in 0..1000 {
            waiting.push(row(epoch * epoch % 11, epoch, 10), now);
            if epoch % 3 == 0 {
                gone.extend(
                    next(&mut waiting, now + PATIENCE * (epoch as u32 % 2) * 3).into_iter().flat_map(|batch| batch.1),
                );
            }
        }
        while let Some((_, epochs)) = next(&mut waiting, now) {
            gone.extend(epochs);
        }
        gone.sort_unstable();
        assert_eq!(gone, (0..1000).collect::<Vec<_>>());
    }
}
