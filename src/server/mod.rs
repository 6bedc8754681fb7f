//! The control plane of a process over HTTP: its health, its metrics, its jobs, and a look at live rows.
//!
//! [`routes`] shows the whole of it on one page. Any process of a cluster can be asked: it asks the others.

mod accept;
mod access;
mod api;
mod client;
mod health;
mod live;
mod peers;
mod problem;
mod reports;
mod request;
mod rescale;
mod restarts;
mod routes;
mod saved;
mod savepoint;
mod set;
mod submit;

use std::sync::Arc;

use tokio::net::TcpListener;

pub use access::{Access, Role};
pub use api::{
    FromJob, JobReport, Jobs, Mode, NodeReport, RescaleRequest, Rescaled, Savepoint, SetReport, SetRequest, SetTo,
    SubmitRequest, Submitted,
};
pub use client::Client;
pub use problem::Problem;
pub use routes::ANSWER;

use crate::config::Address;
use crate::error::{Error, Result};
use crate::runtime::mesh::Task;
use crate::runtime::{Process, runtime};
use crate::tls::Tls;
use peers::Peers;

/// What the answers to requests are made from.
pub struct App {
    /// The process.
    pub process: Arc<Process>,
    /// What a request must show.
    pub access: Access,
    peers: Peers,
}

/// A server that runs until it is dropped.
pub struct Server {
    /// Where it listens.
    pub url: String,
    app: Arc<App>,
    _task: Task,
}

impl Server {
    /// Installs the jobs that outlive generations, and forgets those that end, as long as the task is kept.
    pub fn look_after_jobs(&self) -> Result<Task> {
        let _inside = runtime()?.enter();
        Ok(Task::spawn(saved::look_after(Arc::clone(&self.app))))
    }
}

/// Opens a port. Beyond this machine only with a token or certificates: everybody could run jobs, or read their rows.
pub fn listen(address: &Address, access: &Access) -> Result<TcpListener> {
    let resolved = address.resolve()?;
    let beyond = resolved.iter().any(|address| !address.ip().is_loopback()).then(|| address.to_string());
    access.check(beyond.as_deref())?;
    let cannot = |error: std::io::Error| Error::connect(format!("cannot listen on {address}: {error}"));
    runtime()?.block_on(TcpListener::bind(&resolved[..])).map_err(cannot)
}

/// Answers requests to `listener`.
pub fn serve(listener: TcpListener, process: Arc<Process>, access: Access) -> Result<Server> {
    let address = listener.local_addr().map_err(Error::run)?;
    let tls = access.tls().map(Tls::http).transpose()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let peers = Peers::new(&process, &access)?;
    let app = Arc::new(App { process, access, peers });
    let _inside = runtime()?.enter();
    let task = Task::spawn(accept::accept(listener, tls, routes::routes(Arc::clone(&app))));
    Ok(Server { url: format!("{scheme}://{address}"), app, _task: task })
}
