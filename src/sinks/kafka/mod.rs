//! `kafka`: rows as messages of a topic.
//!
//! Rows of one key are sent by one worker, in order, through an idempotent producer: the client's own retries
//! neither repeat nor reorder them. An epoch stays open until the brokers have acknowledged its messages, or, with
//! `guarantee = "exactly_once"`, until the transaction that holds it is committed.

mod claims;
mod committer;
mod encode;
mod exactly_once;
mod flight;
mod fresh;
mod markers;
mod positions;
mod sink;

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::producer::ThreadedProducer;

use encode::{Encoder, Times};
use exactly_once::ExactlyOnce;
use flight::Flight;
use sink::KafkaSink;

use super::columns::{ColumnsSpec, op_of};
use super::{Placement, PreparedSink, Sink, SinkContext, SinkPlan, SinkSpec};
use crate::error::{Error, Result};
use crate::kafka::{
    Connection, ConnectionSpec, CreateTopic, Health, Inspector, PRODUCER, PRODUCER_REFUSED, cannot_connect,
    create_topic,
};
use crate::runtime::Prepare;
use crate::sources::lanes::PlaceColumns;
use crate::spec::expression::{Scalar, scalar};
use crate::spec::{At, Check, Edge, EdgeKind, Fields, OneOrMany};
use crate::words;

words! {
    /// How a message is written.
    Format {
        /// A JSON object.
        Json = "json",
    }
}

words! {
    /// What a crash may do to the topic.
    Guarantee {
        /// Nothing that readers with `isolation.level=read_committed` see.
        ExactlyOnce = "exactly_once",
        /// Rows may be there twice.
        AtLeastOnce = "at_least_once",
    }
}

struct KafkaSpec {
    connection: ConnectionSpec,
    topic: At<String>,
    key: Option<At<OneOrMany<String>>>,
    times: Times,
    guarantee: Option<At<Guarantee>>,
    markers: String,
    create: Option<At<CreateTopic>>,
    columns: ColumnsSpec,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn SinkSpec> {
    let connection = ConnectionSpec::read(fields);
    let topic = fields.get("topic", "the topic").required();
    // There is one format yet, so that it need not be kept.
    fields.get("format", "json: an object a message").or(Format::Json);
    Box::new(KafkaSpec {
        connection,
        topic,
        key: fields
            .get(
                "key",
                "the Kafka key: an expression, or a list written as a JSON object; the rows' own key by default",
            )
            .optional(),
        times: fields
            .get("times", "how times are written: rfc3339 (the default), or a number of s, ms, us, ns")
            .or(Times::Rfc3339),
        guarantee: fields
            .get("guarantee", "exactly_once (the default where the job's state is kept) or at_least_once")
            .optional(),
        markers: fields
            .get(
                "markers",
                "the compacted topic in which exactly_once notes what was committed; tapeflow-markers by default",
            )
            .or("tapeflow-markers".to_string()),
        create: fields
            .get("create", "{ partitions = ..., replication = ... }: make the topic where it is missing")
            .optional(),
        columns: ColumnsSpec::read(fields),
    })
}

impl SinkSpec for KafkaSpec {
    fn plan(&self, name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<Arc<dyn SinkPlan>> {
        let connection = self.connection.plan(PRODUCER_REFUSED, check.findings);
        let projection = self.columns.plan_without_op(input, check);
        let key = self.key(input, check);
        let exactly = self.exactly_once(name, input, check);
        Some(Arc::new(KafkaPlan {
            connection: connection?,
            topic: self.topic.value.clone(),
            create: self.create.as_ref().map(|create| create.value),
            encoder: Encoder::new(projection?, key?, self.times).of_changes(op_of(input)),
            placement: placement(input, exactly.is_some()),
            exactly,
        }))
    }
}

impl KafkaSpec {
    fn key(&self, input: &Edge, check: &Check<'_>) -> Option<Vec<Scalar>> {
        let Some(key) = &self.key else {
            // Of changes the topic holds the last one of each row, once it is compacted.
            let key = if input.kind == EdgeKind::Changes { &input.row_key } else { &input.key };
            return Some(key.iter().map(|at| Scalar::column(&input.schema, *at)).collect());
        };
        self.check_key_of_changes(key, input, check);
        let scalars = key.0.iter().map(|key| scalar(key, &input.schema, check.findings)).collect::<Vec<_>>();
        scalars.into_iter().collect()
    }

    /// Rows of which one replaces another must have its key.
    fn check_key_of_changes(&self, key: &OneOrMany<String>, input: &Edge, check: &Check<'_>) {
        let names: Vec<&str> = input.row_key.iter().map(|at| input.schema.field(*at).name().as_str()).collect();
        let is_there = |name: &str| key.0.iter().any(|key| key.value == name);
        if let (EdgeKind::Changes, Some(first)) = (input.kind, key.0.first())
            && !names.iter().all(|name| is_there(name))
        {
            let message =
                format!("these rows replace one another by {}: a key without these mixes them up", names.join(", "));
            check.findings.warning(&first.span, message);
        }
    }

