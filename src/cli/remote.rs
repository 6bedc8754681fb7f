//! How the command line reaches a cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::config::{Address, Config};
use crate::error::{Error, Result};
use crate::runtime::{State, runtime};
use crate::server::{Access, Client, JobReport};

/// How long a short question may take.
pub const SHORT: Duration = Duration::from_secs(15);
/// How often a job is looked at while it is waited for.
const LOOK: Duration = Duration::from_millis(200);

/// Which process is asked.
#[derive(Args)]
pub struct RemoteArgs {
    /// Any process of the cluster; `http` of the settings by default (127.0.0.1:7070).
    #[arg(long, value_name = "HOST:PORT", env = "TAPEFLOW_AT")]
    at: Option<Address>,
    /// The settings with the token; ./tapeflow.toml where there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The certificate of the authority of the cluster (PEM): it is asked over TLS.
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// A certificate to show instead of a token (PEM).
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<String>,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<String>,
}

impl RemoteArgs {
    /// Asks that process.
    pub fn client(&self) -> Result<Client> {
        let flags = [("tls_ca", &self.ca), ("tls_cert", &self.cert), ("tls_key", &self.key)];
        let flags = flags.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect();
        let config = Config::load(self.config.as_deref(), &flags)?;
        Client::new(self.at.clone().unwrap_or_else(|| config.http.value.clone()), &Access::of(&config)?)
    }
}

/// How the job `name` is doing.
pub fn report(client: &Client, name: &str) -> Result<JobReport> {
    runtime()?.block_on(client.get(&format!("/api/v1/jobs/{name}"), SHORT))
}

/// Waits until the job has ended, at most for `timeout`; its failure is ours.
pub fn wait_for(client: &Client, job: &JobReport, timeout: Option<Duration>) -> Result<()> {
    let (name, id) = (&job.name, &job.id);
    let ended = async {
        loop {
            let report: JobReport = client.get(&format!("/api/v1/jobs/{name}"), SHORT).await?;
            match report.state {
                _ if report.id != *id => {
                    return Err(Error::Job(format!("`{name}` was replaced by another job of that name")));
                }
                State::Done => return Ok(()),
                State::Failed => {
                    let failure = report.failure.as_deref().unwrap_or("it failed");
                    return Err(Error::Run(format!("`{name}`: {failure}")));
                }
                State::Running | State::Stopping => tokio::time::sleep(LOOK).await,
            }
        }
    };
    let Some(timeout) = timeout else { return runtime()?.block_on(ended) };
    let late = |_| Error::TimedOut(format!("`{name}` had not ended after {}", humantime::format_duration(timeout)));
    runtime()?.block_on(async { tokio::time::timeout(timeout, ended).await }).map_err(late)?
}
