//! `tapeflow checkpoint`: what is kept of jobs, looked at and looked after where it lies.

use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat};
use clap::{Args, Subcommand};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value as Json, json};

use super::print::{grouped, say, tell, warn};
use crate::config::{Config, Flags};
use crate::error::{Error, Result};
use crate::runtime::runtime;
use crate::state::{Checkpoints, Manifest, Store};

/// What to do with checkpoints.
#[derive(Subcommand)]
pub enum CheckpointCommand {
    /// List the checkpoints, newest first.
    List {
        #[command(flatten)]
        which: Which,
    },
    /// Read all that a resume would read, and name what is damaged.
    Verify {
        #[command(flatten)]
        which: Which,
    },
    /// Remove old checkpoints; savepoints stay unless asked for, and so does what is being written.
    Prune {
        #[command(flatten)]
        which: Which,
        /// How many to keep of each job.
        #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
        keep: u64,
        /// Also old savepoints.
        #[arg(long)]
        savepoints: bool,
    },
    /// Rewrite those of an older release in the newest format; only while their job does not run.
    Migrate {
        #[command(flatten)]
        which: Which,
        /// Also those of the newest format: each node's chain of files becomes one.
        #[arg(long)]
        all: bool,
    },
}

/// Which checkpoints.
#[derive(Args)]
pub struct Which {
    /// The job; all jobs if not given.
    job: Option<String>,
    /// Where state is kept: a folder, or the URL of an object store (s3://, gs://, az://).
    #[arg(long, value_name = "LOCATION")]
    state: Option<String>,
    /// The file of the key that state is encrypted with.
    #[arg(long, value_name = "FILE")]
    encryption_key_file: Option<String>,
    /// The settings that say so where flags do not; ./tapeflow.toml where there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Does what was asked.
pub fn checkpoint(command: &CheckpointCommand) -> Result<()> {
    runtime()?.block_on(async {
        match command {
            CheckpointCommand::List { which } => list(which).await,
            CheckpointCommand::Verify { which } => verify(which).await,
            CheckpointCommand::Prune { which, keep, savepoints } => {
                prune(which, usize::try_from(*keep).unwrap_or(usize::MAX), *savepoints).await
            }
            CheckpointCommand::Migrate { which, all } => migrate(which, *all).await,
        }
    })
}

impl Which {
    fn store(&self) -> Result<Store> {
        let flags = [("state", &self.state), ("encryption_key_file", &self.encryption_key_file)];
        let flags: Flags = flags.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect();
        Config::load(self.config.as_deref(), &flags)?.store()?.ok_or_else(|| {
            let places = "give --state LOCATION, set TAPEFLOW_STATE, or `state` in tapeflow.toml";
            Error::Usage(format!("nothing says where state is kept: {places}"))
        })
    }

    async fn jobs(&self) -> Result<Vec<Checkpoints>> {
        let store = self.store()?;
        let mut all = Checkpoints::all(&store).await?;
        let Some(name) = &self.job else { return Ok(all) };
        all.retain(|checkpoints| checkpoints.job() == name);
        match all.is_empty() {
            true => Err(Error::Job(format!("{store} holds no checkpoints of a job `{name}`"))),
            false => Ok(all),
        }
    }

