//! Serves connections: warp's own loop bounds neither how many there are nor how long they may be silent, and logs an
//! error for each that a client gives up.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use warp::Filter;
use warp::hyper::server::conn::http1;
use warp::reply::Response;

/// Connections at a time; others wait in the queue of the system.
const CONNECTIONS: usize = 512;
/// How long the head of a request may take, and how long a connection may wait for one.
const HEAD: Duration = Duration::from_secs(10);
/// The largest head of a request.
const LARGEST: usize = 16 << 10;

/// Answers what comes to `listener` by `routes`, for ever.
pub async fn accept<F>(listener: TcpListener, routes: F)
where
    F: Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((socket, _)) => {
                let routes = routes.clone();
                tokio::spawn(async move {
                    serve(socket, routes).await;
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

async fn serve<F>(socket: TcpStream, routes: F)
where
    F: Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
{
    let service = TowerToHyperService::new(warp::service(routes));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(LARGEST);
    if let Err(error) = http.serve_connection(TokioIo::new(socket), service).await {
        tracing::debug!("a connection to the control plane: {error}");
    }
}
