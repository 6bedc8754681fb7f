//! What librdkafka tells about its connection: logged once, kept for messages, fatal where waiting cannot help.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode as Code;

/// The health of a client's connection; clones share it.
#[derive(Clone)]
pub struct Health(Arc<State>);

struct State {
    who: String,
    away: AtomicBool,
    in_doubt: AtomicBool,
    commits_failed: AtomicBool,
    trouble: Mutex<Option<String>>,
    fatal: Mutex<Option<String>>,
}

impl Health {
    /// Of a client that nothing was heard of; `who` it serves stands in logs.
    pub fn new(who: impl Into<String>) -> Self {
        Health(Arc::new(State {
            who: who.into(),
            away: AtomicBool::new(false),
            in_doubt: AtomicBool::new(false),
            commits_failed: AtomicBool::new(false),
            trouble: Mutex::default(),
            fatal: Mutex::default(),
        }))
    }

    /// What will not get better by waiting.
    pub fn fatal(&self) -> Option<String> {
        self.0.fatal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What went wrong last.
    pub fn trouble(&self) -> Option<String> {
        self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A broker has answered.
    pub fn answered(&self) {
        if self.0.away.load(Ordering::Relaxed) && self.0.away.swap(false, Ordering::Relaxed) {
            tracing::warn!("{}: brokers answer again", self.0.who);
        }
    }

    /// Whether the client has lost sight of a topic or partition since this was asked last.
    pub fn in_doubt(&self) -> bool {
        self.0.in_doubt.swap(false, Ordering::Relaxed)
    }

    /// Offsets could not be committed. Only tools that show lag read them, so the job goes on.
    pub fn commits_fail(&self, error: &KafkaError) {
        if !self.0.commits_failed.swap(true, Ordering::Relaxed) {
            tracing::warn!("{}: offsets cannot be committed, lag tools will not see them: {error}", self.0.who);
        }
    }

    /// Whether offsets could not be committed.
    pub fn do_commits_fail(&self) -> bool {
        self.0.commits_failed.load(Ordering::Relaxed)
    }

    fn set(place: &Mutex<Option<String>>, reason: &str) {
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_string());
    }
}

impl ClientContext for Health {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // A partition that is gone comes to consumers of the batch call as this line only.
        if facility == "ERROR" {
            self.0.in_doubt.store(true, Ordering::Relaxed);
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::warn!("{}: {facility} {message}", self.0.who);
            }
            // What matters of the rest comes to `error` as well.
            _ => tracing::debug!("{}: {facility} {message}", self.0.who),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::Fatal) => {
                Health::set(&self.0.fatal, reason);
            }
            Some(Code::AllBrokersDown) => {
                if !self.0.away.swap(true, Ordering::Relaxed) {
                    let last = self.trouble().unwrap_or_else(|| reason.to_string());
                    tracing::warn!("{}: no broker answers, trying again until one does: {last}", self.0.who);
                }
            }
            _ => {
                Health::set(&self.0.trouble, reason);
                tracing::debug!("{}: {error}: {reason}", self.0.who);
            }
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ConsumerContext for Health {
    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        match result {
            Ok(()) => self.0.commits_failed.store(false, Ordering::Relaxed),
            Err(error) => self.commits_fail(&error),
        }
    }
}
