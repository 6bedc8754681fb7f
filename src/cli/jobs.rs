//! `list`, `status` and `stop`: the jobs of a cluster.

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::HumanBytes;
use warp::http::Method;

use super::print::{grouped, say, say_json, tell, warn};
use super::remote::{RemoteArgs, SHORT, report, wait_for};
use super::savepoint;
use crate::error::Result;
use crate::runtime::runtime;
use crate::server::{JobReport, Jobs, NodeReport, SetReport};

/// `tapeflow list`
#[derive(Args)]
pub struct ListArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// `tapeflow status NAME`
#[derive(Args)]
pub struct StatusArgs {
    /// The job.
    name: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// `tapeflow stop NAME`
#[derive(Args)]
pub struct StopArgs {
    /// The job.
    name: String,
    /// Wait until all it has read is written.
    #[arg(long, group = "waits")]
    wait: bool,
    /// Keep its last checkpoint until it is removed by name; waits, and tells how to go on from it.
    #[arg(long, group = "waits")]
    savepoint: bool,
    /// At most so long; the job goes on stopping.
    #[arg(long, requires = "waits", value_name = "SPAN", value_parser = humantime::parse_duration)]
    timeout: Option<std::time::Duration>,
    /// Print the number of the savepoint as JSON.
    #[arg(long, requires = "savepoint")]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Lists all jobs.
pub fn list(args: &ListArgs) -> Result<()> {
    let client = args.remote.client()?;
    let jobs: Jobs = runtime()?.block_on(client.get("/api/v1/jobs", SHORT))?;
    for process in &jobs.unreachable {
        warn(format!("process {process} did not answer: what it counts is missing"));
    }
    if args.json {
        return say_json(&jobs);
    }
    let mut table = plain(["name", "state", "rows in", "rows out", "started"]);
    for job in &jobs.jobs {
        table.add_row([
            job.name.clone(),
            job.state.to_string(),
            grouped(job.rows_in),
            grouped(job.rows_out),
            job.started.clone(),
        ]);
    }
    [2, 3].into_iter().for_each(|column| to_the_right(&mut table, column));
    say(&format!("{}\n", table.trim_fmt()))
}

/// Shows one job.
pub fn status(args: &StatusArgs) -> Result<()> {
    let job = report(&args.remote.client()?, &args.name)?;
    if args.json {
        return say_json(&job);
    }
    let mut head = format!("{}: {}\n", job.name, job.state);
    if let Some(failure) = &job.failure {
        head.push_str(&format!("failure: {failure}\n"));
    }
    if job.restarts > 0 {
        head.push_str(&format!("started again after a failure: {} times\n", job.restarts));
    }
    head.push_str(&format!("started: {}\n", job.started));
    if let Some(ended) = &job.ended {
        head.push_str(&format!("ended:   {ended}\n"));
    }
    head.push_str(&format!("id:      {}\n", job.id));
    if let Some(checkpoint) = job.checkpoint {
        head.push_str(&format!("checkpoint: {checkpoint}\n"));
    }
    for (node, set) in job.nodes.iter().filter_map(|node| Some((node, node.set.as_ref()?))) {
        let SetReport { what, epoch, since, workers } = set;
        head.push_str(&format!("{what} of {}: set {since}, epoch {epoch}; {workers} workers have them\n", node.name));
    }
    let what = [
        "rows in",
        "rows out",
        "held back",
        "late",
        "outside",
        "unmatched",
        "repeats",
        "dead letters",
        "skipped",
        "state",
    ];
    let mut table = plain(["node", "type"].into_iter().chain(what));
    for node in &job.nodes {
        let NodeReport {
            rows_in,
            rows_out,
            held_back,
            late,
            outside,
            unmatched,
            repeats,
            dead_letters,
            skipped,
            state_bytes,
            ..
        } = *node;
        let counts = [rows_in, rows_out, held_back, late, outside, unmatched, repeats, dead_letters, skipped];
        let state = HumanBytes(state_bytes).to_string();
        let names = [node.name.clone(), node.kind.clone()].into_iter();
        table.add_row(names.chain(counts.map(grouped)).chain([state]));
    }
    (2..12).for_each(|column| to_the_right(&mut table, column));
    say(&format!("{head}\n{}\n", table.trim_fmt()))
}

/// Lets a job drain and end.
pub fn stop(args: &StopArgs) -> Result<()> {
    let client = args.remote.client()?;
    let path = format!("/api/v1/jobs/{}{}", args.name, if args.savepoint { "?savepoint=true" } else { "" });
    let before = report(&client, &args.name)?;
    let job: JobReport = runtime()?.block_on(client.send::<(), _>(Method::DELETE, &path, None, SHORT))?;
    if args.savepoint {
        wait_for(&client, &job, args.timeout)?;
        return savepoint::last(&client, &before, args.json);
    }
    if !args.wait {
        tell(format!("`{}` is asked to end", args.name));
        return Ok(());
    }
    wait_for(&client, &job, args.timeout)?;
    tell(format!("`{}` has ended: all it had read is written", args.name));
    Ok(())
}

fn plain(header: impl IntoIterator<Item = &'static str>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    table
}

fn to_the_right(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
