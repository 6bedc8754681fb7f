//! What was set of a node while its job runs.

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
    /// What was set, as the node reads it: of an alert its thresholds, as CSV.
    pub text: String,
}

impl Setting {
    /// A new one, of which it is not known yet from when on it holds.
    pub fn new(node: &str, text: String) -> Setting {
        Setting { id: Uuid::new_v4().simple().to_string(), node: node.to_string(), epoch: 0, text }
    }
}
