//! `tapeflow set`: other thresholds for a job that runs.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use warp::http::Method;

use super::print::{say_json, tell};
use super::remote::RemoteArgs;
use crate::error::{Error, Result};
use crate::runtime::runtime;
use crate::server::{ANSWER, SetRequest, SetTo};

/// `tapeflow set NAME NODE`
#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true).args(["values", "thresholds"])))]
pub struct SetArgs {
    /// The job.
    name: String,
    /// The alert.
    node: String,
    /// Values of one key, or else of all keys that have none of their own; nothing behind the `=` takes one away.
    #[arg(value_name = "NAME=VALUE", value_parser = value)]
    values: Vec<(String, String)>,
    /// The key that they are of; once for each of its columns.
    #[arg(long, value_name = "KEY", requires = "values")]
    key: Vec<String>,
    /// A CSV file that takes the place of all thresholds of the alert.
    #[arg(long, value_name = "FILE")]
    thresholds: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

fn value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_string(), value.to_string()))
}

/// Sets them, and tells from when on they hold.
pub fn set(args: &SetArgs) -> Result<()> {
    let client = args.remote.client()?;
    let path = format!("/api/v1/jobs/{}/nodes/{}/thresholds", args.name, args.node);
    let set: SetTo = match &args.thresholds {
        Some(file) => {
            let cannot = |error| Error::Usage(format!("cannot read {}: {error}", file.display()));
            let text = std::fs::read_to_string(file).map_err(cannot)?;
            runtime()?.block_on(client.put_text(&path, "text/csv", text, ANSWER))?
        }
        None => {
            let request = SetRequest { key: args.key.clone(), values: args.values.clone() };
            runtime()?.block_on(client.send(Method::PATCH, &path, Some(&request), ANSWER))?
        }
    };
    if args.json {
        return say_json(&set);
    }
    let SetTo { what, node, since, epoch, kept, .. } = &set;
    tell(match kept {
        true => {
            format!("the {what} of `{node}` hold from {since} on (epoch {epoch}), and are kept with the job's state")
        }
        false => format!("the {what} of `{node}` hold; no state is kept here, so that they are gone when the job ends"),
    });
    Ok(())
}
