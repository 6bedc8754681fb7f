//! `tls = { ca = "ca.pem", cert = "worker-0.pem", key = "worker-0.key" }`

use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::DeValue;

use super::{Origin, Setting};
use crate::spec::{Fields, Findings, FromToml, expected};
use crate::tls::TlsFiles;

/// The keys, as they stand in the file.
#[derive(Clone, Debug, Default)]
pub struct Written {
    ca: Option<String>,
    cert: Option<String>,
    key: Option<String>,
}

impl Written {
    fn read(mut fields: Fields<'_>) -> Written {
        let mut get = |key, doc| fields.get::<String>(key, doc).optional().map(|at| at.value);
        let ca = get("ca", "the certificate of the authority that signs all others (PEM)");
        let cert = get("cert", "the certificate of this process (PEM)");
        let key = get("key", "its key (PEM)");
        fields.finish();
        Written { ca, cert, key }
    }
}

impl FromToml for Written {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            return expected(
                value,
                findings,
                "a table like { ca = \"ca.pem\", cert = \"own.pem\", key = \"own.key\" }",
            );
        };
        Some(Written::read(Fields::new("`tls`", table, value.span(), findings)))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "object" })
    }
}

/// The files: `TAPEFLOW_TLS_CA`, `_CERT` and `_KEY` come before what is `written`, whose paths are relative to its file.
pub fn find(
    written: Option<Setting<Written>>,
    flags: &super::Flags,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Setting<Option<TlsFiles>>, String> {
    let mut origin = written.as_ref().map_or(Origin::Default, |written| written.origin.clone());
    let base = match &origin {
        Origin::File(settings, _) => settings.parent().unwrap_or(Path::new("")).to_path_buf(),
        _ => PathBuf::new(),
    };
    let written = written.map(|written| written.value).unwrap_or_default();
    let mut file = |key: &'static str, written: Option<String>| {
        let name = format!("TAPEFLOW_{}", key.to_uppercase());
        let flag = flags.iter().find(|(flag, _)| *flag == key).map(|(_, value)| value.clone());
        let above = match (flag, variable(&name)) {
            (Some(path), _) => Some((path, Origin::Flag(key))),
            (None, path) => path.map(|path| (path, Origin::Environment(name))),
        };
        match above {
            Some((path, from)) => {
                origin = from;
                Some(PathBuf::from(path))
            }
            None => written.map(|path| base.join(path)),
        }
    };
    let (ca, cert, key) = (file("tls_ca", written.ca), file("tls_cert", written.cert), file("tls_key", written.key));
    let value = match (ca, cert, key) {
        (None, None, None) => None,
        (Some(ca), None, None) => Some(TlsFiles { ca, own: None }),
        (Some(ca), Some(cert), Some(key)) => Some(TlsFiles { ca, own: Some((cert, key)) }),
        (None, ..) => return Err(format!("{origin}: `tls` needs `ca`, the certificate of the authority")),
        _ => return Err(format!("{origin}: `tls` needs both `cert` and `key`, or neither")),
    };
    Ok(Setting { value, origin })
}
