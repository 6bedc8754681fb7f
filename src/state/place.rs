//! Places and paths of state: which are good, how they are shown, what to do where they fail.

use crate::error::{Error, Result};

/// An object, or the store itself.
pub fn named(path: &str) -> &str {
    if path.is_empty() { "it" } else { path }
}

/// What to do about it.
pub fn remedy(kind: std::io::ErrorKind) -> &'static str {
    use std::io::ErrorKind::*;
    match kind {
        PermissionDenied => "; let the user who runs tapeflow read and write there",
        StorageFull | QuotaExceeded => "; make room there, or let `tapeflow checkpoint prune` do so",
        ReadOnlyFilesystem => "; choose a place that can be written",
        Unsupported => "; its file system lacks what is needed (hard links): choose another",
        NotADirectory | AlreadyExists => "; a file stands where a folder is needed",
        _ => "",
    }
}

/// Paths are made by the program; what comes from outside in them must not lead anywhere else.
pub fn good(path: &str) -> Result<()> {
    let part = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-=+@,".contains(c);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(plain)
    };
    if path.split('/').all(part) {
        return Ok(());
    }
    Err(Error::Usage(format!("`{path}` is no path in a state store: parts are letters, digits and . _ - = + @ ,")))
}

/// A location without what may be secret in it.
pub fn shown(location: &str) -> String {
    let open = location.split('?').next().unwrap_or_default();
    match open.split_once("://") {
        None => open.to_string(),
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
            // In az://container@account the first part is no secret; a password comes after a colon.
            let host = match host.rsplit_once('@') {
                Some((user, host)) if user.contains(':') => host,
                _ => host,
            };
            format!("{scheme}://{host}{}", path.map(|path| format!("/{path}")).unwrap_or_default())
        }
    }
}
