//! Asks a process over HTTP: for the command line, and for the other processes.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use warp::http::Method;

use super::{Access, Problem};
use crate::config::{Address, Token};
use crate::error::{Error, Result};

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(10);

/// Asks one process.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    scheme: &'static str,
    address: Address,
    token: Option<Token>,
    header: Option<(&'static str, String)>,
}

impl Client {
    /// Asks the process that listens at `address`.
    pub fn new(address: Address, access: &Access) -> Result<Client> {
        // A proxy of the environment is for the world outside, not for a cluster.
        let http = reqwest::Client::builder().connect_timeout(CONNECT).no_proxy();
        // Connections are not kept: the other side may close them just when they are used again.
        let mut http = http.pool_max_idle_per_host(0);
        if let Some(tls) = access.tls() {
            http = http.use_preconfigured_tls((*tls.client).clone());
        }
        let scheme = if access.tls().is_some() { "https" } else { "http" };
        let (http, token) = (http.build().map_err(Error::run)?, access.shown().cloned());
        Ok(Client { http, scheme, address, token, header: None })
    }

    /// The same, with a header on every request.
    pub fn with_header(self, name: &'static str, value: String) -> Client {
        Client { header: Some((name, value)), ..self }
    }

    /// Gets `path`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, patience: Duration) -> Result<T> {
        self.send::<(), T>(Method::GET, path, None, patience).await
    }

    /// Sends a request, with `body` as JSON, and reads the answer.
    pub async fn send<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
        patience: Duration,
    ) -> Result<T> {
        self.ask(self.request(method, path, body).timeout(patience)).await
    }

    /// Puts a text of this content type at `path`, and reads the answer.
    pub async fn put_text<T: DeserializeOwned>(
        &self,
        path: &str,
        kind: &str,
        text: String,
        patience: Duration,
    ) -> Result<T> {
        let request = self.request::<()>(Method::PUT, path, None).header("content-type", kind).body(text);
        self.ask(request.timeout(patience)).await
    }

    async fn ask<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T> {
        let response = self.checked(request.send().await.map_err(|error| self.cannot(&error))?).await?;
        let bytes = response.bytes().await.map_err(|error| self.cannot(&error))?;
        let no = |error| Error::connect(format!("{} gave an answer that is not understood: {error}", self.address));
        serde_json::from_slice(&bytes).map_err(no)
    }

    /// Opens a stream of lines: it ends when the server ends it, or when nothing came for `patience`.
    pub async fn lines(&self, path: &str, patience: Duration) -> Result<Lines> {
        let sent = tokio::time::timeout(patience, self.request::<()>(Method::GET, path, None).send()).await;
        let late = |_| Error::TimedOut(format!("{} did not answer within {patience:?}", self.address));
        let response = self.checked(sent.map_err(late)?.map_err(|error| self.cannot(&error))?).await?;
        Ok(Lines { response, rest: BytesMut::new(), patience, address: self.address.clone() })
    }

    fn request<B: Serialize>(&self, method: Method, path: &str, body: Option<&B>) -> reqwest::RequestBuilder {
        let mut request = self.http.request(method, format!("{}://{}{path}", self.scheme, self.address));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.secret());
        }
        if let Some((name, value)) = &self.header {
            request = request.header(*name, value);
        }
        match body {
            Some(body) => request.json(body),
            None => request,
        }
    }

    async fn checked(&self, response: reqwest::Response) -> Result<reqwest::Response> {
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let problem = response.json::<Problem>().await;
        Err(problem.map_or_else(|_| Error::connect(format!("{} answered {status}", self.address)), Error::from))
    }

    fn cannot(&self, error: &reqwest::Error) -> Error {
        if error.is_timeout() && !error.is_connect() {
            return Error::TimedOut(format!("{} did not answer in time", self.address));
        }
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Error::connect(format!("cannot reach {}: {cause}", self.address))
    }
}

/// The lines of an answer, as they come.
pub struct Lines {
    response: reqwest::Response,
    rest: BytesMut,
    patience: Duration,
    address: Address,
}

impl Lines {
    /// The longest line.
    const LONGEST: usize = 16 << 20;

    /// The next line, without its end; `None` at the end of the answer.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line = self.rest.split_to(end + 1);
                return Ok(Some(line.freeze().slice(..end)));
            }
            if self.rest.len() > Self::LONGEST {
                return Err(Error::connect(format!("{}: a line without end", self.address)));
            }
            let chunk = tokio::time::timeout(self.patience, self.response.chunk()).await;
            let chunk = chunk.map_err(|_| Error::TimedOut(format!("nothing came from {}", self.address)))?;
            match chunk.map_err(|error| Error::connect(format!("{}: {error}", self.address)))? {
                Some(bytes) => self.rest.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }
}
