//! The control planes of the other processes.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use warp::http::Method;

use super::Access;
use super::api::JobReport;
use super::client::{Client, Lines};
use crate::config::Address;
use crate::error::{Error, Result};
use crate::runtime::{Begin, Process, Submission};

/// The header that names the run of the cluster: what comes from another is refused.
pub const RUN: &str = "x-tapeflow-run";
/// How long a short question may take.
const SHORT: Duration = Duration::from_secs(5);
/// How long a process may take to prepare a job.
pub const PREPARE: Duration = Duration::from_secs(40);

/// The control planes of all processes but this one.
pub struct Peers {
    clients: Vec<(usize, Client)>,
}

impl Peers {
    /// The other processes of the cluster of `process`.
    pub fn new(process: &Arc<Process>, access: &Access) -> Result<Peers> {
        let others = process.hosts.iter().enumerate().filter(|(index, _)| *index != process.index);
        let client = |address: &Address| Client::new(address.clone(), access);
        let clients = others.map(|(index, host)| Ok((index, client(&host.http)?))).collect::<Result<_>>()?;
        Ok(Peers { clients })
    }

    fn clients(&self, process: &Process) -> Vec<(usize, Client)> {
        let run = process.run().unwrap_or_default();
        let with_run = |(index, client): &(usize, Client)| (*index, client.clone().with_header(RUN, run.to_string()));
        self.clients.iter().map(with_run).collect()
    }

    /// What each of them knows of its jobs; `None` of one that does not answer.
    pub async fn jobs(&self, process: &Process) -> Vec<(usize, Option<Vec<JobReport>>)> {
        let ask = |(index, client): (usize, Client)| async move {
            (index, client.get::<Vec<JobReport>>("/internal/v1/jobs", SHORT).await.ok())
        };
        join_all(self.clients(process).into_iter().map(ask)).await
    }

    /// Lets the processes `wanted` prepare a job, and asks where its nodes begin; the first failure counts.
    pub async fn prepare(
        &self,
        process: &Process,
        submission: &Submission,
        wanted: fn(usize) -> bool,
    ) -> Result<Vec<Begin>> {
        let told = self.tell(process, "/internal/v1/prepare", Some(submission), PREPARE, wanted).await?;
        Ok(told.into_iter().flat_map(|begins: Vec<Begin>| begins).collect())
    }

    /// Tells all of them that all are prepared.
    pub async fn commit(&self, process: &Process, id: &str) -> Result<()> {
        self.tell::<(), Json>(process, &format!("/internal/v1/commit/{id}"), None, SHORT, |_| true).await.map(drop)
    }

    /// Tells all of them that a job will not be built.
    pub async fn abort(&self, process: &Process, id: &str) {
        // Who does not hear of it drops the job after a while.
        let _ = self.tell::<(), Json>(process, &format!("/internal/v1/abort/{id}"), None, SHORT, |_| true).await;
    }

    /// Looks at the rows that leave `node` in each of them.
    pub async fn tap(&self, process: &Process, id: &str, node: &str) -> Vec<Lines> {
        let path = format!("/internal/v1/jobs/{id}/nodes/{node}/tap");
        let clients = self.clients(process);
        let open = clients.iter().map(|(_, client)| client.lines(&path, super::live::SILENCE));
        join_all(open).await.into_iter().flatten().collect()
    }

    async fn tell<B: Serialize + Sync, A: DeserializeOwned>(
        &self,
        process: &Process,
        path: &str,
        body: Option<&B>,
        patience: Duration,
        wanted: fn(usize) -> bool,
    ) -> Result<Vec<A>> {
        let clients = self.clients(process).into_iter().filter(|(index, _)| wanted(*index));
        let tell = clients.map(|(index, client)| async move {
            let told: Result<A> = client.send(Method::POST, path, body, patience).await;
            told.map_err(|error| of_process(index, error))
        });
        join_all(tell).await.into_iter().collect()
    }
}

/// Says in which process it went wrong.
fn of_process(index: usize, error: Error) -> Error {
    let here = |message: String| format!("process {index}: {message}");
    match error {
        Error::Run(message) => Error::Run(here(message)),
        Error::Usage(message) => Error::Usage(here(message)),
        Error::Connect(message) => Error::Connect(here(message)),
        Error::TimedOut(message) => Error::TimedOut(here(message)),
        // The file is fine where it was submitted: something that it names is not the same there.
        Error::Dataflow(mut mistakes) => {
            mistakes.list.iter_mut().for_each(|mistake| mistake.message = here(std::mem::take(&mut mistake.message)));
            Error::Dataflow(mistakes)
        }
        other => other,
    }
}
