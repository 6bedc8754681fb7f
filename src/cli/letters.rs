//! Where the dead letters of a job are, and which of them were put back.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use crate::error::{Error, Result};
use crate::kafka::{ANSWER, Connection, Health, Inspector, cannot_connect};
use crate::sinks::dead_letters::{DeadLetter, file_of, read};
use crate::sinks::dead_letters_kafka;
use crate::spec::{DeadLettersTo, Plan};

/// The dead letters of a job.
pub enum Letters {
    /// JSON lines.
    File {
        /// The file.
        path: PathBuf,
    },
    /// Messages of a topic, which other jobs may share.
    Topic {
        /// Where.
        connection: Connection,
        /// The topic.
        topic: String,
        /// The job.
        job: String,
    },
}

/// How far dead letters were read.
pub enum ReadTo {
    /// So many lines.
    Line(usize),
    /// These offsets.
    Offsets(TopicPartitionList),
}

impl Letters {
    /// Where `plan` keeps them.
    pub fn of(plan: &Plan) -> Result<Self> {
        let job = plan.job.name.clone();
        match &plan.job.settings.dead_letters {
            DeadLettersTo::Folder(folder) => Ok(Letters::File { path: file_of(&plan.job.base.join(folder), &job) }),
            DeadLettersTo::Kafka(topic) => {
                let connection = plan.job.settings.kafka.clone();
                let connection = connection.ok_or_else(|| Error::Usage("[kafka] names no brokers".to_string()))?;
                Ok(Letters::Topic { connection, topic: topic.clone(), job })
            }
        }
    }

    /// Calls `each` with every letter, or with those that were not put back yet; tells how far it came.
    pub fn for_each(&self, all: bool, each: &mut dyn FnMut(DeadLetter) -> Result<()>) -> Result<ReadTo> {
        match self {
            Letters::File { path } => {
                let skip = if all { 0 } else { self.lines_put_back() };
                let mut lines = 0;
                if path.exists() {
                    for letter in read(path)? {
                        let letter = letter?;
                        lines += 1;
                        if lines > skip {
                            each(letter)?;
                        }
                    }
                }
                Ok(ReadTo::Line(lines))
            }
            Letters::Topic { connection, topic, job } => Reader::open(connection, topic, job, all)?.read(job, each),
        }
    }

    /// Notes that what was read is put back.
    pub fn remember(&self, read: ReadTo) -> Result<()> {
        match (self, read) {
            (Letters::File { path }, ReadTo::Line(lines)) if path.exists() => {
                let note = path.with_extension("put-back");
                std::fs::write(&note, lines.to_string())
                    .map_err(|error| Error::run(format!("{}: {error}", note.display())))
            }
            (Letters::Topic { connection, topic, job }, ReadTo::Offsets(offsets)) if offsets.count() > 0 => {
                let client = client(connection, job)?;
                let cannot = |error: KafkaError| Error::run(format!("topic {topic}: {error}"));
                client.commit(&offsets, CommitMode::Sync).map_err(cannot)
            }
            _ => Ok(()),
        }
    }

    /// How many lines of the file were put back.
    fn lines_put_back(&self) -> usize {
        let Letters::File { path } = self else { return 0 };
        let note = std::fs::read_to_string(path.with_extension("put-back"));
        note.ok().and_then(|note| note.trim().parse().ok()).unwrap_or(0)
    }
}

/// The group whose offsets say what was put back.
fn client(connection: &Connection, job: &str) -> Result<BaseConsumer<Health>> {
    let mut config = connection.config([]);
    config.set("group.id", format!("{job}.put-back")).set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "true").set("auto.offset.reset", "earliest");
    config.create_with_context(Health::new("dead letters")).map_err(|error| cannot_connect(connection, error))
}

/// Reads a topic to its end.
struct Reader {
    client: BaseConsumer<Health>,
    topic: String,
    partitions: usize,
    reached: TopicPartitionList,
}

impl Reader {
    fn open(connection: &Connection, topic: &str, job: &str, all: bool) -> Result<Self> {
        let partitions = Inspector::new(connection, "dead letters")?.partitions(topic)?;
        let client = client(connection, job)?;
        let cannot = |error: KafkaError| Error::run(format!("topic {topic}: {error}"));
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_range(topic, 0, partitions as i32 - 1);
        if !all {
            wanted = client.committed_offsets(wanted, ANSWER).map_err(cannot)?;
        }
        let mut start = TopicPartitionList::new();
        for element in wanted.elements() {
            let offset =
                if let Offset::Offset(offset) = element.offset() { Offset::Offset(offset) } else { Offset::Beginning };
            start.add_partition_offset(topic, element.partition(), offset).map_err(cannot)?;
        }
        client.assign(&start).map_err(cannot)?;
        Ok(Reader { client, topic: topic.to_string(), partitions, reached: TopicPartitionList::new() })
    }

    fn read(mut self, job: &str, each: &mut dyn FnMut(DeadLetter) -> Result<()>) -> Result<ReadTo> {
        let cannot = |error: KafkaError| Error::run(format!("topic {}: {error}", self.topic));
        let (mut ended, mut heard) = (0, Instant::now());
        while ended < self.partitions {
            match self.client.poll(Duration::from_millis(100)) {
                None if heard.elapsed() > ANSWER => {
                    return Err(Error::TimedOut(format!("topic {}: nothing came for {ANSWER:?}", self.topic)));
                }
                None => continue,
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) if error.rdkafka_error_code().is_none() => return Err(cannot(error)),
                // The client tries again by itself.
                Some(Err(error)) => tracing::debug!("{error}"),
                Some(Ok(message)) => {
                    let next = Offset::Offset(message.offset() + 1);
                    let known = self.reached.set_partition_offset(&self.topic, message.partition(), next);
                    known
                        .or_else(|_| self.reached.add_partition_offset(&self.topic, message.partition(), next))
                        .map_err(cannot)?;
                    if let Some(letter) = dead_letters_kafka::read(&message).filter(|letter| letter.job == job) {
                        each(letter)?;
                    }
                }
            }
            heard = Instant::now();
        }
        Ok(ReadTo::Offsets(self.reached))
    }
}
