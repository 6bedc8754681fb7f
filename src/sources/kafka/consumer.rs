//! The consumer of one worker: what it fetches, how much ahead, the offsets it commits, its lag.

use std::ffi::CString;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};
use timely::scheduling::SyncActivator;

use super::KafkaPlan;
use super::batch::{Batch, Failed, Queue};
use super::offsets::Range;
use crate::error::{Error, Result};
use crate::kafka::{Health, cannot_connect};
use crate::metrics;

/// Messages taken at once.
pub const TAKE: usize = 4096;
/// What the client needs for a message besides its bytes.
const BOOKKEEPING: u64 = 400;
/// What the client tells is looked at this often.
const LISTEN: Duration = Duration::from_millis(100);
/// How long a look for the topic may take.
const LOOK: Duration = Duration::from_secs(1);
/// Offsets are committed this often.
const COMMIT: Duration = Duration::from_secs(1);
/// How long the client may take to say good-bye.
const CLOSE: Duration = Duration::from_secs(2);

/// The consumer of one worker.
pub struct Consumer {
    topic: String,
    ranges: Vec<Range>,
    lags: Vec<IntGauge>,
    queue: Option<Queue>,
    health: Health,
    listened: Instant,
    committed: Instant,
}

impl Consumer {
    /// A consumer of these ranges; it fetches nothing before [`begin`](Consumer::begin).
    pub fn new(plan: &KafkaPlan, job: &str, ranges: Vec<Range>, health: Health) -> Result<Self> {
        let mut config = plan.connection.config(prefetch(plan.memory));
        config.set("group.id", plan.group.as_deref().unwrap_or(job));
        for (name, value) in [
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", "error"),
            ("allow.auto.create.topics", "false"),
        ] {
            config.set(name, value);
        }
        let cannot = |error| cannot_connect(&plan.connection, error);
        let client: BaseConsumer<Health> = config.create_with_context(health.clone()).map_err(cannot)?;
        let partitions: Vec<i32> = ranges.iter().map(|range| range.partition).collect();
        let queue = Queue::new(client, &plan.topic, &partitions, TAKE)
            .ok_or_else(|| Error::connect(format!("topic {}: the Kafka client makes no queue", plan.topic)))?;
        Ok(Consumer {
            lags: partitions.iter().map(|partition| metrics::kafka_lag(job, &plan.topic, *partition)).collect(),
            topic: plan.topic.clone(),
            ranges,
            queue: Some(queue),
            health,
            listened: Instant::now(),
            committed: Instant::now(),
        })
    }

    /// What it is to read.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// Begins to fetch; `wake` is called when something has come.
    pub fn begin(&mut self, wake: SyncActivator) -> Result<()> {
        let wanted = self.ranges.iter().filter(|range| !range.is_empty());
        let wanted = list(&self.topic, wanted.map(|range| (range.partition, range.start)))?;
        let Some(queue) = &mut self.queue else { return Ok(()) };
        queue.wake_by(wake);
        queue.consumer().assign(&wanted).map_err(|error| failed(&self.topic, error))
    }

