//! What was set of a node while its job runs.

use chrono::{SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Something of a node was set. It is part of every checkpoint from then on, like the state of operators.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// What tells it from all others.
    pub id: String,
    /// The node.
    pub node: String,
    /// The first epoch that it holds for; 0 where nothing is kept of the job.
    pub epoch: u64,
    /// When it took effect (RFC 3339); epochs may be ahead of the clock.
    pub since: String,
    /// What was set, as the node reads it: of an alert its thresholds, as CSV.
    pub text: String,
}

impl Setting {
    /// A new one, which holds at once until an epoch is known.
    pub fn new(node: &str, text: String) -> Setting {
        Setting { id: Uuid::new_v4().simple().to_string(), node: node.to_string(), epoch: 0, since: now(), text }
    }

    /// It holds from `epoch` on, which is about to come.
    pub fn from(self, epoch: u64) -> Setting {
        Setting { epoch, since: now(), ..self }
    }
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}
