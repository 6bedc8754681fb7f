//! Certificates, and what is made of them: TLS on both sides of every connection of the mesh, and on the control plane.
//!
//! One authority signs the certificates of a cluster and of those who use it, and no other is believed. A certificate
//! that is valid for [`READER`] may look at a cluster; every other may change it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::error::{Error, Result};

/// The name in a certificate that lets its owner look, and no more.
pub const READER: &str = "reader.tapeflow";

/// Where the certificates are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsFiles {
    /// That of the authority.
    pub ca: PathBuf,
    /// The own one, and its key.
    pub own: Option<(PathBuf, PathBuf)>,
}

impl std::fmt::Display for TlsFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ca {}", self.ca.display())?;
        match &self.own {
            Some((cert, key)) => write!(f, ", cert {}, key {}", cert.display(), key.display()),
            None => Ok(()),
        }
    }
}

/// The certificates, read and checked.
#[derive(Clone)]
pub struct Tls {
    /// For connections to others.
    pub client: Arc<ClientConfig>,
    servers: Option<Servers>,
}

#[derive(Clone)]
struct Servers {
    mesh: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
}

impl Tls {
    /// Reads `files`.
    pub fn load(files: &TlsFiles) -> Result<Tls> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&files.ca)? {
            roots.add(certificate).map_err(|error| unfit(&files.ca, &error))?;
        }
        let roots = Arc::new(roots);
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let client = client.with_safe_default_protocol_versions().map_err(Error::run)?;
        let client = client.with_root_certificates(Arc::clone(&roots));
        let Some((cert, key)) = &files.own else {
            return Ok(Tls { client: Arc::new(client.with_no_client_auth()), servers: None });
        };
        let chain = certificates(cert)?;
        let private = || PrivateKeyDer::from_pem_file(key).map_err(|error| unfit(key, &error));
        let client = client.with_client_auth_cert(chain.clone(), private()?).map_err(|error| unfit(cert, &error))?;
        let server = |optional: bool| {
            let callers =
                WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::new(ring::default_provider()));
            let callers = if optional { callers.allow_unauthenticated() } else { callers };
            let callers = callers.build().map_err(|error| unfit(&files.ca, &error))?;
            let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
            let server = server.with_safe_default_protocol_versions().map_err(Error::run)?;
            let server = server.with_client_cert_verifier(callers).with_single_cert(chain.clone(), private()?);
            let mut server = server.map_err(|error| unfit(cert, &error))?;
            // Nothing is said before it is asked for: where a connection has something to read, it is meant for us.
            server.send_tls13_tickets = 0;
            Ok::<_, Error>(Arc::new(server))
        };
        let servers = Servers { mesh: server(false)?, http: server(true)? };
        Ok(Tls { client: Arc::new(client), servers: Some(servers) })
    }

    /// For those who call a process of the cluster as another: both sides show a certificate.
    pub fn mesh(&self) -> Result<TlsAcceptor> {
        Ok(TlsAcceptor::from(Arc::clone(&self.servers()?.mesh)))
    }

    /// For those who call the control plane: a certificate is one way to show who they are.
    pub fn http(&self) -> Result<TlsAcceptor> {
        Ok(TlsAcceptor::from(Arc::clone(&self.servers()?.http)))
    }

    /// For calls to others.
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.client))
    }

    fn servers(&self) -> Result<&Servers> {
        let missing = || Error::Usage("`tls` needs `cert` and `key` where something listens".to_string());
        self.servers.as_ref().ok_or_else(missing)
    }
}

/// Whether the owner of `certificate` may only look.
pub fn is_reader(certificate: &CertificateDer<'_>) -> bool {
    let reader = ServerName::try_from(READER);
    let parsed = ParsedCertificate::try_from(certificate);
    // What cannot be read was not let in; were it, it should do no harm.
    parsed.map_or(true, |parsed| reader.is_ok_and(|reader| verify_server_name(&parsed, &reader).is_ok()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let found = read().map_err(|error: rustls::pki_types::pem::Error| unfit(path, &error))?;
    if found.is_empty() { Err(unfit(path, &"there is no certificate in it")) } else { Ok(found) }
}

fn unfit(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Usage(format!("{} cannot be used for TLS: {error}", path.display()))
}
