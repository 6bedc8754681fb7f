//! A transactional producer: what it sends is seen as a whole or not at all, and who initialises its id next fences it.
//!
//! The calls block, so they belong on a thread beside the workers. Nothing is left to wait inside the client, whose
//! `flush` looks every 100 ms: a transaction is drained first, which its delivery reports tell, and then committed.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaError};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::{Connection, Health, PRODUCER, cannot_connect};
use crate::error::{Error, Result};

/// How long one call to the client may take before it is made again.
const CALL: Duration = Duration::from_secs(2);
/// How often it is looked whether what is waited for is still wanted. (Not by polling the client, which spins where less
/// than a millisecond of a time-out is left.)
const LOOK: Duration = Duration::from_millis(50);
/// How long a delivery report takes to return.
const SOON: Duration = Duration::from_micros(50);
/// After this long a call that may succeed yet is made again.
const AGAIN: Duration = Duration::from_millis(10);

/// Why a transaction did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Brokers were away for too long. Once it is aborted, the same may be sent again.
    Passing(String),
    /// It can only be aborted, or another has taken over.
    Final(String),
    /// Nobody wants it any more.
    Unwanted,
}

/// Whether to go on waiting.
pub type Wanted<'a> = &'a dyn Fn() -> bool;

/// A producer of transactions.
pub struct Transactions {
    producer: ThreadedProducer<Deliveries>,
    deliveries: Deliveries,
    id: String,
}

impl Transactions {
    /// A producer with the transactional id `id`, whose transactions the brokers abort after `timeout`: it outlives an
    /// outage that is shorter. Nothing is asked of the brokers yet.
    pub fn new(connection: &Connection, id: &str, timeout: Duration, health: Health) -> Result<Self> {
        let deliveries = Deliveries { health, shared: Arc::default() };
        let timeout = timeout.as_millis().to_string();
        let own = [("transactional.id", id), ("transaction.timeout.ms", &timeout), ("linger.ms", "0")];
        let defaults = PRODUCER.iter().chain(&own).map(|(name, value)| (*name, (*value).to_string()));
        let producer = connection.config(defaults).create_with_context(deliveries.clone());
        let producer = producer.map_err(|error| cannot_connect(connection, error))?;
        Ok(Transactions { producer, deliveries, id: id.to_string() })
    }

