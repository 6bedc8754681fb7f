//! A look at the rows that leave a node while the job runs. It costs a load of a flag a batch while nobody looks,
//! and never holds the job up: who reads too slowly misses rows, and is told how many.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Batches that wait for one who looks.
const WAITING: usize = 8;

/// Where the rows of one node can be looked at.
#[derive(Default)]
pub struct Tap {
    watched: AtomicBool,
    watchers: Mutex<Watchers>,
}

#[derive(Default)]
struct Watchers {
    list: Vec<(Sender<RecordBatch>, Arc<AtomicU64>)>,
    closed: bool,
}

impl Tap {
    /// Shows `rows` to those who look.
    pub fn show(&self, rows: &RecordBatch) {
        if !self.watched.load(Ordering::Relaxed) {
            return;
        }
        for (watcher, missed) in &self.lock().list {
            if watcher.try_send(rows.clone()).is_err() {
                missed.fetch_add(rows.num_rows() as u64, Ordering::Relaxed);
            }
        }
    }

    /// Begins to look.
    pub fn watch(self: &Arc<Self>) -> Watching {
        let (sender, rows) = channel(WAITING);
        let missed = Arc::new(AtomicU64::new(0));
        let mut watchers = self.lock();
        if !watchers.closed {
            watchers.list.push((sender, Arc::clone(&missed)));
            self.watched.store(true, Ordering::Relaxed);
        }
        Watching { rows, missed, tap: Arc::clone(self) }
    }

    /// No more rows come.
    pub fn close(&self) {
        let mut watchers = self.lock();
        watchers.closed = true;
        watchers.list.clear();
        self.watched.store(false, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Watchers> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who looks; until it is dropped.
pub struct Watching {
    rows: Receiver<RecordBatch>,
    missed: Arc<AtomicU64>,
    tap: Arc<Tap>,
}

impl Watching {
    /// The next rows; `None` when the job has ended.
    pub async fn next(&mut self) -> Option<RecordBatch> {
        self.rows.recv().await
    }

    /// How many rows were missed since this was asked last.
    pub fn missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.rows.close();
        let mut watchers = self.tap.lock();
        watchers.list.retain(|(watcher, _)| !watcher.is_closed());
        self.tap.watched.store(!watchers.list.is_empty(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use futures::FutureExt;

    fn rows(count: i64) -> RecordBatch {
        let column = Arc::new(Int64Array::from_iter_values(0..count));
        RecordBatch::try_from_iter([("n", column as arrow::array::ArrayRef)]).expect("rows")
    }

    #[test]
    fn who_looks_sees_rows_and_learns_what_was_missed() {
        let tap = Arc::new(Tap::default());
        tap.show(&rows(5));
        let mut watching = tap.watch();
        (0..WAITING + 2).for_each(|_| tap.show(&rows(3)));
        for _ in 0..WAITING {
            assert_eq!(watching.next().now_or_never().flatten().map(|rows| rows.num_rows()), Some(3));
        }
        assert_eq!((watching.missed(), watching.missed()), (6, 0));
        assert!(watching.next().now_or_never().is_none(), "it waits for more");
        tap.close();
        assert!(watching.next().now_or_never().expect("the end is told at once").is_none());
    }

    #[test]
    fn nothing_is_kept_for_those_who_have_left() {
        let tap = Arc::new(Tap::default());
        drop(tap.watch());
        assert!(!tap.watched.load(Ordering::Relaxed));
        tap.close();
        assert!(tap.watch().next().now_or_never().expect("the end is told at once").is_none());
    }
}
