//! How the mail server is reached: address, TLS, user.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, Tokio1Executor};

use crate::error::{Error, Result};
use crate::spec::{Addresses, At, Check, Fields, Secret};
use crate::words;

words! {
    /// How a connection is encrypted.
    Encryption {
        /// It begins in the clear, and nothing is said before it is encrypted.
        Starttls = "starttls",
        /// From the first byte on.
        Tls = "tls",
        /// Not at all.
        None = "none",
    }
}

impl Encryption {
    /// Where servers listen for it.
    fn port(self) -> u16 {
        match self {
            Encryption::Starttls => 587,
            Encryption::Tls => 465,
            Encryption::None => 25,
        }
    }
}

/// The server, as written.
pub struct ServerSpec {
    server: At<Addresses>,
    tls: Encryption,
    ca: Option<At<String>>,
    user: Option<At<String>>,
    password: Option<At<Secret>>,
}

impl ServerSpec {
    /// Reads it.
    pub fn read(fields: &mut Fields<'_>) -> Self {
        ServerSpec {
            server: fields.get("server", "the mail server, host:port; port 587, 465 or 25 by default").required(),
            tls: fields
                .get("tls", "starttls (the default), tls (from the first byte on) or none")
                .or(Encryption::Starttls),
            ca: fields
                .get("ca", "the certificates (PEM) that vouch for the server, besides those that browsers know")
                .optional(),
            user: fields.get("user", "the user's name").optional(),
            password: fields.get("password", "the user's password: write ${NAME} or ${file:path}").optional(),
        }
    }

    /// Checks it.
    pub fn plan(&self, check: &Check<'_>) -> Option<Server> {
        let (findings, before) = (check.findings, check.findings.len());
        let text = &self.server.value.0;
        let address = match text.rsplit_once(':') {
            Some((host, port)) => Some(host).zip(port.parse().ok().filter(|port| *port > 0)),
            None => Some((text.as_str(), self.tls.port())),
        };
        let address = address.filter(|(host, _)| !host.is_empty());
        if address.is_none() {
            findings.mistake(&self.server.span, format!("`{text}` is no host:port"));
        }
        match (&self.user, &self.password) {
            (Some(user), None) => findings.mistake(&user.span, "`user` and `password` come together"),
            (None, Some(password)) => findings.mistake(&password.span, "`user` and `password` come together"),
            (Some(_), Some(password)) if self.tls == Encryption::None => {
                findings.warning(&password.span, "without TLS whoever listens can read the password");
            }
            _ => {}
        }
        let (host, port) = address?;
        (findings.len() == before).then(|| Server {
            host: host.to_string(),
            port,
            tls: self.tls,
            ca: self.ca.as_ref().map(|path| check.files.path(path)),
            user: self
                .user
                .as_ref()
                .zip(self.password.as_ref())
                .map(|(user, password)| (user.value.clone(), password.value.clone())),
        })
    }
}

/// The server.
#[derive(Clone)]
pub struct Server {
    host: String,
    port: u16,
    tls: Encryption,
    ca: Option<PathBuf>,
    user: Option<(String, Secret)>,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({})", self.host, self.port, self.tls)
    }
}

impl Server {
    /// What speaks to it: a connection for each mail.
    pub fn transport(&self, timeout: Duration) -> Result<AsyncSmtpTransport<Tokio1Executor>> {
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.host).port(self.port);
        let builder = builder.timeout(Some(timeout)).tls(self.encryption()?);
        let builder = match &self.user {
            Some((user, Secret(password))) => builder.credentials(Credentials::new(user.clone(), password.clone())),
            None => builder,
        };
        Ok(builder.build())
    }

    fn encryption(&self) -> Result<Tls> {
        let wrong = |error: &dyn fmt::Display| Error::connect(format!("{self}: TLS: {error}"));
        let parameters = || -> Result<TlsParameters> {
            let mut builder = TlsParameters::builder(self.host.clone());
            if let Some(path) = &self.ca {
                let cannot = |error: &dyn fmt::Display| Error::connect(format!("{}: {error}", path.display()));
                let pem = std::fs::read(path).map_err(|error| cannot(&error))?;
                builder = builder.add_root_certificate(Certificate::from_pem(&pem).map_err(|error| cannot(&error))?);
            }
            builder.build().map_err(|error| wrong(&error))
        };
        Ok(match self.tls {
            Encryption::Starttls => Tls::Required(parameters()?),
            Encryption::Tls => Tls::Wrapper(parameters()?),
            Encryption::None => Tls::None,
        })
    }
}
