//! `tapeflow rescale`: another number of processes and workers.

use std::time::Duration;

use clap::Args;
use serde_json::Value as Json;
use warp::http::Method;

use super::print::{say, say_json, tell};
use super::remote::RemoteArgs;
use crate::error::{Error, Result};
use crate::runtime::runtime;
use crate::runtime::size::Size;
use crate::server::{ANSWER, Client, RescaleRequest, Rescaled};

/// How often it is looked whether the cluster has begun anew.
const LOOK: Duration = Duration::from_millis(200);
/// How long a process may take to answer.
const SHORT: Duration = Duration::from_secs(2);

/// `tapeflow rescale`
#[derive(Args)]
pub struct RescaleArgs {
    /// How many processes; as many as there are by default.
    #[arg(long, value_name = "COUNT", required_unless_present = "workers")]
    processes: Option<u16>,
    /// How many workers (threads) each of them has; as many as there are by default.
    #[arg(long, value_name = "COUNT")]
    workers: Option<u16>,
    /// Wait at most so long until the cluster runs with them.
    #[arg(long, value_name = "SPAN", default_value = "3m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Lets the cluster begin anew with another size, or tells how that is done.
pub fn rescale(args: &RescaleArgs) -> Result<()> {
    let client = args.remote.client()?;
    let request = RescaleRequest { processes: args.processes, workers: args.workers };
    let sent = client.send(Method::POST, "/api/v1/cluster/size", Some(&request), ANSWER);
    let rescaled: Rescaled = runtime()?.block_on(sent)?;
    let Rescaled { before, size, process, supervised, .. } = &rescaled;
    if args.json {
        say_json(&rescaled)?;
    }
    match () {
        () if before == size => tell(format!("the cluster has {size} already")),
        () if !supervised && !args.json => say(&what_to_do(&rescaled))?,
        () if !supervised => {}
        () if process >= &size.processes => {
            tell(format!("the cluster begins anew with {size}; process {process} goes"))
        }
        () => {
            wait(&client, &rescaled, args.timeout)?;
            tell(format!("the cluster has {size}; its jobs go on"));
        }
    }
    Ok(())
}

/// Waits until the next generation is complete.
fn wait(client: &Client, rescaled: &Rescaled, timeout: Duration) -> Result<()> {
    let Rescaled { size, generation, .. } = rescaled;
    let begun = async {
        loop {
            tokio::time::sleep(LOOK).await;
            // Nobody answers in between.
            let Ok(version) = client.get::<Json>("/version", SHORT).await else { continue };
            let number = |name: &str| version[name].as_u64();
            if number("generation") > Some(*generation) {
                let now = (number("processes"), number("workers"));
                return match now == (Some(size.processes.into()), Some(size.workers.into())) {
                    true => Ok(()),
                    false => Err(Error::run("the cluster has begun anew, but not with the size that was asked for")),
                };
            }
        }
    };
    let late =
        |_| Error::TimedOut(format!("the cluster did not begin anew within {}", humantime::format_duration(timeout)));
    runtime()?.block_on(async { tokio::time::timeout(timeout, begun).await }).map_err(late)?
}

/// Where the size stands in a configuration that is not ours.
fn what_to_do(rescaled: &Rescaled) -> String {
    let Rescaled { before, size: Size { processes, workers }, savepoints, .. } = rescaled;
    let saved: Vec<String> = savepoints.iter().map(|saved| format!("{}@{}", saved.name, saved.savepoint)).collect();
    let saved = if saved.is_empty() { "no job runs".to_string() } else { format!("savepoints: {}", saved.join(", ")) };
    format!(
        "The cluster has {before}; `tapeflow up` did not start it, so that its size stands in its configuration.\n\
         Nothing was ended ({saved}). To go on with {size}:\n\
         1. Change the configuration: a list of {processes} for --hosts, and --workers {workers} (TAPEFLOW_WORKERS), everywhere.\n   \
            Kubernetes: `replicas: {processes}`, PROCESSES \"{processes}\" and TAPEFLOW_WORKERS \"{workers}\"; apply.\n\
         2. End one process by SIGTERM: all end, every job with a last checkpoint.\n   \
            Kubernetes: delete all pods of the set at once.\n\
         3. Start the processes of the new list. The jobs go on where they were.\n",
        size = rescaled.size,
    )
}
