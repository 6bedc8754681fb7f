//! Writes trades at a steady rate, whatever happens to the broker meanwhile; not further ahead of what comes out than some
//! seconds, so that a fault is not followed by minutes of catching up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use super::flow::{partition, symbol, trade};
use crate::recovery::market::line;

/// No outage of the broker takes so long.
const PATIENCE: Duration = Duration::from_secs(300);
const TICK: Duration = Duration::from_millis(5);
/// What could not be written for longer is not made up for: the rate stays what it is.
const BEHIND: Duration = Duration::from_secs(1);
/// So much may be written and not have come out: more than the faults need that wait for a second of rows.
const AHEAD: Duration = Duration::from_secs(4);

/// The producer, at work.
pub struct Producing {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<u64>>,
}

#[derive(Default)]
struct Shared {
    acknowledged: AtomicU64,
    end: AtomicBool,
}

struct Context(Arc<Shared>);

impl ClientContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        delivered.as_ref().map_err(|(error, _)| error).expect("every trade is written");
        self.0.acknowledged.fetch_add(1, Ordering::AcqRel);
    }
}

impl Producing {
    /// Begins to write to `topic`, so many trades a second; `came` counts those that have come out.
    pub fn start(brokers: &str, topic: &str, seed: u64, rate: u64, came: Arc<AtomicU64>) -> Producing {
        let shared = Arc::new(Shared::default());
        let producer: BaseProducer<Context> = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            // Each once and in order, also where the broker is killed.
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", PATIENCE.as_millis().to_string())
            .set("linger.ms", "5")
            .create_with_context(Context(Arc::clone(&shared)))
            .expect("a producer");
        let (ours, topic) = (Arc::clone(&shared), topic.to_string());
        let write = move || write(&producer, &ours, &topic, seed, rate, &came);
        Producing { shared, thread: Some(std::thread::spawn(write)) }
    }

    /// How many trades the broker has.
    pub fn written(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Acquire)
    }

    /// Ends; how many trades there are.
    pub fn end(&mut self) -> u64 {
        self.shared.end.store(true, Ordering::Release);
        let sent = self.thread.take().expect("once").join().expect("it wrote all");
        assert_eq!(self.shared.acknowledged.load(Ordering::Acquire), sent, "trades written");
        sent
    }
}

fn write(
    producer: &BaseProducer<Context>,
    shared: &Shared,
    topic: &str,
    seed: u64,
    rate: u64,
    came: &AtomicU64,
) -> u64 {
    let (mut began, mut since, mut n) = (Instant::now(), 0, 0);
    let rows = |span: Duration| (span.as_secs_f64() * rate as f64) as u64;
    while !shared.end.load(Ordering::Acquire) {
        let due = since + rows(began.elapsed());
        if due - n > rows(BEHIND) {
            (began, since) = (Instant::now(), n);
        }
        let most = came.load(Ordering::Acquire) + rows(AHEAD);
        while n < due.min(most) && send(producer, topic, seed, n) {
            n += 1;
        }
        producer.poll(TICK);
    }
    producer.flush(PATIENCE).expect("all is written");
    n
}

/// False where there is no room for it now.
fn send(producer: &BaseProducer<Context>, topic: &str, seed: u64, n: u64) -> bool {
    let trade = trade(seed, n);
    let payload = line(n as i64, &trade);
    let record = BaseRecord::to(topic).partition(partition(symbol(seed, n))).key(&trade.symbol).payload(&payload);
    match producer.send(record) {
        Ok(()) => true,
        Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => false,
        Err((error, _)) => panic!("trade {n}: {error}"),
    }
}

impl Drop for Producing {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Release);
    }
}
