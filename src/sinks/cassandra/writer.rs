//! The writer of one worker, beside it on the I/O runtime: gathers rows by partition and keeps as many requests in
//! flight as it may. Rows go at once where there is room, and gather to fuller batches while there is none.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::requests::Requests;
use super::rows::Row;
use super::waiting::{BatchSize, Waiting};
use crate::error::Result;
use crate::metrics::Meter;
use crate::sinks::progress::Progress;

/// How much a writer may have in flight.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests.
    pub requests: usize,
    /// Rows, at which no further request begins.
    pub rows: usize,
    /// Rows a second.
    pub rows_per_second: Option<f64>,
    /// How much a request may hold.
    pub batch: BatchSize,
}

/// Writes what comes through `incoming`, until nothing can come any more.
pub struct Writer {
    /// Where rows come from.
    pub incoming: mpsc::UnboundedReceiver<Vec<Row>>,
    /// How they are written.
    pub requests: Arc<Requests>,
    /// How much at a time.
    pub limits: Limits,
    /// Where it is told.
    pub progress: Arc<Progress>,
    /// Counters of the sink.
    pub meter: Meter,
}

impl Writer {
    /// Runs it. Once the sink is gone, so is the need for what is on its way: a sink that ends well waits for it.
    pub async fn run(mut self) {
        let mut waiting = Waiting::new(self.limits.batch);
        let mut in_flight = FuturesUnordered::new();
        let mut rows_in_flight = 0;
        let mut pace = Pace::new(self.limits.rows_per_second, Instant::now());
        loop {
            // All that has come joins its partition before the next request is cut.
            while let Ok(rows) = self.incoming.try_recv() {
                take(&mut waiting, rows);
            }
            let now = Instant::now();
            let mut paused = false;
            while in_flight.len() < self.limits.requests && rows_in_flight < self.limits.rows {
                paused = pace.next > now;
                if paused {
                    break;
                }
                let Some(rows) = waiting.next(now.into_std()) else { break };
                pace.begun(now, rows.len());
                rows_in_flight += rows.len();
                self.meter.in_flight.inc();
                in_flight.push(write(Arc::clone(&self.requests), rows, self.meter.clone()));
            }
            tokio::select! {
                rows = self.incoming.recv() => match rows {
                    Some(rows) => take(&mut waiting, rows),
                    None => break,
                },
                Some((rows, result)) = in_flight.next() => {
                    self.meter.in_flight.dec();
                    rows_in_flight -= rows.len();
                    match result {
                        Ok(()) => self.progress.acknowledge(&rows),
                        Err(error) => {
                            self.progress.fail(error);
                            break;
                        }
                    }
                }
                () = sleep_until(pace.next), if paused => {}
            }
        }
        self.meter.in_flight.sub(in_flight.len() as i64);
    }
}

/// Keeps a number of rows a second.
struct Pace {
    rows_per_second: Option<f64>,
    /// When the next request may begin.
    next: Instant,
}

impl Pace {
    fn new(rows_per_second: Option<f64>, now: Instant) -> Self {
        Pace { rows_per_second, next: now }
    }

    /// A request of `rows` rows has begun.
    fn begun(&mut self, now: Instant, rows: usize) {
        if let Some(rate) = self.rows_per_second {
            self.next = self.next.max(now) + Duration::from_secs_f64(rows as f64 / rate);
        }
    }
}

fn take(waiting: &mut Waiting, rows: Vec<Row>) {
    let now = std::time::Instant::now();
    rows.into_iter().for_each(|row| waiting.push(row, now));
}

async fn write(requests: Arc<Requests>, rows: Vec<Row>, meter: Meter) -> (Vec<Row>, Result<()>) {
    let result = requests.write(&rows, &meter).await;
    (rows, result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_kept_and_idle_time_is_not_made_up_for() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(1000.0), start);
        pace.begun(start, 50);
        assert_eq!(pace.next, start + Duration::from_millis(50));
        pace.begun(start + Duration::from_millis(50), 50);
        assert_eq!(pace.next, start + Duration::from_millis(100));
        pace.begun(start + Duration::from_secs(9), 50);
        assert_eq!(pace.next, start + Duration::from_millis(9050));
        let mut free = Pace::new(None, start);
        free.begun(start, 1_000_000);
        assert_eq!(free.next, start);
    }
}