    /// Takes the id over: what another holder has open is aborted, and it can commit nothing more.
    pub fn init(&self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let Err(error) = self.producer.init_transactions(CALL) else { return Ok(()) };
            if !is_retriable(&error) || Instant::now() >= deadline {
                let reason = self.deliveries.health.fatal().or_else(|| self.deliveries.health.trouble());
                let (id, reason) = (&self.id, reason.unwrap_or_else(|| words(&error)));
                return Err(Error::connect(format!("transactional id {id}: {reason}{}", hint(&error))));
            }
            std::thread::sleep(AGAIN);
        }
    }

    /// Begins a transaction.
    pub fn begin(&self) -> Result<(), Failure> {
        self.deliveries.state().failure = None;
        self.producer.begin_transaction().map_err(|error| self.failed(&error))
    }

    /// Sends a message in the open transaction; waits while the client has no room.
    pub fn send(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
        wanted: Wanted<'_>,
    ) -> Result<(), Failure> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
        (record.key, record.payload) = (key, payload);
        self.deliveries.state().in_flight += 1;
        while let Err((error, again)) = self.producer.send(record) {
            if error.rdkafka_error_code() != Some(Code::QueueFull) {
                self.deliveries.state().in_flight -= 1;
                return Err(self.failed(&error));
            }
            let (in_flight, _) = (self.deliveries.state().in_flight, self.check()?);
            self.wait_while(wanted, |state| state.in_flight >= in_flight)?;
            record = again;
        }
        Ok(())
    }

    /// Waits until the brokers have all that was sent. The client gives up by itself after `transaction.timeout.ms`.
    pub fn drain(&self, wanted: Wanted<'_>) -> Result<(), Failure> {
        while self.deliveries.state().in_flight > 0 {
            self.wait_while(wanted, |state| state.in_flight > 0)?;
        }
        // The client counts a message until its delivery report has returned, and a commit meanwhile waits for 100 ms.
        while self.producer.in_flight_count() > 0 && wanted() {
            std::thread::sleep(SOON);
        }
        self.check()
    }

    /// Commits the open transaction, which must be drained. A commit that takes long goes on in the background: it is
    /// called again until its outcome is known.
    pub fn commit(&self, wanted: Wanted<'_>) -> Result<(), Failure> {
        self.until_known(wanted, || self.producer.commit_transaction(CALL))
    }

    /// Aborts the open transaction: nothing of it will ever be seen.
    pub fn abort(&self, wanted: Wanted<'_>) -> Result<(), Failure> {
        self.until_known(wanted, || self.producer.abort_transaction(CALL))
    }

    fn until_known(&self, wanted: Wanted<'_>, call: impl Fn() -> KafkaResult<()>) -> Result<(), Failure> {
        loop {
            let Err(error) = call() else { return Ok(()) };
            if !is_retriable(&error) {
                return Err(Failure::Final(self.reason(&error)));
            }
            if !wanted() {
                return Err(Failure::Unwanted);
            }
            tracing::debug!("transactional id {}: {}; trying again", self.id, words(&error));
            std::thread::sleep(AGAIN);
        }
    }

    /// Waits for delivery reports, for a moment; what has failed ends it.
    fn wait_while(&self, wanted: Wanted<'_>, goes_on: impl Fn(&State) -> bool) -> Result<(), Failure> {
        let state = self.deliveries.state();
        let waits = |state: &mut State| state.failure.is_none() && goes_on(state);
        drop(self.deliveries.shared.delivered.wait_timeout_while(state, LOOK, waits));
        self.check()?;
        if wanted() { Ok(()) } else { Err(Failure::Unwanted) }
    }

    fn check(&self) -> Result<(), Failure> {
        if let Some((code, reason)) = self.producer.client().fatal_error() {
            return Err(Failure::Final(self.fenced(code).unwrap_or(reason)));
        }
        if let Some(reason) = self.deliveries.health.fatal() {
            return Err(Failure::Final(reason));
        }
        self.deliveries.state().failure.clone().map_or(Ok(()), Err)
    }

    /// A message that has failed is told rather than what came of it.
    fn failed(&self, error: &KafkaError) -> Failure {
        self.check().err().unwrap_or_else(|| Failure::Final(self.reason(error)))
    }

    fn reason(&self, error: &KafkaError) -> String {
        let fatal = self.producer.client().fatal_error().map(|(code, _)| code);
        let fenced = fatal.or_else(|| error.rdkafka_error_code()).and_then(|code| self.fenced(code));
        fenced.unwrap_or_else(|| format!("{}{}", words(error), hint(error)))
    }

    /// Set where the id is another's now.
    fn fenced(&self, code: Code) -> Option<String> {
        matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch).then(|| {
            format!(
                "fenced: another generation of the job has taken over the transactional id {}, or a transaction was open \
                 for longer than `transaction.timeout.ms` and the brokers have given it up",
                self.id
            )
        })
    }
}

fn transaction_error(error: &KafkaError) -> Option<&RDKafkaError> {
    match error {
        KafkaError::Transaction(error) => Some(error),
        _ => None,
    }
}

/// Whether the call shall be made again.
fn is_retriable(error: &KafkaError) -> bool {
    match error {
        KafkaError::Flush(code) => *code == Code::OperationTimedOut,
        _ => transaction_error(error).is_some_and(|error| error.is_retriable() && !error.txn_requires_abort()),
    }
}

fn words(error: &KafkaError) -> String {
    transaction_error(error).map_or_else(|| error.to_string(), |error| format!("{} ({})", error.string(), error.name()))
}

fn hint(error: &KafkaError) -> &'static str {
    match error.rdkafka_error_code() {
        Some(Code::TransactionalIdAuthorizationFailed) => {
            "; grant WRITE and DESCRIBE on transactional ids that begin with `tapeflow-`"
        }
        Some(Code::InvalidTransactionTimeout) => {
            "; the broker's transaction.max.timeout.ms is less: lower it in `properties`"
        }
        Some(Code::InvalidTransactionalState) => {
            "; brokers were away for longer than `transaction.timeout.ms`, and what became of the transaction cannot be told"
        }
        Some(Code::TopicAuthorizationFailed) => "; grant WRITE on the topic",
        Some(Code::MessageSizeTooLarge) => "; raise max.message.bytes of the topic",
        _ => "",
    }
}

#[derive(Clone)]
struct Deliveries {
    health: Health,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    delivered: Condvar,
}

