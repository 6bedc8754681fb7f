//! Messages in flight: counted by epoch until the brokers have them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;
use timely::scheduling::SyncActivator;

use crate::batch::Epoch;
use crate::kafka::Health;

/// What one producer has in flight; clones share it.
#[derive(Clone)]
pub struct Flight(Arc<Shared>);

struct Shared {
    topic: String,
    health: Health,
    wake: OnceLock<SyncActivator>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How many messages of each epoch; in the order of the epochs.
    epochs: VecDeque<(Epoch, u64)>,
    total: u64,
    /// Somebody waits until this few are left.
    room_at: Option<u64>,
    failure: Option<String>,
}

impl Flight {
    /// Nothing is in flight to `topic`.
    pub fn new(topic: &str, health: Health) -> Self {
        Flight(Arc::new(Shared { topic: topic.to_string(), health, wake: OnceLock::new(), state: Mutex::default() }))
    }

    /// Has `wake` called when an epoch has landed, there is room again, or sending has failed.
    pub fn wake_by(&self, wake: SyncActivator) {
        // A producer belongs to one worker for its whole life.
        let _ = self.0.wake.set(wake);
    }

    /// `count` messages of `epoch` take off; to be told before they are sent.
    pub fn take_off(&self, epoch: Epoch, count: u64) {
        let mut state = self.state();
        state.total += count;
        match state.epochs.iter().rposition(|(other, _)| *other <= epoch) {
            Some(at) if state.epochs[at].0 == epoch => state.epochs[at].1 += count,
            Some(at) => state.epochs.insert(at + 1, (epoch, count)),
            None => state.epochs.push_front((epoch, count)),
        }
    }

    /// `count` messages of `epoch` have landed, or were never sent.
    pub fn land(&self, epoch: Epoch, count: u64) {
        let mut state = self.state();
        state.total = state.total.saturating_sub(count);
        let Some(at) = state.epochs.iter().position(|(other, _)| *other == epoch) else { return };
        state.epochs[at].1 = state.epochs[at].1.saturating_sub(count);
        let landed = state.epochs[at].1 == 0;
        if landed {
            state.epochs.remove(at);
        }
        let room = state.room_at.is_some_and(|few| state.total <= few);
        if room {
            state.room_at = None;
        }
        drop(state);
        if landed || room {
            self.wake();
        }
    }

    /// Wakes the worker when half of what is in flight has landed.
    pub fn want_room(&self) {
        let mut state = self.state();
        state.room_at = Some(state.total / 2);
    }

    /// The least epoch in flight, and how many messages there are.
    pub fn least(&self) -> (Option<Epoch>, u64) {
        let state = self.state();
        (state.epochs.front().map(|(epoch, _)| *epoch), state.total)
    }

    /// Why sending has failed, for good.
    pub fn failure(&self) -> Option<String> {
        self.state().failure.clone().or_else(|| self.0.health.fatal())
    }

    fn fail(&self, partition: i32, error: &KafkaError) {
        let Shared { topic, .. } = &*self.0;
        let place =
            if partition < 0 { format!("topic {topic}") } else { format!("topic {topic}, partition {partition}") };
        let hint = match error.rdkafka_error_code() {
            Some(Code::MessageTimedOut) => "; brokers were away for longer than `message.timeout.ms` in `properties`",
            Some(Code::TopicAuthorizationFailed) => "; the user may not write to this topic: grant WRITE",
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => "; was the topic deleted?",
            Some(Code::MessageSizeTooLarge) => "; raise max.message.bytes of the topic",
            _ => "",
        };
        let reason = self.0.health.fatal().unwrap_or_else(|| error.to_string());
        self.state().failure.get_or_insert(format!("{place}: {reason}{hint}"));
        self.wake();
    }

    fn wake(&self) {
        // A worker that is gone needs no waking.
        let _ = self.0.wake.get().map(SyncActivator::activate);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Flight {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.health.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.health.error(error, reason);
        if self.0.health.fatal().is_some() {
            self.wake();
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ProducerContext for Flight {
    /// The epoch of a message.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, epoch: usize) {
        match result {
            Ok(_) => self.0.health.answered(),
            Err((error, message)) => self.fail(message.partition(), error),
        }
        self.land(epoch as Epoch, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_epoch_is_in_flight_until_its_last_message_has_landed() {
        let flight = Flight::new("t", Health::new("t"));
        assert_eq!(flight.least(), (None, 0));
        flight.take_off(20, 2);
        flight.take_off(10, 1);
        flight.take_off(20, 1);
        assert_eq!(flight.least(), (Some(10), 4));
        flight.land(20, 2);
        assert_eq!(flight.least(), (Some(10), 2));
        flight.land(10, 1);
        assert_eq!(flight.least(), (Some(20), 1));
        flight.land(20, 1);
        assert_eq!(flight.least(), (None, 0));
    }
}
