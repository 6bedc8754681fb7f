//! What is said over HTTP: JSON, the same types on both sides.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::runtime::State;
use crate::runtime::size::Size;
use crate::sources::OnGap;
use crate::spec::Mistake;

/// `POST /api/v1/jobs`
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitRequest {
    /// What the file is called in messages.
    pub path: PathBuf,
    /// The dataflow file.
    pub text: String,
    /// Where its relative paths begin; they are opened where the workers are.
    pub base: PathBuf,
    /// The schemas it names.
    #[serde(default)]
    pub schemas: BTreeMap<String, String>,
    /// What to do where a job of that name is there already.
    #[serde(default)]
    pub mode: Mode,
    /// The job whose state it goes on from, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<FromJob>,
    /// What is done where messages that it would go on with are not there any more.
    #[serde(default)]
    pub on_offset_gap: OnGap,
    /// What is kept of these nodes and does not fit the file is left behind.
    #[serde(default)]
    pub forget: Vec<String>,
}

/// What a job goes on from: `NAME` or `NAME@NUMBER`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FromJob {
    /// The job.
    pub job: String,
    /// The number of the checkpoint; the newest by default.
    pub number: Option<u64>,
}

impl FromStr for FromJob {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((job, number)) = text.split_once('@') else {
            return Ok(FromJob { job: text.to_string(), number: None });
        };
        let wrong = |_| format!("`{number}` is not the number of a checkpoint; write NAME or NAME@NUMBER");
        Ok(FromJob { job: job.to_string(), number: Some(number.parse().map_err(wrong)?) })
    }
}

/// What to do where a job of that name is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Fine if it has the same text; a conflict otherwise.
    #[default]
    New,
    /// Stop it and run this one, unless it has the same text.
    Replace,
    /// Leave it, whatever its text.
    IfNotExists,
}

/// The answer to a submission.
#[derive(Debug, Serialize, Deserialize)]
pub struct Submitted {
    /// The name of the job.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Whether it was there already.
    pub already_running: bool,
    /// What is allowed in the file but probably not meant.
    pub warnings: Vec<Mistake>,
}

/// The answer to `POST /api/v1/jobs/NAME/savepoints`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Savepoint {
    /// The name of the job.
    pub name: String,
    /// Its id.
    pub id: String,
    /// The number of the checkpoint.
    pub savepoint: u64,
}

/// `PATCH /api/v1/jobs/NAME/nodes/NODE/thresholds`: values of one key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetRequest {
    /// The parts of the key, in the order of its columns; none for all keys that have no values of their own.
    #[serde(default)]
    pub key: Vec<String>,
    /// Names and values, as they would stand in the file.
    pub values: Vec<(String, String)>,
}

/// The answer to it, and to `PUT`.
#[derive(Debug, Serialize, Deserialize)]
pub struct SetTo {
    /// The name of the job.
    pub name: String,
    /// Its id.
    pub id: String,
    /// The node.
    pub node: String,
    /// What was set: `thresholds`.
    pub what: String,
    /// The first epoch that it holds for; 0 where nothing is kept of the job.
    pub epoch: u64,
    /// When it took effect (RFC 3339).
    pub since: String,
    /// Whether it is kept with the state of the job.
    pub kept: bool,
}

/// `POST /api/v1/cluster/size`: what is not given stays as it is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RescaleRequest {
    /// How many processes.
    #[serde(default)]
    pub processes: Option<u16>,
    /// How many workers each of them has.
    #[serde(default)]
    pub workers: Option<u16>,
}

/// The answer to it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rescaled {
    /// The size that the cluster had.
    pub before: Size,
    /// The size that was asked for.
    pub size: Size,
    /// The generation that had the size before.
    pub generation: u64,
    /// The process that was asked.
    pub process: u16,
    /// Whether the cluster begins anew by itself; otherwise nothing was ended.
    pub supervised: bool,
    /// What was taken of the jobs, where it does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub savepoints: Vec<Savepoint>,
}

/// The answer to `GET /api/v1/jobs`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Jobs {
    /// In the order in which they were built.
    pub jobs: Vec<JobReport>,
    /// Processes that did not answer: what they count is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreachable: Vec<usize>,
}

/// How a job is doing, in all processes together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobReport {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// How far it is.
    pub state: State,
    /// Why it failed, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// How often it was started again after a failure.
    #[serde(default)]
    pub restarts: u32,
    /// When it began (RFC 3339).
    pub started: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// A hash of its text and schemas.
    pub hash: String,
    /// The newest checkpoint that holds what it has done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<u64>,
    /// The newest savepoint that was taken since it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savepoint: Option<u64>,
    /// Rows that its sources have read.
    pub rows_in: u64,
    /// Rows that its sinks have written.
    pub rows_out: u64,
    /// Its nodes, in the order of the data.
    pub nodes: Vec<NodeReport>,
}

/// What a node has counted, on all workers together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// `source`, `operator` or `sink`.
    pub role: String,
    /// Its `type`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Rows that entered it.
    pub rows_in: u64,
    /// Rows that left it.
    pub rows_out: u64,
    /// Rows kept back because not all indicators were warm.
    pub held_back: u64,
    /// Rows that came too late for their window.
    #[serde(default)]
    pub late: u64,
    /// Rows of times at which the exchange of their window is closed.
    #[serde(default)]
    pub outside: u64,
    /// Messages that cancel or correct trades that are not there.
    #[serde(default)]
    pub unmatched: u64,
    /// Rows left out because their id had come before.
    #[serde(default)]
    pub repeats: u64,
    /// About how many bytes of memory its state takes.
    #[serde(default)]
    pub state_bytes: u64,
    /// Records that became dead letters.
    pub dead_letters: u64,
    /// Records that were skipped.
    pub skipped: u64,
    /// What was set of it while the job ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<SetReport>,
}

/// What was set of a node while its job ran.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetReport {
    /// What was set: `thresholds`.
    pub what: String,
    /// The first epoch that it holds for; 0 where nothing is kept of the job.
    pub epoch: u64,
    /// When it took effect (RFC 3339).
    pub since: String,
    /// How many workers have it.
    pub workers: usize,
}
