//! `tapeflow config`: the settings of a process and where each comes from.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value as Json, json};

use super::print::say;
use crate::config::{Config, Flags};
use crate::error::Result;

/// The settings that flags can change.
#[derive(Args, Clone, Default)]
pub struct ConfigArgs {
    /// The settings of this process; ./tapeflow.toml where there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the control plane listens; 127.0.0.1:7070 by default.
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// Where the other processes connect to; 127.0.0.1:7071 by default.
    #[arg(long, value_name = "HOST:PORT")]
    mesh: Option<String>,
    /// The name of the cluster.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Where state is kept: a folder, or the URL of an object store (s3://, gs://, az://).
    #[arg(long, value_name = "LOCATION")]
    state: Option<String>,
}

impl ConfigArgs {
    /// The settings: these flags over `TAPEFLOW_*` over the file.
    pub fn load(&self) -> Result<Config> {
        let flags = [("http", &self.http), ("mesh", &self.mesh), ("cluster", &self.cluster), ("state", &self.state)];
        let flags: Flags = flags.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect();
        Config::load(self.config.as_deref(), &flags)
    }
}

/// `tapeflow config`
#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Print the settings as they are in effect, each with where it comes from; secrets are not shown.
    Show {
        #[command(flatten)]
        settings: ConfigArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Does what was asked.
pub fn config(command: &ConfigCommand) -> Result<()> {
    let ConfigCommand::Show { settings, json } = command;
    let config = settings.load()?;
    if *json {
        let entry = |(key, value, origin): (&str, Option<String>, &crate::config::Origin)| {
            (key.to_string(), json!({ "value": value, "from": origin.to_string() }))
        };
        let all: Map<String, Json> = config.shown().into_iter().map(entry).collect();
        return say(&format!("{:#}\n", Json::from(all)));
    }
    let lines = config.shown().into_iter().map(|(key, value, origin)| match value {
        Some(value) => format!("{:48}# {origin}\n", format!("{key} = \"{value}\"")),
        None => format!("{:48}# not set\n", format!("# {key}")),
    });
    say(&lines.collect::<String>())
}
