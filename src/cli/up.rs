//! `tapeflow up`: a cluster of several processes on this machine, under one command.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use super::print::{say, tell, warn};
use super::signals::Signals;
use super::supervise::{Children, supervise};
use crate::config::{Address, Config, new_token};
use crate::error::{Error, Result};
use crate::runtime::hosts::Host;
use crate::runtime::size::Size;

/// Where free ports are looked for.
const PORTS: std::ops::Range<u16> = 7070..9070;

/// `tapeflow up`
#[derive(Args)]
pub struct UpArgs {
    /// How many processes.
    #[arg(short = 'n', long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    processes: u16,
    /// How many workers (threads) each of them has.
    #[arg(short, long, default_value_t = 1, env = "TAPEFLOW_WORKERS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
    /// The first of their ports: one for the control plane of each, then one for the mesh of each. Without it, free
    /// ones from 7070 on.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Where the token, the list of the processes and their settings are written.
    #[arg(long, value_name = "DIR", default_value = ".tapeflow")]
    folder: PathBuf,
}

/// Starts the processes and keeps them running until a signal comes; where another size of the cluster is asked for, anew.
pub fn up(args: &UpArgs) -> Result<()> {
    let signals = Signals::watch()?;
    let folder = &args.folder;
    let cannot = |error: std::io::Error| Error::Usage(format!("cannot write in {}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(cannot)?;
    let folder = &folder.canonicalize().map_err(cannot)?;
    let _lock = lock(folder)?;
    write_token(&folder.join("token")).map_err(cannot)?;
    let settings = folder.join("tapeflow.toml");
    if !settings.exists() {
        std::fs::write(&settings, "token_file = \"token\"\n").map_err(cannot)?;
    }
    // Mistakes in them are told here, not by every process.
    let config = Config::load(Some(&settings), &Vec::new())?;
    // One that was asked for and not begun is forgotten: the command line says how large the cluster is.
    let wanted = folder.join("size");
    Size::take(&wanted)?;
    let mut size = Size { processes: args.processes, workers: args.workers };
    loop {
        let ended = one_size(args.port, size, folder, &config, &signals);
        match Size::take(&wanted)? {
            Some(next) if !signals.seen() => {
                // Jobs go on from their last checkpoint, however the processes have ended.
                ended.unwrap_or_else(warn);
                tell(format!("the cluster begins anew with {next}"));
                size = next;
            }
            _ => return ended,
        }
    }
}

/// Runs a cluster of this size to its end.
fn one_size(port: Option<u16>, size: Size, folder: &Path, config: &Config, signals: &Signals) -> Result<()> {
    let hosts = hosts(port, size.processes)?;
    let lines = hosts.iter().map(|host| format!("{} {} {}\n", host.mesh.host, host.mesh.port, host.http.port));
    let cannot = |error: std::io::Error| Error::Usage(format!("cannot write in {}: {error}", folder.display()));
    std::fs::write(folder.join("hosts"), lines.collect::<String>()).map_err(cannot)?;
    let scheme = if config.tls.value.is_some() { "https" } else { "http" };
    for (index, host) in hosts.iter().enumerate() {
        say(&format!("process {index}: {scheme}://{}\n", host.http))?;
    }
    let settings = folder.join("tapeflow.toml");
    tell(format!(
        "for example: tapeflow list --config {} --at {}; Ctrl-C ends them all",
        settings.display(),
        hosts[0].http
    ));
    let command = |index| command(size.workers, folder, &hosts, index);
    let commands = (0..hosts.len()).map(command).collect::<Result<Vec<_>>>()?;
    supervise(Children::new(commands), signals, config.drain_timeout.value)
}

/// Two that write the same list of processes would tear each other apart.
fn lock(folder: &Path) -> Result<File> {
    let cannot = |error: std::io::Error| Error::Usage(format!("cannot lock {}: {error}", folder.display()));
    let file = File::create(folder.join("lock")).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let folder = folder.display();
            Err(Error::Usage(format!("another `tapeflow up` runs with {folder}; give this one another --folder")))
        }
        Err(TryLockError::Error(error)) => Err(cannot(error)),
    }
}

fn hosts(port: Option<u16>, count: u16) -> Result<Vec<Host>> {
    let ports: Vec<u16> = match port {
        Some(first) if first.checked_add(2 * count - 1).is_some_and(|_| first > 0) => {
            (first..=first + (2 * count - 1)).collect()
        }
        Some(first) => {
            return Err(Error::Usage(format!("--port {first}: there are not {} ports from it on", 2 * count)));
        }
        None => {
            PORTS.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).take(2 * usize::from(count)).collect()
        }
    };
    let (http, mesh) = ports.split_at(usize::from(count).min(ports.len()));
    if mesh.len() < http.len() {
        return Err(Error::connect(format!("too few ports are free from {} on: give --port", PORTS.start)));
    }
    let host = |(http, mesh): (&u16, &u16)| Host { http: Address::loopback(*http), mesh: Address::loopback(*mesh) };
    Ok(http.iter().zip(mesh).map(host).collect())
}

/// A token that only this user can read; the one that is there already stays.
fn write_token(path: &Path) -> std::io::Result<()> {
    match File::options().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => writeln!(file, "{}", new_token()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn command(workers: u16, folder: &Path, hosts: &[Host], index: usize) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().map_err(Error::run)?);
    command.arg("worker").arg("--hosts").arg(folder.join("hosts")).arg("--config").arg(folder.join("tapeflow.toml"));
    command.args(["--index", &index.to_string(), "--workers", &workers.to_string()]);
    command.args(["--http", &hosts[index].http.to_string(), "--mesh", &hosts[index].mesh.to_string()]);
    command.args(["--parent", &std::process::id().to_string()]).arg("--size-file").arg(folder.join("size"));
    Ok(command)
}