/// The messages of a transaction.
#[derive(Default)]
struct State {
    /// How many are on their way: each is told of once, also where it is thrown away.
    in_flight: usize,
    /// The first that has failed.
    failure: Option<Failure>,
}

impl Deliveries {
    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn delivered(&self, failure: Option<Failure>) {
        let mut state = self.state();
        state.in_flight -= 1;
        state.failure = state.failure.take().or(failure);
        self.shared.delivered.notify_one();
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.health.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.error(error, reason);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let Err((error, message)) = result else {
            self.health.answered();
            return self.delivered(None);
        };
        let reason = format!("topic {}, partition {}: {error}{}", message.topic(), message.partition(), hint(error));
        let failure = match error.rdkafka_error_code() {
            // What an abort throws away has not failed.
            Some(Code::PurgeQueue | Code::PurgeInflight) => None,
            Some(Code::MessageTimedOut) => Some(Failure::Passing(reason)),
            _ => Some(Failure::Final(reason)),
        };
        self.delivered(failure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;
    use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Response};

    type Cluster = MockCluster<'static, DefaultProducerContext>;

    /// Transactions of at most a second, and the brokers they go to.
    fn transactions() -> (Transactions, Cluster) {
        let cluster = MockCluster::new(1).expect("a cluster");
        cluster.create_topic("t", 1, 1).expect("a topic");
        let properties = [("reconnect.backoff.max.ms", "100")];
        let connection = Connection {
            brokers: cluster.bootstrap_servers(),
            properties: properties.map(|(name, value)| (name.to_string(), value.to_string())).to_vec(),
        };
        let transactions =
            Transactions::new(&connection, "id", Duration::from_secs(1), Health::new("t")).expect("a producer");
        transactions.init(Duration::from_secs(30)).expect("initialised");
        (transactions, cluster)
    }

    fn send(transactions: &Transactions) -> Result<(), Failure> {
        transactions.begin()?;
        transactions.send("t", Some(b"k"), Some(b"v"), &|| true)?;
        transactions.drain(&|| true)
    }

    #[test]
    fn a_commit_that_can_succeed_yet_is_called_again() {
        let (transactions, cluster) = transactions();
        send(&transactions).expect("sent");
        let passing = Response::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
        cluster.request_errors(Api::EndTxn, &[passing, Response::RD_KAFKA_RESP_ERR__TRANSPORT, passing]);
        assert_eq!(transactions.commit(&|| true), Ok(()));
    }

    #[test]
    fn who_is_fenced_is_told_and_never_goes_on() {
        let (transactions, cluster) = transactions();
        send(&transactions).expect("sent");
        cluster.request_errors(Api::EndTxn, &[Response::RD_KAFKA_RESP_ERR_PRODUCER_FENCED]);
        let fenced = |ended: Result<(), Failure>| match ended {
            Err(Failure::Final(reason)) => assert!(reason.starts_with("fenced: "), "{reason}"),
            other => panic!("{other:?}"),
        };
        fenced(transactions.commit(&|| true));
        fenced(transactions.abort(&|| true));
        fenced(send(&transactions));
    }

    #[test]
    fn what_no_broker_took_in_time_can_be_aborted_and_sent_again() {
        let (transactions, cluster) = transactions();
        cluster.broker_down(1).expect("down");
        assert!(matches!(send(&transactions), Err(Failure::Passing(_))));
        cluster.broker_up(1).expect("up");
        assert_eq!(transactions.abort(&|| true), Ok(()));
        assert_eq!(send(&transactions).and_then(|()| transactions.commit(&|| true)), Ok(()));
    }

    #[test]
    fn what_a_broker_refuses_is_not_sent_again() {
        let (transactions, cluster) = transactions();
        cluster.request_errors(Api::Produce, &[Response::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
        match send(&transactions) {
            Err(Failure::Final(reason)) => assert!(reason.contains("max.message.bytes"), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(transactions.abort(&|| true), Ok(()));
    }

    #[test]
    fn nobody_waits_for_what_is_not_wanted() {
        let (transactions, cluster) = transactions();
        send(&transactions).expect("sent");
        cluster.broker_down(1).expect("down");
        transactions.send("t", None, None, &|| true).expect("taken");
        assert_eq!(transactions.drain(&|| false), Err(Failure::Unwanted));
        assert_eq!(transactions.abort(&|| false), Err(Failure::Unwanted));
    }
}
