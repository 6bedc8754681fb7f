//! Serves connections, plain or encrypted: warp's own loop bounds neither how many there are nor how long they may be
//! silent, knows no encryption, and logs an error for each that a client gives up.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use warp::Filter;
use warp::hyper::Request;
use warp::hyper::body::Incoming;
use warp::hyper::server::conn::http1;
use warp::hyper::service::{Service, service_fn};
use warp::reply::Response;

use super::Role;
use crate::tls::is_reader;

/// Connections at a time. Beyond that the oldest of a stranger gives way: a flood of them keeps nobody out who is known.
const CONNECTIONS: usize = 512;
/// How long the head of a request may take, and how long a connection may wait for one.
const HEAD: Duration = Duration::from_secs(10);
/// How long to wait where nothing can be accepted.
const AGAIN: Duration = Duration::from_millis(200);
/// The largest head of a request.
const LARGEST: usize = 16 << 10;

/// Who has opened a connection: an extension of each request that comes by it.
#[derive(Clone, Default)]
pub struct Caller {
    /// What the certificate that was shown lets its owner do.
    pub certified: Option<Role>,
    known: Arc<AtomicBool>,
}

impl Caller {
    /// One of the requests was allowed.
    pub fn is_known(&self) {
        self.known.store(true, Ordering::Relaxed);
    }
}

/// The connections that are open.
#[derive(Default)]
struct Open(VecDeque<(AbortHandle, Arc<AtomicBool>)>);

impl Open {
    /// Waits until there is room for another.
    async fn room(&mut self) {
        loop {
            self.0.retain(|(task, _)| !task.is_finished());
            if self.0.len() < CONNECTIONS {
                return;
            }
            match self.0.iter().position(|(_, known)| !known.load(Ordering::Relaxed)) {
                Some(stranger) => drop(self.0.remove(stranger).inspect(|(task, _)| task.abort())),
                None => sleep(AGAIN).await,
            }
        }
    }
}

/// Answers what comes to `listener` by `routes`, for ever. They find the [`Caller`] among the extensions of a request.
pub async fn accept<F>(listener: TcpListener, tls: Option<TlsAcceptor>, routes: F)
where
    F: Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
{
    let mut open = Open::default();
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!("the control plane cannot accept a connection: {error}");
                sleep(AGAIN).await;
                continue;
            }
        };
        open.room().await;
        let (routes, tls, caller) = (routes.clone(), tls.clone(), Caller::default());
        let known = Arc::clone(&caller.known);
        let task = tokio::spawn(async move {
            match tls {
                None => serve(socket, caller, routes).await,
                Some(tls) => encrypted(socket, &tls, caller, routes).await,
            }
        });
        open.0.push_back((task.abort_handle(), known));
    }
}

async fn encrypted<F>(socket: TcpStream, tls: &TlsAcceptor, caller: Caller, routes: F)
where
    F: Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
{
    match timeout(HEAD, tls.accept(socket)).await {
        Ok(Ok(stream)) => {
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let certified = certificate.map(|shown| if is_reader(shown) { Role::Read } else { Role::Change });
            serve(stream, Caller { certified, ..caller }, routes).await;
        }
        Ok(Err(error)) => tracing::debug!("a connection to the control plane: TLS: {error}"),
        Err(_) => tracing::debug!("a connection to the control plane: no TLS in time"),
    }
}

async fn serve<F>(stream: impl AsyncRead + AsyncWrite + Unpin, caller: Caller, routes: F)
where
    F: Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
{
    let answers = TowerToHyperService::new(warp::service(routes));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(caller.clone());
        answers.call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(LARGEST);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!("a connection to the control plane: {error}");
    }
}
