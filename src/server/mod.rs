//! The control plane of a process over HTTP: its health, its metrics, its jobs, and a look at live rows.
//!
//! [`routes`] shows the whole of it on one page. Any process of a cluster can be asked: it asks the others.

mod accept;
mod api;
mod client;
mod health;
mod live;
mod peers;
mod problem;
mod reports;
mod request;
mod routes;
mod submit;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

pub use api::{JobReport, Jobs, Mode, NodeReport, SubmitRequest, Submitted};
pub use client::Client;
pub use problem::Problem;
pub use routes::ANSWER;

use crate::config::{Address, Token};
use crate::error::{Error, Result};
use crate::runtime::mesh::Task;
use crate::runtime::{Process, runtime};
use peers::Peers;

/// What the answers to requests are made from.
pub struct App {
    /// The process.
    pub process: Arc<Process>,
    /// What a request must show.
    pub token: Option<Token>,
    peers: Peers,
}

/// A server that runs until it is dropped.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    _task: Task,
}

/// Opens a port. Beyond this machine only with a token: everybody could run jobs, or read their rows.
pub fn listen(address: &Address, token: Option<&Token>) -> Result<TcpListener> {
    let resolved = address.resolve()?;
    if token.is_none() && resolved.iter().any(|address| !address.ip().is_loopback()) {
        return Err(Error::Usage(format!(
            "{address} can be reached from other machines, which needs a token: set TAPEFLOW_TOKEN, or `token_file` \
             in tapeflow.toml (make one with `openssl rand -hex 32`)"
        )));
    }
    let cannot = |error: std::io::Error| Error::connect(format!("cannot listen on {address}: {error}"));
    runtime()?.block_on(TcpListener::bind(&resolved[..])).map_err(cannot)
}

/// Answers requests to `listener`.
pub fn serve(listener: TcpListener, process: Arc<Process>, token: Option<Token>) -> Result<Server> {
    let address = listener.local_addr().map_err(Error::run)?;
    let peers = Peers::new(&process, token.clone())?;
    let app = Arc::new(App { process, token, peers });
    let _inside = runtime()?.enter();
    Ok(Server { address, _task: Task::spawn(accept::accept(listener, routes::routes(app))) })
}
