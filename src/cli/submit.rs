//! `tapeflow submit`: a dataflow file for a cluster.

use std::path::{Path, PathBuf};

use clap::Args;
use warp::http::Method;

use super::print::{say_json, tell, warn};
use super::remote::{RemoteArgs, report, wait_for};
use crate::error::{Error, Result};
use crate::runtime::{GoOn, runtime};
use crate::server::{ANSWER, FromJob, Mode, SubmitRequest, Submitted};
use crate::spec::{Files, Mistakes, Plan, Spec};

/// `tapeflow submit FILE`
#[derive(Args)]
pub struct SubmitArgs {
    /// The dataflow file.
    file: PathBuf,
    /// Wait until the job has ended.
    #[arg(long)]
    wait: bool,
    /// At most so long; the job goes on.
    #[arg(long, requires = "wait", value_name = "SPAN", value_parser = humantime::parse_duration)]
    timeout: Option<std::time::Duration>,
    /// Stop another job of that name and run this one instead.
    #[arg(long, conflicts_with = "if_not_exists")]
    replace: bool,
    /// Leave another job of that name as it is.
    #[arg(long)]
    if_not_exists: bool,
    /// Go on from the state that a job of this name has left: its newest checkpoint, or the one with this number.
    #[arg(long, value_name = "NAME[@NUMBER]")]
    from: Option<FromJob>,
    #[command(flatten)]
    go_on: GoOn,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Submits the file.
pub fn submit(args: &SubmitArgs) -> Result<()> {
    let client = args.remote.client()?;
    let request = request(&args.file, args)?;
    let sent = client.send(Method::POST, "/api/v1/jobs", Some(&request), ANSWER);
    let submitted: Submitted = runtime()?.block_on(sent)?;
    submitted.warnings.iter().for_each(|warning| warn(Mistakes { list: vec![warning.clone()] }));
    let how = if submitted.already_running { "is running already" } else { "is running" };
    tell(format!("`{}` {how}, with the id {}", submitted.name, submitted.id));
    if args.json {
        say_json(&submitted)?;
    }
    if args.wait {
        let job = report(&client, &submitted.name)?;
        wait_for(&client, &job, args.timeout)?;
        tell(format!("`{}` is done", submitted.name));
    }
    Ok(())
}

fn request(file: &Path, args: &SubmitArgs) -> Result<SubmitRequest> {
    let text = Spec::load(file)?;
    let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let base = folder.canonicalize().map_err(|error| Error::Usage(format!("{}: {error}", folder.display())))?;
    let files = Files::beside(file);
    // Planned here only to learn which schemas the file names: what is wrong is told by the cluster, where its
    // data and its variables are.
    let _ = Plan::of(file, &text, &files);
    let mode = match (args.replace, args.if_not_exists) {
        (true, _) => Mode::Replace,
        (_, true) => Mode::IfNotExists,
        _ => Mode::New,
    };
    let (path, schemas, from) = (file.to_path_buf(), files.taken(), args.from.clone());
    let GoOn { on_offset_gap, forget } = args.go_on.clone();
    Ok(SubmitRequest { path, text, base, schemas, mode, from, on_offset_gap, forget })
}
