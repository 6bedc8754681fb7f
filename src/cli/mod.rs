//! The command line: data on stdout, messages and progress on stderr.

mod brokers;
mod certs;
mod checkpoint;
mod config;
mod dead_letters;
mod demo;
mod functions;
mod generate;
mod init;
mod job;
mod jobs;
mod letters;
mod logs;
mod print;
mod progress;
mod records;
mod remote;
mod replay;
mod rescale;
mod run;
mod savepoint;
mod set;
mod signals;
mod submit;
mod supervise;
mod tap;
mod up;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Level, LogFormat};
use crate::error::Error;
use crate::sources::forget_fetched;
use crate::spec::Format;
use print::say;

/// A stream processor for market data: dataflow files on timely workers.
#[derive(Parser)]
#[command(version, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Say nothing but errors.
    #[arg(short, long, global = true)]
    quiet: bool,
    /// How logs are written; text by default.
    #[arg(long, global = true)]
    log_format: Option<LogFormat>,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed while running, 2 usage, 3 the dataflow file is wrong, 4 cannot connect,
5 unsafe to resume, 6 timed out, 7 no such job or a conflict, 130 and 143 ended by a signal.

First steps:
  tapeflow demo                          a synthetic market, live in this terminal
  tapeflow init > my.toml                a dataflow file to begin with
  tapeflow validate my.toml              all its mistakes at once
  tapeflow run my.toml --workers 2       run it here";

#[derive(Subcommand)]
enum Command {
    /// Run dataflow files in this process until their sources end or Ctrl-C.
    Run(run::RunArgs),
    /// Check dataflow files: every mistake with its line.
    Validate {
        /// The dataflow files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Also look whether servers, topics, tables and files are there.
        #[arg(long)]
        connect: bool,
        /// Print the mistakes as JSON on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Show what a dataflow file does: its nodes, where their rows go, columns and types.
    Explain {
        /// The dataflow file.
        file: PathBuf,
        /// text, mermaid, dot or json.
        #[arg(long, default_value = "text")]
        format: Format,
    },
    /// Run the [[tests]] of dataflow files: no server is needed.
    Test {
        /// The dataflow files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// How many workers run them.
        #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
        workers: u16,
    },
    /// Print a dataflow file to begin with.
    Init {
        /// What it reads: file, kafka or generator.
        #[arg(default_value = "generator", value_parser = ["file", "generator", "kafka"])]
        from: String,
    },
    /// List the indicators and SQL functions, or explain one.
    Functions {
        /// The name of an indicator.
        name: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Send synthetic ticks to a Kafka topic.
    Generate(generate::GenerateArgs),
    /// Send the rows of a file (CSV, JSON lines, Parquet) to a Kafka topic, in order, as JSON.
    Replay(replay::ReplayArgs),
    /// Records that could not be used: look at them, or put them back.
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersCommand),
    /// A synthetic market through indicators: a live table here, Parquet on disk, no server.
    Demo(demo::DemoArgs),
    /// Run a process of a cluster; jobs are submitted to it.
    Worker(worker::WorkerArgs),
    /// Run a cluster of several processes on this machine.
    Up(up::UpArgs),
    /// Let a cluster run a dataflow file.
    Submit(submit::SubmitArgs),
    /// List the jobs of a cluster.
    List(jobs::ListArgs),
    /// Show how a job is doing: its state and what its nodes have counted.
    Status(jobs::StatusArgs),
    /// Stop a job: what it has read is still written.
    Stop(jobs::StopArgs),
    /// Take a savepoint of a job that goes on running: a checkpoint that is kept.
    Savepoint(savepoint::SavepointArgs),
    /// Set other thresholds of an alert while its job runs.
    Set(set::SetArgs),
    /// Let a cluster go on with another number of processes and workers.
    Rescale(rescale::RescaleArgs),
    /// Look at the rows that leave a node of a running job.
    Tap(tap::TapArgs),
    /// Make certificates to try things with: an authority, and what it signs.
    Certs(certs::CertsArgs),
    /// The checkpoints of jobs: look at them, verify, prune and rewrite them.
    #[command(subcommand)]
    Checkpoint(checkpoint::CheckpointCommand),
    /// The settings of a process.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print the JSON Schema of dataflow files, for editors.
    Schema,
    /// Print completions for a shell.
    Completions {
        /// bash, elvish, fish, powershell or zsh.
        shell: clap_complete::Shell,
    },
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // `--help` and `--version` are answers, not mistakes; a closed pipe is neither.
        Err(answer) => {
            let _ = answer.print();
            return ExitCode::from(if answer.use_stderr() { 2 } else { 0 });
        }
    };
    print::set_quiet(cli.quiet);
    let done = dispatch(&cli);
    forget_fetched();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print::error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Starts the logs: `RUST_LOG` says what they hold, else `level` does.
fn start_logs(level: Level, format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level.to_string()));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| logs::Masked);
    let logs = logs.with_ansi(print::colours());
    // Only a second start in one process fails, and then logs are there already.
    let _ = match format {
        LogFormat::Json => logs.json().try_init(),
        LogFormat::Text => logs.with_target(false).try_init(),
    };
}

/// The logs of a process that has no settings of its own.
fn plain_logs(cli: &Cli) {
    let variable = std::env::var("TAPEFLOW_LOG_FORMAT").ok().and_then(|word| word.parse().ok());
    let level = if cli.quiet { Level::Error } else { Level::Warn };
    start_logs(level, cli.log_format.or(variable).unwrap_or(LogFormat::Text));
}

fn run_worker(cli: &Cli, args: &worker::WorkerArgs) -> Result<(), Error> {
    let config = args.config()?;
    let level = if cli.quiet { Level::Error } else { config.log_level.value };
    start_logs(level, cli.log_format.unwrap_or(config.log_format.value));
    worker::worker(args, &config)
}

fn dispatch(cli: &Cli) -> Result<(), Error> {
    if !matches!(cli.command, Command::Worker(_)) {
        plain_logs(cli);
    }
    match &cli.command {
        Command::Run(args) => run::run(args),
        Command::Validate { files, connect, json } => job::validate(files, *connect, *json),
        Command::Explain { file, format } => job::explain_file(file, *format),
        Command::Test { files, workers } => job::test(files, usize::from(*workers)),
        Command::Init { from } => say(init::starter(from)),
        Command::Functions { name, json } => functions::show(name.as_deref(), *json),
        Command::Generate(args) => generate::generate(args),
        Command::Replay(args) => replay::replay(args),
        Command::DeadLetters(command) => dead_letters::dead_letters(command),
        Command::Demo(args) => demo::demo(args),
        Command::Worker(args) => run_worker(cli, args),
        Command::Up(args) => up::up(args),
        Command::Submit(args) => submit::submit(args),
        Command::List(args) => jobs::list(args),
        Command::Status(args) => jobs::status(args),
        Command::Stop(args) => jobs::stop(args),
        Command::Savepoint(args) => savepoint::savepoint(args),
        Command::Set(args) => set::set(args),
        Command::Rescale(args) => rescale::rescale(args),
        Command::Tap(args) => tap::tap(args),
        Command::Certs(args) => certs::certs(args),
        Command::Checkpoint(command) => checkpoint::checkpoint(command),
        Command::Config(command) => config::config(command),
        Command::Schema => say(&format!("{:#}\n", crate::spec::schema::json_schema())),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "tapeflow", &mut script);
            say(&String::from_utf8_lossy(&script))
        }
    }
}
