//! Reads the topic that the job writes, as committed, all the time: what came, how fast, and since when all is there.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::flow::PARTITIONS;
use crate::recovery::market::{Values, row};

/// The rate is that of so long.
const WINDOW: Duration = Duration::from_secs(1);

/// The reader, at work.
pub struct Tail {
    /// How many rows there are.
    pub came: Arc<AtomicU64>,
    seen: Arc<Mutex<Seen>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    rows: Vec<(i64, Values)>,
    /// How many rows there were, at some moments of the last seconds.
    counts: VecDeque<(Instant, usize)>,
    /// So many rows are waited for.
    awaited: usize,
    reached: Option<Instant>,
}

impl Tail {
    /// Begins to read `topic` from its beginning.
    pub fn start(brokers: &str, topic: &str) -> Tail {
        let consumer = consumer(brokers, topic);
        let (seen, end) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let (rows, stop) = (Arc::clone(&seen), Arc::clone(&end));
        let came = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&came);
        let read = move || {
            while !stop.load(Ordering::Acquire) {
                // A broker that is away comes back.
                let message = consumer.poll(Duration::from_millis(20)).and_then(Result::ok);
                let row = message.map(|message| row(message.payload().expect("a row")));
                count.fetch_add(u64::from(row.is_some()), Ordering::AcqRel);
                rows.lock().expect("no panic").take(row);
            }
        };
        Tail { came, seen, end, thread: Some(std::thread::spawn(read)) }
    }

    /// How many rows there are.
    pub fn count(&self) -> u64 {
        self.came.load(Ordering::Acquire)
    }

    /// Rows a second, within the last.
    pub fn rate(&self) -> f64 {
        let seen = self.seen();
        let Some((since, count)) = seen.counts.front() else { return 0.0 };
        (seen.rows.len() - count) as f64 / since.elapsed().max(WINDOW).as_secs_f64()
    }

    /// From now on so many rows are waited for.
    pub fn await_rows(&self, count: u64) {
        let mut seen = self.seen();
        (seen.awaited, seen.reached) = (count as usize, None);
    }

    /// When there were so many as were waited for.
    pub fn reached(&self) -> Option<Instant> {
        self.seen().reached
    }

    /// Ends; all rows in the order in which they came.
    pub fn end(&mut self) -> Vec<(i64, Values)> {
        self.end.store(true, Ordering::Release);
        self.thread.take().expect("once").join().expect("it read all");
        std::mem::take(&mut self.seen.lock().expect("no panic").rows)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("it reads still")
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
    }
}

impl Seen {
    fn take(&mut self, row: Option<(i64, Values)>) {
        self.rows.extend(row);
        let (now, count) = (Instant::now(), self.rows.len());
        if self.reached.is_none() && count >= self.awaited {
            self.reached = Some(now);
        }
        if self.counts.back().is_none_or(|(last, _)| now - *last > WINDOW / 20) {
            self.counts.push_back((now, count));
        }
        // The first is the last one that is as old as the window.
        while self.counts.get(1).is_some_and(|(at, _)| now - *at > WINDOW) {
            self.counts.pop_front();
        }
    }
}

/// Reads all partitions of a topic from their beginning, of transactions only what is committed.
pub fn consumer(brokers: &str, topic: &str) -> BaseConsumer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "chaos")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("reconnect.backoff.max.ms", "500")
        .create()
        .expect("a consumer");
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&all).expect("assigned");
    consumer
}
