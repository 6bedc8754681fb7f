//! `kafka`: the messages of a topic.
//!
//! Partitions are assigned, never subscribed: partition `p` belongs to worker `p % workers`, which has one
//! consumer for all of its partitions. A worker without partitions ends at once and holds nothing back.

mod batch;
mod consumer;
mod durable;
mod marks;
mod messages;
mod offsets;
mod partitions;
mod position;
mod reader;
mod unkeyed;

use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

pub use offsets::OnGap;

use consumer::Consumer;
use offsets::{Range, Start};
use position::Position;
use reader::KafkaReader;

use super::seq::SeqLayout;
use super::shape::{ShapePlan, ShapeSpec};
use super::{PreparedSource, Reader, ReaderContext, SourcePlan, SourceSpec};
use crate::error::{Error, Result};
use crate::formats::{CsvDecoder, CsvOptions, Decoder, JsonDecoder, JsonOptions, MessageSchema, SchemaSpec};
use crate::kafka::{Connection, ConnectionSpec, Health, Inspector, Refused};
use crate::runtime::Prepare;
use crate::spec::{At, Check, Edge, Fields, Findings, FromToml, Size, expected};
use crate::state::Entry;
use crate::words;

words! {
    /// How a message is written.
    Format {
        /// A JSON object, or an array of them.
        Json = "json",
        /// One record of comma-separated values.
        Csv = "csv",
    }
}

words! {
    /// Where reading ends.
    Stop {
        /// It goes on for ever.
        Never = "never",
        /// At the offsets that stand when the job starts.
        End = "end",
    }
}

/// Where the records are in a message that holds several.
struct ArrayPath(String);

impl FromToml for ArrayPath {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(true) => Some(ArrayPath(String::new())),
            DeValue::String(_) => String::from_toml(value, findings).map(ArrayPath),
            _ => expected(value, findings, "true, or the path of an array like \"data.trades\""),
        }
    }
    fn schema() -> Json {
        json!({ "anyOf": [{ "const": true }, { "type": "string" }] })
    }
}

/// Properties that would break what a source promises.
const REFUSED: &[Refused] = &[
    ("group.id", "write `group`"),
    ("auto.offset.reset", "write `start`"),
    ("enable.auto.commit", "offsets are committed when their rows are durable"),
    ("enable.auto.offset.store", "offsets are committed when their rows are durable"),
    ("enable.partition.eof", "the ends of partitions have to be seen"),
    ("queued.min.messages", "write `memory`"),
    ("queued.max.messages.kbytes", "write `memory`"),
];

struct KafkaSpec {
    connection: ConnectionSpec,
    topic: At<String>,
    format: Format,
    schema: At<SchemaSpec>,
    key_schema: Option<At<SchemaSpec>>,
    array: Option<At<ArrayPath>>,
    start: Option<At<String>>,
    stop: Stop,
    group: Option<At<String>>,
    memory: Size,
    shape: ShapeSpec,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn SourceSpec> {
    Box::new(KafkaSpec {
        connection: ConnectionSpec::read(fields),
        topic: fields.get("topic", "the topic").required(),
        format: fields.get("format", "json (the default) or csv").or(Format::Json),
        schema: fields.get("schema", "an .avsc file, or a table of columns and types").required(),
        key_schema: fields
            .get("key_schema", "likewise, where the Kafka key is a record of its own: it adds its columns")
            .optional(),
        array: fields
            .get("array", "a message is an array of records: true, or the path to one in it, like \"data.trades\"")
            .optional(),
        start: fields.get("start", "earliest (the default), latest, or a time like 2026-01-05T14:30:00Z").optional(),
        stop: fields
            .get("stop", "never (the default), or end: at the offsets that stand when the job starts")
            .or(Stop::Never),
        group: fields.get("group", "where lag tools find the offsets; the job's name by default").optional(),
        memory: fields
            .get("memory", "how much each worker fetches ahead of its reading; 64MB by default")
            .or(Size(64_000_000)),
        shape: ShapeSpec::read(fields, None, None),
    })
}

impl SourceSpec for KafkaSpec {
    fn plan(&self, name: &At<String>, check: &Check<'_>) -> Option<(Edge, Arc<dyn SourcePlan>)> {
        let findings = check.findings;
        let connection = self.connection.plan(REFUSED, findings);
        let start = match &self.start {
            None => Some(Start::Earliest),
            Some(start) => start.parse().map_err(|message: String| findings.mistake(&start.span, message)).ok(),
        };
        if let Some(array) = self.array.as_ref().filter(|_| self.format != Format::Json) {
            findings.mistake(&array.span, "only JSON messages hold arrays of records");
        }
        let value = self.schema.resolve(check);
        let key = match &self.key_schema {
            None => Some(None),
            Some(schema) => schema.resolve(check).map(Some),
        };
        let (value, key) = (value?, key?);
        let messages = self.together(&value, key.as_ref(), findings)?;
        let layout = SeqLayout::topic(self.array.is_some());
        let (edge, shape) = self.shape.plan(messages.arrow_fields(), layout, check)?;
        let plan = KafkaPlan {
            name: name.value.clone(),
            connection: connection?,
            topic: self.topic.value.clone(),
            format: self.format,
            value,
            key,
            messages,
            array: self.array.as_ref().map(|array| array.value.0.clone()),
            start: start?,
            stop: self.stop,
            group: self.group.as_ref().map(|group| group.value.clone()),
            memory: self.memory.0,
            epoch: check.job.epoch,
            shape,
        };
        Some((edge, Arc::new(plan)))
    }
}

impl KafkaSpec {
    /// The columns of message and key.
    fn together(
        &self,
        value: &MessageSchema,
        key: Option<&MessageSchema>,
        findings: &Findings,
    ) -> Option<MessageSchema> {
        if value.fields.is_empty() {
            findings.mistake(&self.schema.span, "a schema has at least one column");
            return None;
        }
        let mut all = value.clone();
        for field in key.iter().flat_map(|key| &key.fields) {
            if value.fields.iter().any(|other| other.name == field.name) {
                let span = self.key_schema.as_ref().map_or(&self.schema.span, |schema| &schema.span);
                findings.mistake(span, format!("key and message both have a column `{}`", field.name));
                return None;
            }
            all.fields.push(field.clone());
        }
        Some(all)
    }
}

/// A topic to be read, checked and typed.
#[derive(Clone)]
struct KafkaPlan {
    name: String,
    connection: Connection,
    topic: String,
    format: Format,
    value: MessageSchema,
    key: Option<MessageSchema>,
    /// Both together.
    messages: MessageSchema,
    array: Option<String>,
    start: Start,
    stop: Stop,
    group: Option<String>,
    memory: u64,
    epoch: Duration,
    shape: Arc<ShapePlan>,
}

impl KafkaPlan {
    fn decoder(&self) -> Box<dyn Decoder> {
        match self.format {
            Format::Json => {
                let options = JsonOptions { array: self.array.clone() };
                Box::new(JsonDecoder::new(&self.value, self.key.as_ref(), options))
            }
            Format::Csv => Box::new(CsvDecoder::new(&self.value, self.key.as_ref(), CsvOptions::default())),
        }
    }