    fn print(&self, checkpoints: Vec<Json>, damaged: &[String]) -> Result<()> {
        say(&format!("{:#}\n", json!({ "checkpoints": checkpoints, "damaged": damaged })))
    }
}

async fn list(which: &Which) -> Result<()> {
    let (mut whole, mut damaged) = (Vec::new(), Vec::new());
    for checkpoints in which.jobs().await? {
        let (manifests, wrong) = checkpoints.scan().await?;
        whole.extend(manifests);
        damaged.extend(wrong);
    }
    if which.json {
        return which.print(whole.iter().map(described).collect(), &damaged);
    }
    damaged.iter().for_each(warn);
    let mut table = Table::new();
    let header = ["job", "id", "number", "of", "written", "workers", "files", "bytes", ""];
    table.load_preset(presets::NOTHING).set_header(header);
    for manifest in &whole {
        table.add_row([
            manifest.job.clone(),
            manifest.id.clone(),
            manifest.number.to_string(),
            instant(manifest.boundary),
            manifest.written.clone(),
            manifest.workers.to_string(),
            grouped(manifest.files().count() as u64),
            grouped(manifest.bytes()),
            if manifest.savepoint { "savepoint" } else { "" }.to_string(),
        ]);
    }
    for column in [2, 5, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    say(&format!("{}\n", table.trim_fmt()))
}

/// A checkpoint as a program wants it.
fn described(manifest: &Manifest) -> Json {
    let node = |(name, state): (&String, &crate::state::NodeState)| {
        let bytes: u64 = state.files.iter().map(|file| file.size).sum();
        let described = json!({ "kind": state.kind, "version": state.version, "files": state.files, "bytes": bytes });
        (name.clone(), described)
    };
    json!({
        "job": manifest.job,
        "id": manifest.id,
        "number": manifest.number,
        "generation": manifest.generation,
        "boundary": manifest.boundary,
        "written": manifest.written,
        "workers": manifest.workers,
        "hash": manifest.hash,
        "savepoint": manifest.savepoint,
        "bytes": manifest.bytes(),
        "nodes": manifest.nodes.iter().map(node).collect::<serde_json::Map<_, _>>(),
    })
}

/// An epoch as a time of day.
fn instant(epoch: u64) -> String {
    let time = i64::try_from(epoch).ok().and_then(DateTime::from_timestamp_micros);
    time.map_or_else(|| epoch.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

async fn verify(which: &Which) -> Result<()> {
    let (mut checked, mut damaged) = (Vec::new(), Vec::new());
    for checkpoints in which.jobs().await? {
        let (manifests, wrong) = checkpoints.scan().await?;
        damaged.extend(wrong);
        for manifest in manifests {
            let wrong = checkpoints.verify(&manifest).await?;
            let mut entry = described(&manifest);
            entry["damaged"] = json!(wrong);
            checked.push(entry);
            let number = manifest.number;
            if !which.json {
                let word = if wrong.is_empty() { "whole" } else { "damaged" };
                say(&format!("{} {number}: {word}\n", manifest.job))?;
            }
            damaged.extend(wrong.into_iter().map(|wrong| format!("checkpoint {number} of {checkpoints}: {wrong}")));
        }
    }
    if which.json {
        which.print(checked, &damaged)?;
    }
    match damaged.is_empty() {
        true => Ok(()),
        false => Err(Error::Unsafe(format!(
            "damaged; a job goes on from its newest checkpoint that is whole:\n{}",
            damaged.join("\n")
        ))),
    }
}

async fn prune(which: &Which, keep: usize, savepoints: bool) -> Result<()> {
    let mut all = Vec::new();
    for checkpoints in which.jobs().await? {
        let pruned = match savepoints {
            true => checkpoints.prune_with_savepoints(keep).await?,
            false => checkpoints.prune(keep).await?,
        };
        let (numbers, files, bytes) = (&pruned.checkpoints, pruned.files, grouped(pruned.bytes));
        if !which.json {
            let count = numbers.len();
            say(&format!("{}: {count} checkpoints, {files} files, {bytes} bytes removed\n", checkpoints.job()))?;
        }
        all.push(json!({
            "job": checkpoints.job(), "id": checkpoints.id(), "checkpoints": numbers, "files": files,
            "bytes": pruned.bytes,
        }));
    }
    which.store()?.sweep().await?;
    if which.json { say(&format!("{:#}\n", json!({ "pruned": all }))) } else { Ok(()) }
}

async fn migrate(which: &Which, all: bool) -> Result<()> {
    let (mut told, mut damaged) = (Vec::new(), Vec::new());
    for checkpoints in which.jobs().await? {
        let migrated = checkpoints.migrate(all).await?;
        let (rewritten, left) = (migrated.rewritten.len(), migrated.left.len());
        if !which.json {
            say(&format!("{}: {rewritten} rewritten, {left} of the newest format already\n", checkpoints.job()))?;
        }
        told.push(json!({
            "job": checkpoints.job(), "id": checkpoints.id(), "rewritten": migrated.rewritten, "left": migrated.left,
            "damaged": migrated.damaged,
        }));
        damaged.extend(migrated.damaged);
    }
    if which.json {
        say(&format!("{:#}\n", json!({ "migrated": told })))?;
    }
    if !damaged.is_empty() {
        return Err(Error::Unsafe(format!("left as they are, for they are damaged:\n{}", damaged.join("\n"))));
    }
    tell("files that are no longer named go with `tapeflow checkpoint prune`");
    Ok(())
}
