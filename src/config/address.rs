//! `HOST:PORT`.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use crate::error::{Error, Result};
use crate::spec::{Findings, FromToml};

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Address {
    /// A port of this machine that no other can reach.
    pub fn loopback(port: u16) -> Self {
        Address { host: "127.0.0.1".to_string(), port }
    }

    /// The IP addresses that the host has now.
    pub fn resolve(&self) -> Result<Vec<SocketAddr>> {
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let found: Vec<SocketAddr> = found.map_err(|error| Error::connect(format!("{self}: {error}")))?.collect();
        if found.is_empty() { Err(Error::connect(format!("{self}: the host has no address"))) } else { Ok(found) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for Address {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an address like 127.0.0.1:7070");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        let good = !host.is_empty() && bracketed.is_some() == host.contains(':') && !host.contains(char::is_whitespace);
        let port = port.parse().map_err(|_| wrong())?;
        if good { Ok(Address { host: host.to_string(), port }) } else { Err(wrong()) }
    }
}

impl FromToml for Address {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        let text = String::from_toml(value, findings)?;
        text.parse().map_err(|message: String| findings.mistake(&value.span(), message)).ok()
    }
    fn schema() -> Json {
        json!({ "type": "string", "examples": ["127.0.0.1:7070"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_shown() {
        for text in ["127.0.0.1:7070", "worker-0.tapeflow:1", "[::1]:7071", "localhost:0"] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(text.to_string()));
        }
        for text in ["", "7070", ":7070", "host:", "host:70000", "::1:7070", "a b:1", "[host]:1"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
