//! `kafka`: rows as messages of a topic.
//!
//! Rows of one key are sent by one worker, in order, through an idempotent producer: the client's own retries
//! neither repeat nor reorder them. An epoch stays open until the brokers have acknowledged its messages.

mod encode;
mod flight;
mod sink;

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::producer::ThreadedProducer;

use encode::{Encoder, Times};
use flight::Flight;
use sink::KafkaSink;

use super::columns::ColumnsSpec;
use super::{Placement, PreparedSink, Sink, SinkContext, SinkPlan, SinkSpec};
use crate::error::{Error, Result};
use crate::kafka::{
    Connection, ConnectionSpec, CreateTopic, Health, Inspector, PRODUCER, PRODUCER_REFUSED, cannot_connect,
    create_topic,
};
use crate::runtime::Prepare;
use crate::spec::expression::{Scalar, scalar};
use crate::spec::{At, Check, Edge, Fields, OneOrMany};
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
        /// Nothing.
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
        guarantee: fields.get("guarantee", "exactly_once or at_least_once").optional(),
        create: fields
            .get("create", "{ partitions = ..., replication = ... }: make the topic where it is missing")
            .optional(),
        columns: ColumnsSpec::read(fields),
    })
}

impl SinkSpec for KafkaSpec {
    fn plan(&self, _name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<Arc<dyn SinkPlan>> {
        let connection = self.connection.plan(PRODUCER_REFUSED, check.findings);
        let projection = self.columns.plan(input, check);
        let key = self.key(input, check);
        if let Some(guarantee) = self.guarantee.as_ref().filter(|word| word.value == Guarantee::ExactlyOnce) {
            check.findings.warning(&guarantee.span, NO_TRANSACTIONS);
        }
        Some(Arc::new(KafkaPlan {
            connection: connection?,
            topic: self.topic.value.clone(),
            create: self.create.as_ref().map(|create| create.value),
            encoder: Encoder::new(projection?, key?, self.times),
            placement: placement(input),
        }))
    }
}

const NO_TRANSACTIONS: &str =
    "this build has no transactions yet: it keeps at_least_once across a crash, and exactly_once without one";

impl KafkaSpec {
    fn key(&self, input: &Edge, check: &Check<'_>) -> Option<Vec<Scalar>> {
        let Some(key) = &self.key else {
            return Some(input.key.iter().map(|at| Scalar::column(&input.schema, *at)).collect());
        };
        let scalars = key.0.iter().map(|key| scalar(key, &input.schema, check.findings)).collect::<Vec<_>>();
        scalars.into_iter().collect()
    }
}

/// Rows that are not yet at the worker of their key are brought there, so that one producer sends them in order.
fn placement(input: &Edge) -> Placement {
    if input.placed || input.key.is_empty() { Placement::Anywhere } else { Placement::ByColumns(input.key.clone()) }
}

#[derive(Clone)]
struct KafkaPlan {
    connection: Connection,
    topic: String,
    create: Option<CreateTopic>,
    encoder: Encoder,
    placement: Placement,
}

type Producer = ThreadedProducer<Flight>;

impl KafkaPlan {
    /// Looks whether the topic is there, and makes it where that is wanted.
    fn find_topic(&self) -> Result<()> {
        let who = format!("topic {}", self.topic);
        let inspector = Inspector::new(&self.connection, &who)?;
        match self.create {
            Some(how) => {
                create_topic(&self.connection, &who, &self.topic, how)?;
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

impl SinkPlan for KafkaPlan {
    fn placement(&self) -> Placement {
        self.placement.clone()
    }

    fn prepare(&self, prepare: &Prepare) -> Result<Arc<dyn PreparedSink>> {
        self.find_topic()?;
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
            format!("at_least_once: {NO_TRANSACTIONS}"),
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
