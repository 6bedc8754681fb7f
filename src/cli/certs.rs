//! `tapeflow certs`: an authority of our own and certificates that it signs, to try things with.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chrono::{Datelike, TimeDelta, Utc};
use clap::Args;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

use super::print::tell;
use crate::error::{Error, Result};
use crate::tls::READER;

/// How long they are good for.
const DAYS: i64 = 365;

/// `tapeflow certs`
#[derive(Args)]
pub struct CertsArgs {
    /// Where they are written: ca.pem and ca.key where there are none yet, NAME.pem and NAME.key.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    folder: PathBuf,
    /// What the certificate is called.
    #[arg(long, default_value = "worker")]
    name: String,
    /// The hosts of the processes that show it: names or addresses.
    #[arg(long = "host", value_name = "HOST", default_values = ["localhost", "127.0.0.1", "::1"])]
    hosts: Vec<String>,
    /// One to look with, for no process: its owner can change nothing.
    #[arg(long, conflicts_with = "hosts")]
    reader: bool,
}

/// Makes a certificate, and an authority where there is none.
pub fn certs(args: &CertsArgs) -> Result<()> {
    std::fs::create_dir_all(&args.folder).map_err(|error| cannot(&args.folder, &error))?;
    let issuer = authority(&args.folder)?;
    let hosts = if args.reader { vec![READER.to_string()] } else { args.hosts.clone() };
    let mut params = CertificateParams::new(hosts).map_err(wrong)?;
    params.distinguished_name.push(DnType::CommonName, &args.name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if !args.reader {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    lasting(&mut params);
    let key = KeyPair::generate().map_err(wrong)?;
    let certificate = params.signed_by(&key, &issuer).map_err(wrong)?;
    let [pem, secret] = ["pem", "key"].map(|ending| args.folder.join(format!("{}.{ending}", args.name)));
    write(&secret, &key.serialize_pem(), 0o600)?;
    write(&pem, &certificate.pem(), 0o644)?;
    let ca = args.folder.join("ca.pem");
    let (ca, pem, secret) = (ca.display(), pem.display(), secret.display());
    tell(format!("in tapeflow.toml: tls = {{ ca = \"{ca}\", cert = \"{pem}\", key = \"{secret}\" }}"));
    Ok(())
}

/// The authority of `folder`.
fn authority(folder: &Path) -> Result<Issuer<'static, KeyPair>> {
    let (pem, secret) = (folder.join("ca.pem"), folder.join("ca.key"));
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "tapeflow");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lasting(&mut params);
    match std::fs::read_to_string(&secret) {
        Ok(text) => {
            let key = KeyPair::from_pem(&text).map_err(|error| cannot(&secret, &error))?;
            // A certificate names its issuer, and says of its key no more: the same for the same name and key.
            Ok(Issuer::new(params, key))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = KeyPair::generate().map_err(wrong)?;
            let certificate = params.self_signed(&key).map_err(wrong)?;
            write(&secret, &key.serialize_pem(), 0o600)?;
            write(&pem, &certificate.pem(), 0o644)?;
            Ok(Issuer::new(params, key))
        }
        Err(error) => Err(cannot(&secret, &error)),
    }
}

fn lasting(params: &mut CertificateParams) {
    let day = |from_now: i64| {
        let day = Utc::now() + TimeDelta::days(from_now);
        date_time_ymd(day.year(), day.month() as u8, day.day() as u8)
    };
    // A clock may be a little behind ours.
    (params.not_before, params.not_after) = (day(-1), day(DAYS));
}

/// Writes a file that is not there yet: a certificate that is in use is not lost by mistake.
fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let file = File::options().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| cannot(path, &error))
}

fn cannot(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Usage(format!("{}: {error}", path.display()))
}

fn wrong(error: rcgen::Error) -> Error {
    Error::Usage(format!("no certificate can be made: {error}"))
}
