//! How the servers are reached: addresses, credentials, TLS. A process opens one session for all sinks that reach
//! the same servers in the same way.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use serde_json::{Value as Json, json};
use tokio::sync::Mutex;
use toml::Spanned;
use toml::de::DeValue;

use super::tls;
use crate::error::{Error, Result};
use crate::spec::{Addresses, At, Check, Fields, Findings, FromToml, OneOrMany, Secret, expected};

const PORT: u16 = 9042;

/// `tls`: true, or the files to use.
#[derive(Clone, Debug, Default, PartialEq)]
struct TlsSpec {
    on: bool,
    ca: Option<String>,
    cert: Option<String>,
    key: Option<String>,
}

impl FromToml for TlsSpec {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(on) => Some(TlsSpec { on: *on, ..TlsSpec::default() }),
            DeValue::Table(table) => {
                let mut fields = Fields::new("`tls`", table, value.span(), findings);
                let mut path = |key, doc| fields.get::<String>(key, doc).optional().map(|path| path.value);
                let ca =
                    path("ca", "the certificates (PEM) that vouch for the servers; those of the system by default");
                let cert = path("cert", "our own certificate (PEM)");
                let key = path("key", "its private key (PEM)");
                if cert.is_some() != key.is_some() {
                    fields.mistake("`cert` and `key` come together");
                }
                fields.finish();
                Some(TlsSpec { on: true, ca, cert, key })
            }
            _ => expected(value, findings, "true, or { ca = \"...\", cert = \"...\", key = \"...\" }"),
        }
    }
    fn schema() -> Json {
        let path = String::schema();
        let files = json!({ "ca": path.clone(), "cert": path.clone(), "key": path });
        json!({ "anyOf": [{ "type": "boolean" }, { "type": "object", "properties": files, "additionalProperties": false }] })
    }
}

/// Where the servers are and how to reach them, as written.
pub struct ConnectionSpec {
    contact_points: At<OneOrMany<Addresses>>,
    local_dc: Option<String>,
    user: Option<At<String>>,
    password: Option<At<Secret>>,
    tls: TlsSpec,
    timeout: Duration,
}

impl ConnectionSpec {
    /// Reads it.
    pub fn read(fields: &mut Fields<'_>) -> Self {
        ConnectionSpec {
            contact_points: fields
                .get("contact_points", "some of the servers, host:port: a list, or a text with commas")
                .required(),
            local_dc: fields
                .get("local_dc", "the data centre whose servers are asked")
                .optional()
                .map(|name| name.value),
            user: fields.get("user", "the user's name").optional(),
            password: fields.get("password", "the user's password: write ${NAME} or ${file:/path}").optional(),
            tls: fields
                .get("tls", "true, or { ca, cert, key }: PEM files; a server's certificate must name its address")
                .or(TlsSpec::default()),
            timeout: fields
                .get("timeout", "how long a server may take to answer before it is asked again; 10s by default")
                .or(Duration::from_secs(10)),
        }
    }

    /// Checks it.
    pub fn plan(&self, check: &Check<'_>) -> Option<Connection> {
        let findings = check.findings;
        let before = findings.len();
        let mut contact_points = Vec::new();
        for text in &self.contact_points.0 {
            for part in text.value.0.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                match address(part) {
                    Some(address) => contact_points.push(address),
                    None => findings.mistake(&text.span, format!("`{part}` is no host:port")),
                }
            }
        }
        if contact_points.is_empty() && findings.len() == before {
            findings.mistake(&self.contact_points.span, "`contact_points` names no server");
        }
        let alone = match (&self.user, &self.password) {
            (Some(user), None) => Some(&user.span),
            (None, Some(password)) => Some(&password.span),
            _ => None,
        };
        alone.into_iter().for_each(|span| findings.mistake(span, "`user` and `password` come together"));
        let path = |path: &Option<String>| path.as_ref().map(|path| check.files.path(path));
        let tls =
            self.tls.on.then(|| Tls { ca: path(&self.tls.ca), own: path(&self.tls.cert).zip(path(&self.tls.key)) });
        (findings.len() == before).then(|| Connection {
            contact_points,
            local_dc: self.local_dc.clone(),
            user: self
                .user
                .as_ref()
                .zip(self.password.as_ref())
                .map(|(user, password)| (user.value.clone(), password.value.clone())),
            tls,
            timeout: self.timeout,
        })
    }
}

/// `host`, `host:port`, `[v6]:port`, with the port that is not written.
fn address(text: &str) -> Option<String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Some(text.to_string())
        }
        Some(_) => None,
        None => Some(format!("{text}:{PORT}")),
    }
}

/// The files that TLS needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// The certificates that vouch for the servers.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// Where the servers are and how to reach them.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    contact_points: Vec<String>,
    local_dc: Option<String>,
    user: Option<(String, Secret)>,
    tls: Option<Tls>,
    /// How long a server may take to answer.
    pub timeout: Duration,
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.contact_points.join(", "))
    }
}

struct Open {
    connection: Connection,
    session: Weak<Session>,
}

static OPEN: LazyLock<Mutex<Vec<Open>>> = LazyLock::new(Mutex::default);

impl Connection {
    /// The process's session with these servers, opened where there is none yet.
    pub async fn session(&self) -> Result<Arc<Session>> {
        let mut open = OPEN.lock().await;
        open.retain(|open| open.session.strong_count() > 0);
        let same = open.iter().find(|open| open.connection == *self);
        if let Some(session) = same.and_then(|open| open.session.upgrade()) {
            return Ok(session);
        }
        let session = Arc::new(self.open().await?);
        open.push(Open { connection: self.clone(), session: Arc::downgrade(&session) });
        Ok(session)
    }

    async fn open(&self) -> Result<Session> {
        let cannot =
            |reason: &dyn fmt::Display| Error::connect(format!("cannot connect to Cassandra at {self}: {reason}"));
        let mut builder = SessionBuilder::new().known_nodes(&self.contact_points).connection_timeout(self.timeout);
        if let Some(name) = &self.local_dc {
            builder = builder.prefer_datacenter(name.clone());
        }
        if let Some((name, Secret(password))) = &self.user {
            builder = builder.user(name, password);
        }
        if let Some(files) = &self.tls {
            builder = builder.tls_context(Some(tls::context(files)?));
        }
        let late = |_| cannot(&format!("no answer within {:?}", self.timeout));
        let opened = tokio::time::timeout(self.timeout, builder.build()).await.map_err(late)?;
        opened.map_err(|error| cannot(&error))
    }
}
