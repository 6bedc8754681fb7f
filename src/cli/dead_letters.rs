//! `tapeflow dead-letters`: records that could not be used, looked at and put back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};

use super::brokers::connection_of;
use super::job::load;
use super::letters::Letters;
use super::print::{say, tell};
use crate::error::{Error, Result};
use crate::kafka::{Inspector, Outbox, Outgoing};
use crate::sinks::dead_letters::{DeadLetter, Raw};
use crate::spec::{Plan, Role};

/// How long the brokers may take for the last messages.
const LAST: Duration = Duration::from_secs(60);
/// As much of a payload as is listed.
const EXCERPT: usize = 100;

/// What to do with dead letters.
#[derive(Subcommand)]
pub enum DeadLettersCommand {
    /// List the dead letters of a dataflow file's job.
    List {
        /// The dataflow file.
        file: PathBuf,
        /// Print them whole, as JSON lines.
        #[arg(long)]
        json: bool,
    },
    /// Put those that came from topics back, each into its own: key and payload as they were.
    Replay(ReplayArgs),
}

/// `tapeflow dead-letters replay`
#[derive(Args)]
pub struct ReplayArgs {
    /// The dataflow file; its [kafka] says where the brokers are.
    file: PathBuf,
    /// Put all of them into this topic instead.
    #[arg(long, value_name = "TOPIC")]
    to: Option<String>,
    /// Also those that an earlier replay has put back.
    #[arg(long)]
    all: bool,
}

/// Lists or replays.
pub fn dead_letters(command: &DeadLettersCommand) -> Result<()> {
    match command {
        DeadLettersCommand::List { file, json } => list(file, *json),
        DeadLettersCommand::Replay(args) => replay(args),
    }
}

fn list(file: &Path, json: bool) -> Result<()> {
    let (plan, _) = load(file)?;
    let mut count = 0u64;
    Letters::of(&plan)?.for_each(true, &mut |letter| {
        count += 1;
        let line = if json { serde_json::to_string(&letter).map_err(Error::run)? } else { describe(&letter) };
        say(&format!("{line}\n"))
    })?;
    tell(format!("{count} dead letters"));
    Ok(())
}

fn describe(letter: &DeadLetter) -> String {
    let DeadLetter { node, topic, partition, offset, reason, .. } = letter;
    let payload = match &letter.payload {
        None => "(no payload)".to_string(),
        Some(raw) => raw.to_string().chars().take(EXCERPT).collect(),
    };
    format!("{node}: {topic}/{partition}@{offset}: {reason}: {payload}")
}

fn replay(args: &ReplayArgs) -> Result<()> {
    let (plan, _) = load(&args.file)?;
    let connection = connection_of(&args.file)?;
    let inspector = Inspector::new(&connection, "replay")?;
    let letters = Letters::of(&plan)?;
    let outbox = Outbox::new(&connection, "replay")?;
    let (mut sent, mut left): (BTreeMap<String, u64>, u64) = (BTreeMap::new(), 0);
    let read = letters.for_each(args.all, &mut |letter| {
        let Some(topic) = target(&plan, args.to.as_deref(), &letter) else {
            left += 1;
            return Ok(());
        };
        if !sent.contains_key(&topic) {
            inspector.partitions(&topic)?;
        }
        put_back(&outbox, &topic, &letter)?;
        *sent.entry(topic).or_default() += 1;
        Ok(())
    })?;
    outbox.flush(LAST)?;
    letters.remember(read)?;
    for (topic, count) in &sent {
        tell(format!("{count} put back into {topic}"));
    }
    if left > 0 {
        tell(format!("{left} did not come from a topic and stay where they are; --to TOPIC takes them, too"));
    }
    if sent.is_empty() && left == 0 {
        tell("nothing to put back");
    }
    Ok(())
}

/// The topic a letter came from, or the one that was asked for.
fn target(plan: &Plan, to: Option<&str>, letter: &DeadLetter) -> Option<String> {
    let from_kafka = plan
        .nodes
        .iter()
        .any(|node| node.name == letter.node && node.kind == "kafka" && matches!(node.role, Role::Source(_)));
    to.map(str::to_string).or_else(|| from_kafka.then(|| letter.topic.clone()))
}

fn put_back(outbox: &Outbox, topic: &str, letter: &DeadLetter) -> Result<()> {
    let bytes = |raw: &Option<Raw>| raw.as_ref().map(Raw::bytes).transpose();
    let (key, payload) = (bytes(&letter.key)?, bytes(&letter.payload)?);
    outbox.send(Outgoing { topic, key: key.as_deref(), payload: payload.as_deref(), headers: None })
}
