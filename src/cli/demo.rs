//! `tapeflow demo`: the main job on a synthetic market, with nothing to configure.

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::print::tell;
use super::run::run_jobs;
use super::signals::Signals;
use crate::error::{Error, Result};
use crate::runtime::{Prepare, Prepared, start};
use crate::spec::{Files, Plan};

/// The dataflow file of the demo.
pub const DEMO: &str = include_str!("../../dataflows/demo.toml");

/// `tapeflow demo`
#[derive(Args)]
pub struct DemoArgs {
    /// End after this many seconds; by default at Ctrl-C, or after 10 seconds where there is no terminal.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Where the Parquet files go.
    #[arg(long, default_value = "demo-output")]
    output: PathBuf,
    /// How many workers.
    #[arg(short, long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
}

/// Runs the demo.
pub fn demo(args: &DemoArgs) -> Result<()> {
    let cannot = |error| Error::run(format!("{}: {error}", args.output.display()));
    let workers = usize::from(args.workers);
    std::fs::create_dir_all(&args.output).map_err(cannot)?;
    // The file's paths are relative to it: as if it lay in the output folder.
    let path = args.output.join("demo.toml");
    let seconds = args.seconds.or_else(|| (!stdout().is_terminal()).then_some(10));
    let duration = seconds.map_or(String::new(), |seconds| format!("duration = \"{seconds}s\"\n"));
    let text = DEMO.replacen("type = \"generator\"\n", &format!("type = \"generator\"\n{duration}"), 1);
    std::fs::write(&path, &text).map_err(cannot)?;
    let (plan, _, _) = Plan::of(&path, &text, &Files::beside(&path))?;
    let prepare = Prepare::new(&plan, 0..workers, workers);
    let prepared = Arc::new(Prepared::new(plan, &prepare, start())?);
    let done = run_jobs(vec![prepared], workers, false, &Signals::watch()?);
    tell(format!("the dataflow file is {}; Parquet files with every row are beside it", path.display()));
    done
}
