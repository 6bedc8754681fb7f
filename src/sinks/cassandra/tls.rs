//! TLS towards the servers: their certificates are always verified, against the address that is connected to.

use std::path::Path;

use openssl::error::ErrorStack;
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslFiletype, SslMethod};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;

use super::connection::Tls;
use crate::error::{Error, Result};

/// What the driver opens its connections with.
pub fn context(files: &Tls) -> Result<SslConnectorBuilder> {
    let broken = |error: ErrorStack| Error::connect(format!("TLS: {error}"));
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(broken)?;
    if let Some(path) = &files.ca {
        let pem = std::fs::read(path).map_err(|error| in_file(path, &error))?;
        // Who names an authority of his own trusts no other.
        let mut store = X509StoreBuilder::new().map_err(broken)?;
        for certificate in X509::stack_from_pem(&pem).map_err(|error| in_file(path, &error))? {
            store.add_cert(certificate).map_err(|error| in_file(path, &error))?;
        }
        builder.set_cert_store(store.build());
    }
    if let Some((certificate, key)) = &files.own {
        builder.set_certificate_chain_file(certificate).map_err(|error| in_file(certificate, &error))?;
        builder.set_private_key_file(key, SslFiletype::PEM).map_err(|error| in_file(key, &error))?;
        builder.check_private_key().map_err(|error| in_file(key, &error))?;
    }
    Ok(builder)
}

fn in_file(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::connect(format!("TLS: {}: {error}", path.display()))
}