    /// How rows are written once, where that is asked for, or where it can be done and costs little.
    fn exactly_once(&self, name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<ExactlyOnce> {
        let asked = match &self.guarantee {
            Some(guarantee) if guarantee.value == Guarantee::AtLeastOnce => return None,
            guarantee => guarantee.as_ref(),
        };
        let columns = PlaceColumns::of(input).filter(|_| input.kind == EdgeKind::Append);
        // The last value of each key is exact at every restart: there is nothing to add.
        if let (None, Some(guarantee), EdgeKind::Append) = (columns, asked, input.kind) {
            check.findings.mistake(&guarantee.span, NO_PLACES);
        }
        // Without a key one worker would have to send all rows: nobody shall have that who has not asked for it.
        let can = asked.is_some() || input.placed || !input.key.is_empty();
        columns.filter(|_| can).map(|columns| ExactlyOnce {
            sink: name.value.clone(),
            input: input.clone(),
            columns,
            markers: self.markers.clone(),
            always: asked.is_some(),
        })
    }
}

const NO_PLACES: &str =
    "exactly_once is for rows of sources and windows, and these have no place there: write at_least_once";

/// Rows that are not yet at the worker of their key are brought there, so that one producer sends them in order.
///
/// For `exactly_once` that holds without a key, too; and rows of several inputs, of which two may be made of the same row
/// of a source, are put in order, so that one place tells of all before it.
fn placement(input: &Edge, exactly_once: bool) -> Placement {
    match exactly_once {
        true if !input.in_order => Placement::ByColumnsSorted(input.key.clone()),
        true if !input.placed => Placement::ByColumns(input.key.clone()),
        false if !input.placed && !input.key.is_empty() => Placement::ByColumns(input.key.clone()),
        _ => Placement::Anywhere,
    }
}

#[derive(Clone)]
struct KafkaPlan {
    connection: Connection,
    topic: String,
    create: Option<CreateTopic>,
    encoder: Encoder,
    placement: Placement,
    exactly: Option<ExactlyOnce>,
}

type Producer = ThreadedProducer<Flight>;

impl KafkaPlan {
    /// Looks whether the topic is there, and makes it where that is wanted.
    fn find_topic(&self) -> Result<()> {
        let who = format!("topic {}", self.topic);
        let inspector = Inspector::new(&self.connection, &who)?;
        match self.create {
            Some(how) => {
                create_topic(&self.connection, &who, &self.topic, how, &[])?;
                inspector.partitions_of_new(&self.topic).map(drop)
            }
            None => inspector.partitions(&self.topic).map(drop),
        }
    }

    fn producer(&self, health: &Health) -> Result<Producer> {
        let config = self.connection.config(PRODUCER.iter().map(|(name, value)| (*name, (*value).to_string())));
        let made = config.create_with_context(Flight::new(&self.topic, health.clone()));
        made.map_err(|error| cannot_connect(&self.connection, error))
    }
}

impl KafkaPlan {
    fn guarantee(&self) -> String {
        match &self.exactly {
            Some(exactly) if exactly.always => format!("exactly_once, noted in topic {}", exactly.markers),
            Some(exactly) => format!("exactly_once, noted in topic {}, where the job's state is kept", exactly.markers),
            None => Guarantee::AtLeastOnce.to_string(),
        }
    }
}

impl SinkPlan for KafkaPlan {
    fn placement(&self) -> Placement {
        self.placement.clone()
    }

    fn prepare(&self, prepare: &Prepare) -> Result<Arc<dyn PreparedSink>> {
        self.find_topic()?;
        let exactly = self.exactly.as_ref().filter(|exactly| exactly.always || prepare.recovery.is_some());
        if let Some(exactly) = exactly {
            return exactly.prepare(self, prepare);
        }
        // Shared, so that what concerns all workers is told once.
        let health = Health::new(format!("topic {}", self.topic));
        let producers = prepare.local_workers.clone().map(|worker| Ok((worker, self.producer(&health)?)));
        Ok(Arc::new(Prepared { plan: self.clone(), producers: Mutex::new(producers.collect::<Result<_>>()?) }))
    }

    fn look(&self) -> Result<()> {
        let inspector = Inspector::new(&self.connection, &format!("topic {}", self.topic))?;
        match self.create {
            Some(_) => inspector.answers(),
            None => inspector.partitions(&self.topic).map(drop),
        }
    }

    fn details(&self) -> Vec<String> {
        vec![
            format!("topic {} at {} as {}", self.topic, self.connection.brokers, Format::Json),
            format!("key: {}", self.encoder.describe_key()),
            self.guarantee(),
        ]
    }
}

struct Prepared {
    plan: KafkaPlan,
    producers: Mutex<Vec<(usize, Producer)>>,
}

impl PreparedSink for Prepared {
    fn open(&self, context: SinkContext) -> Box<dyn Sink> {
        let mut producers = self.producers.lock().unwrap_or_else(PoisonError::into_inner);
        let own = producers.iter().position(|(worker, _)| *worker == context.worker);
        let producer = own.map(|at| producers.swap_remove(at).1);
        let in_order = self.plan.placement != Placement::Anywhere && context.workers > 1;
        Box::new(KafkaSink::new(&self.plan.topic, self.plan.encoder.clone(), producer, in_order, context))
    }
}

/// What a worker that was not prepared says.
fn unprepared(topic: &str) -> Error {
    Error::run(format!("topic {topic}: rows came to a worker that has no producer"))
}
