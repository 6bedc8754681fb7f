//! Serves connections, plain or encrypted: warp's own loop bounds neither how many there are nor how long they may be
//! silent, knows no encryption, and logs an error for each that a client gives up.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
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

/// Connections at a time; others wait in the queue of the system.
const CONNECTIONS: usize = 512;
/// How long the head of a request may take, and how long a connection may wait for one.
const HEAD: Duration = Duration::from_secs(10);
/// The largest head of a request.
const LARGEST: usize = 16 << 10;

/// Answers what comes to `listener` by `routes`, for ever. The routes find the [`Role`] of who has shown a certificate
/// among the extensions of a request.
pub async fn accept<F>(listener: TcpListener, tls: Option<TlsAcceptor>, routes: F)
where
    F: Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((socket, _)) => {
                let (routes, tls) = (routes.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(socket, None, routes).await,
                        Some(tls) => encrypted(socket, &tls, routes).await,
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("the control plane cannot accept a connection: {error}");
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn encrypted<F>(socket: TcpStream, tls: &TlsAcceptor, routes: F)
where
    F: Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
{
    match timeout(HEAD, tls.accept(socket)).await {
        Ok(Ok(stream)) => {
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let role = certificate.map(|shown| if is_reader(shown) { Role::Read } else { Role::Change });
            serve(stream, role, routes).await;
        }
        Ok(Err(error)) => tracing::debug!("a connection to the control plane: TLS: {error}"),
        Err(_) => tracing::debug!("a connection to the control plane: no TLS in time"),
    }
}

async fn serve<F>(stream: impl AsyncRead + AsyncWrite + Unpin, role: Option<Role>, routes: F)
where
    F: Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
{
    let answers = TowerToHyperService::new(warp::service(routes));
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(role) = role {
            request.extensions_mut().insert(role);
        }
        answers.call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(LARGEST);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!("a connection to the control plane: {error}");
    }
}
