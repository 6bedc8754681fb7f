//! A request, and whether whoever sends it may.

use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use serde::de::DeserializeOwned;
use warp::Filter;
use warp::http::{HeaderMap, Method, StatusCode};
use warp::reject::Rejection;

use super::accept::Caller;
use super::{App, Problem, Role};
use crate::error::Error;

/// The longest body: a dataflow file and its schemas.
const LONGEST: usize = 8 << 20;
/// How long a body may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);

/// A request without its body.
pub struct Request {
    /// The method; HEAD is a GET whose answer is not sent.
    pub method: Method,
    /// The path.
    pub path: String,
    query: String,
    headers: HeaderMap,
    caller: Caller,
}

/// Takes any request apart; the body is still to come.
pub fn any()
-> impl Filter<Extract = (Request, impl Stream<Item = Result<impl Buf, warp::Error>> + Send + Unpin), Error = Rejection>
+ Clone
+ Send
+ Sync
+ 'static {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Caller>())
        .map(|method: Method, path: warp::path::FullPath, query, headers, caller: Option<Caller>| {
            let method = if method == Method::HEAD { Method::GET } else { method };
            Request { method, path: path.as_str().to_string(), query, headers, caller: caller.unwrap_or_default() }
        })
        .and(warp::body::stream().map(Box::pin))
}

impl Request {
    /// The value of `name` in the query, as it stands there.
    pub fn query(&self, name: &str) -> Option<&str> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
    }

    /// The header `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// What whoever sent it may do.
    pub fn role(&self, app: &App) -> Option<Role> {
        let given = self.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        app.access.role(given, self.caller.certified)
    }

    /// Refuses a request that may not be done.
    pub fn authorise(&self, app: &App, needed: Role) -> Result<(), Problem> {
        let refuse = |status, what: &str| Err(Problem::new(status, &Error::connect(what)));
        match self.role(app) {
            None => {
                let what = "this needs the token of the cluster, as `Authorization: Bearer TOKEN`, or a certificate";
                return refuse(StatusCode::UNAUTHORIZED, what);
            }
            Some(role) if role < needed => {
                return refuse(StatusCode::FORBIDDEN, "this token, or certificate, is for looking and no more");
            }
            Some(_) => {}
        }
        // Where nothing has to be shown, a page in a browser must not reach us under a name that was pointed here.
        if app.access.is_open() && !self.header("host").is_none_or(is_local) {
            let error = Error::connect("without a token only this machine is answered, under its own names");
            return Err(Problem::new(StatusCode::FORBIDDEN, &error));
        }
        self.caller.is_known();
        Ok(())
    }

    /// Reads the body as JSON.
    pub async fn body<T: DeserializeOwned>(
        &self,
        body: impl Stream<Item = Result<impl Buf, warp::Error>> + Unpin,
    ) -> Result<T, Problem> {
        let bytes = self.bytes("application/json", body).await?;
        serde_json::from_slice(&bytes).map_err(|error| Problem::bad_request(format!("the body: {error}")))
    }

    /// Reads the body as CSV.
    pub async fn csv(
        &self,
        body: impl Stream<Item = Result<impl Buf, warp::Error>> + Unpin,
    ) -> Result<String, Problem> {
        let bytes = self.bytes("text/csv", body).await?;
        String::from_utf8(bytes.into()).map_err(|error| Problem::bad_request(format!("the body: {error}")))
    }

    /// The body, which is of this type: pages of other sites cannot send it unasked.
    async fn bytes(
        &self,
        kind: &str,
        body: impl Stream<Item = Result<impl Buf, warp::Error>> + Unpin,
    ) -> Result<Bytes, Problem> {
        if !self.header("content-type").is_some_and(|given| given.starts_with(kind)) {
            let error = Error::Usage(format!("the body is to be {kind}"));
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, &error));
        }
        let arrived = tokio::time::timeout(ARRIVAL, whole(body)).await;
        arrived.map_err(|_| Error::TimedOut("the body did not arrive in time".to_string()))?
    }
}

async fn whole(mut body: impl Stream<Item = Result<impl Buf, warp::Error>> + Unpin) -> Result<Bytes, Problem> {
    let mut bytes = Vec::new();
    while let Some(part) = body.next().await {
        let mut part = part.map_err(|error| Problem::bad_request(format!("the body: {error}")))?;
        if bytes.len() + part.remaining() > LONGEST {
            let error = Error::Usage(format!("the body is longer than {LONGEST} bytes"));
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, &error));
        }
        while part.has_remaining() {
            let chunk = part.chunk();
            bytes.extend_from_slice(chunk);
            let length = chunk.len();
            part.advance(length);
        }
    }
    Ok(bytes.into())
}

fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
    let address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn names_of_this_machine_are_local() {
        ["localhost", "localhost:7070", "127.0.0.1:7070", "[::1]:7070", "[::1]"]
            .iter()
            .for_each(|host| assert!(is_local(host), "{host}"));
        ["example.com", "example.com:7070", "127.0.0.1.example.com", "10.0.0.1:7070"]
            .iter()
            .for_each(|host| assert!(!is_local(host), "{host}"));
    }
}
