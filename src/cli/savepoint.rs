//! Savepoints: checkpoints that were asked for, and are kept until they are removed by name.

use clap::Args;
use warp::http::Method;

use super::print::{say, say_json, tell};
use super::remote::{RemoteArgs, report};
use crate::error::{Error, Result};
use crate::runtime::runtime;
use crate::server::{ANSWER, Client, JobReport, Savepoint};

/// `tapeflow savepoint NAME`
#[derive(Args)]
pub struct SavepointArgs {
    /// The job.
    name: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Takes a savepoint of a job that goes on running.
pub fn savepoint(args: &SavepointArgs) -> Result<()> {
    let client = args.remote.client()?;
    let path = format!("/api/v1/jobs/{}/savepoints", args.name);
    let taken: Savepoint = runtime()?.block_on(client.send::<(), _>(Method::POST, &path, None, ANSWER))?;
    told(&taken, "goes on; its savepoint is", args.json)
}

/// Tells of the savepoint with which `job` has ended.
pub fn last(client: &Client, job: &JobReport, json: bool) -> Result<()> {
    let JobReport { name, id, savepoint, checkpoint, .. } = report(client, &job.name)?;
    let Some(savepoint) = savepoint.filter(|savepoint| Some(*savepoint) > job.savepoint && id == job.id) else {
        let last = checkpoint.map_or("there is none".to_string(), |number| format!("its last checkpoint is {number}"));
        return Err(Error::Job(format!("`{name}` has ended before a savepoint was taken; {last}")));
    };
    told(&Savepoint { name, id, savepoint }, "has ended; its savepoint is", json)
}

fn told(taken: &Savepoint, how: &str, json: bool) -> Result<()> {
    let Savepoint { name, savepoint, .. } = taken;
    if json {
        return say_json(taken);
    }
    tell(format!("`{name}` {how} {savepoint}; to go on from it:"));
    say(&format!("tapeflow submit FILE --from {name}@{savepoint}\n"))
}