    /// Whether the topic is there, with how many partitions.
    fn inspect(&self) -> Result<(Inspector, usize)> {
        let inspector = Inspector::new(&self.connection, &format!("topic {}", self.topic))?;
        let partitions = inspector.partitions(&self.topic)?;
        let most = self.shape.layout.partitions();
        if partitions as u64 > most {
            return Err(Error::Usage(format!("topic `{}` has {partitions} partitions, {most} at most", self.topic)));
        }
        Ok((inspector, partitions))
    }

    /// Whether it matters that messages without a key are spread over all partitions.
    fn wants_keys(&self, partitions: usize) -> bool {
        partitions > 1 && self.shape.order.is_none()
    }
}

impl SourcePlan for KafkaPlan {
    fn prepare(&self, prepare: &Prepare) -> Result<Arc<dyn PreparedSource>> {
        let (inspector, partitions) = self.inspect()?;
        // Shared, so that what concerns all workers is told once.
        let health = Health::new(format!("topic {}", self.topic));
        // A partition that came later is read from its first message.
        let start = if prepare.positions(&self.name).next().is_some() { Start::Earliest } else { self.start };
        let mut workers = Vec::new();
        for worker in prepare.local_workers.clone() {
            let own: Vec<i32> = (worker..partitions).step_by(prepare.workers).map(|own| own as i32).collect();
            if !own.is_empty() {
                let mut ranges = offsets::resolve(&inspector, &self.topic, &own, start, self.stop)?;
                let kept = prepare.positions(&self.name);
                position::go_on(&mut ranges, kept, &inspector, &self.topic, prepare.on_gap())?;
                workers.push((worker, Consumer::new(self, &prepare.job, ranges, health.clone())?));
            }
        }
        let ranges = workers.iter().flat_map(|(_, consumer)| consumer.ranges());
        let ranges: Vec<Range> = ranges.copied().collect();
        let extent = (self.stop == Stop::End).then(|| ranges.iter().filter_map(Range::length).sum());
        Ok(Arc::new(Prepared {
            plan: self.clone(),
            untold: Arc::new(AtomicBool::new(self.wants_keys(partitions))),
            workers: Mutex::new(workers),
            ranges,
            extent,
            greatest: Arc::new(AtomicI64::new(i64::MIN)),
        }))
    }

    fn look(&self) -> Result<()> {
        let (inspector, partitions) = self.inspect()?;
        let all: Vec<i32> = (0..partitions as i32).collect();
        offsets::resolve(&inspector, &self.topic, &all, self.start, self.stop)?;
        unkeyed::warn(self, partitions)
    }

    fn shape(&self) -> &Arc<ShapePlan> {
        &self.shape
    }

    fn messages(&self) -> &MessageSchema {
        &self.messages
    }

    fn what(&self) -> String {
        format!("topic {}", self.topic)
    }

    fn details(&self) -> Vec<String> {
        let ends = if self.stop == Stop::End { " to the end" } else { "" };
        vec![
            format!("topic {} at {} as {}", self.topic, self.connection.brokers, self.format),
            format!("from {}{ends}", self.start),
        ]
    }
}

struct Prepared {
    plan: KafkaPlan,
    /// Whether a message without a key is still to be told of.
    untold: Arc<AtomicBool>,
    workers: Mutex<Vec<(usize, Consumer)>>,
    /// What is read in this process.
    ranges: Vec<Range>,
    extent: Option<u64>,
    /// The greatest watermark of any partition read here.
    greatest: Arc<AtomicI64>,
}

impl PreparedSource for Prepared {
    fn reader(&self, context: ReaderContext) -> Box<dyn Reader> {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let own = workers.iter().position(|(worker, _)| *worker == context.worker);
        let consumer = own.map(|at| workers.swap_remove(at).1);
        let (greatest, untold) = (Arc::clone(&self.greatest), Arc::clone(&self.untold));
        Box::new(KafkaReader::new(&self.plan, consumer, greatest, untold, context))
    }

    fn begins(&self) -> Result<Vec<Entry>> {
        let begin = |range: &Range| {
            let Range { partition, start, stop, watermark } = *range;
            Position { offset: start, stop, watermark }.entry(partition)
        };
        self.ranges.iter().map(begin).collect()
    }

    fn extent(&self) -> Option<u64> {
        self.extent
    }
}