    /// What has come.
    pub fn take(&mut self) -> Option<Batch<'_>> {
        self.queue.as_mut().map(Queue::take)
    }

    /// A broker has answered.
    pub fn answered(&self) {
        self.health.answered();
    }

    /// Fetches no more of a partition.
    pub fn stop(&self, partition: i32) -> Result<()> {
        let Some(queue) = &self.queue else { return Ok(()) };
        let stopped = list(&self.topic, [(partition, 0)].into_iter())?;
        queue.consumer().pause(&stopped).map_err(|error| failed(&self.topic, error))
    }

    /// Looks, now and then, at what the client has to tell: fails where waiting cannot help. `positions` are the
    /// next offsets of the ranges, in their order.
    pub fn listen(&mut self, positions: impl Iterator<Item = i64>) -> Result<()> {
        if self.listened.elapsed() < LISTEN {
            return Ok(());
        }
        self.listened = Instant::now();
        let Some(queue) = &self.queue else { return Ok(()) };
        while let Some(told) = queue.consumer().poll(Duration::ZERO) {
            match told {
                Err(KafkaError::MessageConsumptionFatal(error)) => return Err(failed(&self.topic, error)),
                Err(KafkaError::MessageConsumption(Code::GroupAuthorizationFailed)) => {
                    self.health.commits_fail(&KafkaError::ConsumerCommit(Code::GroupAuthorizationFailed));
                }
                Err(error) => tracing::debug!("topic {}: {error}", self.topic),
                Ok(_) => return Err(failed(&self.topic, "a message came past its queue: this is a bug of tapeflow")),
            }
        }
        if let Some(reason) = self.health.fatal() {
            return Err(failed(&self.topic, reason));
        }
        if self.health.in_doubt() {
            self.look_for_partitions(queue)?;
        }
        self.show_lag(positions);
        Ok(())
    }

    /// Whether all partitions are still there.
    fn look_for_partitions(&self, queue: &Queue) -> Result<()> {
        // Where no broker answers there is nothing to learn; the client will be in doubt again.
        let Ok(metadata) = queue.consumer().fetch_metadata(Some(&self.topic), LOOK) else { return Ok(()) };
        let found = metadata.topics().iter().find(|found| found.name() == self.topic);
        let partitions = match found.map(|found| (found.error(), found)) {
            Some((None, found)) => found.partitions().len(),
            Some((Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART), _)) => 0,
            _ => return Ok(()),
        };
        match self.ranges.iter().find(|range| range.partition as usize >= partitions) {
            Some(gone) => {
                Err(failed(&self.topic, format!("partition {} is gone: was the topic deleted?", gone.partition)))
            }
            None => Ok(()),
        }
    }

    fn show_lag(&self, positions: impl Iterator<Item = i64>) {
        let (Some(queue), Ok(topic)) = (&self.queue, CString::new(self.topic.as_str())) else { return };
        for ((range, lag), position) in self.ranges.iter().zip(&self.lags).zip(positions) {
            if let Some((_, high)) = queue.known_offsets(&topic, range.partition) {
                lag.set((high - position).max(0));
            }
        }
    }

    /// Commits offsets for lag tools, at most once in a while.
    pub fn commit(&mut self, offsets: impl Iterator<Item = (i32, i64)>) -> bool {
        if self.committed.elapsed() < COMMIT {
            return false;
        }
        self.committed = Instant::now();
        self.commit_now(offsets);
        true
    }

    fn commit_now(&self, offsets: impl Iterator<Item = (i32, i64)>) {
        if self.health.do_commits_fail() {
            return;
        }
        let (Some(queue), Ok(offsets)) = (&self.queue, list(&self.topic, offsets)) else { return };
        // The outcome comes to `Health`, which warns once: only lag tools read these offsets.
        let _ = queue.consumer().commit(&offsets, CommitMode::Async);
    }

    /// Commits a last time and lets go of the client, which takes a while where no broker answers.
    pub fn close(mut self, offsets: impl Iterator<Item = (i32, i64)>) {
        self.commit_now(offsets);
        self.lags.iter().for_each(|lag| lag.set(0));
        let queue = self.queue.take();
        let (closed, done) = channel();
        let close = move || {
            drop(queue);
            // Nobody listens any more when it took too long.
            let _ = closed.send(());
        };
        let thread = std::thread::Builder::new().name("kafka-close".to_string());
        if thread.spawn(close).is_ok() && done.recv_timeout(CLOSE).is_err() {
            tracing::warn!("topic {}: the last offsets may not be committed: no answer for {CLOSE:?}", self.topic);
        }
    }

    /// An error, in the words of a user: what failed, where, and what to do.
    pub fn failure(&self, failed: &Failed) -> Failure {
        let Failed { partition, offset, code, reason } = failed;
        let place = format!("topic {}, partition {partition}", self.topic);
        let hint = match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange => {
                return Failure::Fatal(Error::run(format!("{place}: {}", self.out_of_range(*partition, *offset))));
            }
            Code::TopicAuthorizationFailed => "the user may not read this topic: grant READ, or change `properties`",
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => "was the topic deleted?",
            Code::BadMessage | Code::InvalidMessage | Code::BadCompression => "what the broker keeps there is broken",
            Code::NotImplemented | Code::UnsupportedCompressionType => "it is compressed in a way that is not known",
            Code::MessageSizeTooLarge => "set receive.message.max.bytes in `properties`",
            _ => return Failure::Passing(format!("{place}, offset {offset}: {reason}")),
        };
        Failure::Fatal(Error::run(format!("{place}, offset {offset}: {reason}; {hint}")))
    }

    fn out_of_range(&self, partition: i32, offset: i64) -> String {
        let kept = self.queue.as_ref().map(|queue| queue.consumer().fetch_watermarks(&self.topic, partition, CLOSE));
        let kept = match kept {
            Some(Ok((low, high))) => format!("the broker keeps {low} to {high}"),
            _ => "the broker does not tell what it keeps".to_string(),
        };
        format!(
            "offset {offset} is not there any more, {kept}; \
             keep messages longer (retention.ms), or choose another `start`"
        )
    }
}

/// Whether a failure ends the job.
pub enum Failure {
    /// It does.
    Fatal(Error),
    /// The client tries again by itself.
    Passing(String),
}

fn failed(topic: &str, reason: impl std::fmt::Display) -> Error {
    Error::run(format!("topic {topic}: {reason}"))
}

fn list(topic: &str, offsets: impl Iterator<Item = (i32, i64)>) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).map_err(|error| failed(topic, error))?;
    }
    Ok(list)
}

/// Bounds what is fetched ahead. All partitions of a consumer share one queue, so the client's limits hold for
/// them together; half of the memory is for the queue, the rest for answers on their way, which arrive
/// compressed, and for bookkeeping.
fn prefetch(memory: u64) -> Vec<(&'static str, String)> {
    let queue = memory / 2;
    let answer = (memory / 16).clamp(1 << 20, 50 << 20);
    vec![
        ("queued.max.messages.kbytes", (queue / 1024).clamp(1, 2_097_151).to_string()),
        ("queued.min.messages", (queue / BOOKKEEPING).clamp(1, 10_000_000).to_string()),
        ("fetch.max.bytes", answer.to_string()),
        ("fetch.message.max.bytes", answer.min(1 << 20).to_string()),
        // How long a full queue is left alone: by default one second, in which a worker can empty it.
        ("fetch.queue.backoff.ms", "2".to_string()),
    ]
}
