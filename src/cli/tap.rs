//! `tapeflow tap`: rows as they leave a node of a running job.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use super::print::{grouped, say, tell};
use super::remote::RemoteArgs;
use crate::error::{Error, Result};
use crate::runtime::runtime;

/// A stream that is quiet for so long, without even a sign of life, is lost.
const SILENCE: Duration = Duration::from_secs(30);

/// `tapeflow tap NAME NODE`
#[derive(Args)]
pub struct TapArgs {
    /// The job.
    name: String,
    /// The node: of a sink, the rows that it takes.
    node: String,
    /// End after so many rows.
    #[arg(long, value_name = "ROWS")]
    limit: Option<u64>,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Deserialize)]
struct Dropped {
    #[serde(rename = "_dropped")]
    rows: u64,
}

/// Prints rows until the job ends, or enough have come.
pub fn tap(args: &TapArgs) -> Result<()> {
    let client = args.remote.client()?;
    let limit = args.limit.map_or(String::new(), |limit| format!("?limit={limit}"));
    let path = format!("/api/v1/jobs/{}/nodes/{}/tap{limit}", args.name, args.node);
    let mut dropped = 0;
    runtime()?.block_on(async {
        let mut lines = client.lines(&path, SILENCE).await?;
        while let Some(line) = lines.next().await? {
            match serde_json::from_slice::<Dropped>(&line) {
                Ok(more) => dropped += more.rows,
                Err(_) if line.is_empty() => {}
                Err(_) => say(&format!("{}\n", String::from_utf8_lossy(&line)))?,
            }
        }
        Ok::<_, Error>(())
    })?;
    if dropped > 0 {
        tell(format!("{} rows are not shown: they came faster than they could be", grouped(dropped)));
    }
    Ok(())
}
