//! An object store: s3, gs, az. Credentials and addresses come from the environment, as the stores' own tools read
//! them, and from the options; the store's client retries by itself.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;
use object_store::path::Path as StorePath;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, WriteMultipart};

use super::Stored;

/// A request and its answer, in the client's words; files of state are larger than it expects.
const TIMEOUT: &str = "300s";
/// Variables that are meant for object stores begin so.
const PREFIXES: [&str; 3] = ["aws_", "azure_", "google_"];
/// What is larger is sent in parts.
const WHOLE: usize = 64 << 20;
const PART: usize = 16 << 20;
const PARTS_AT_ONCE: usize = 4;

/// Objects below a prefix of an object store.
#[derive(Debug)]
pub struct Remote {
    store: Box<dyn ObjectStore>,
    prefix: StorePath,
}

impl Remote {
    /// The store at a URL.
    pub fn open(url: &str, options: &BTreeMap<String, String>) -> Result<Remote, String> {
        let url = url.parse().map_err(|error| format!("it is no URL: {error}"))?;
        known(scheme(&url), options)?;
        let given = options.iter().map(|(name, value)| (name.to_lowercase(), value.clone()));
        let all = [("timeout".to_string(), TIMEOUT.to_string())].into_iter().chain(environment()).chain(given);
        let (store, prefix) = object_store::parse_url_opts(&url, all).map_err(|error| error.to_string())?;
        Ok(Remote { store, prefix })
    }

    /// A store from its root on.
    pub fn over(store: Box<dyn ObjectStore>) -> Remote {
        Remote { store, prefix: StorePath::default() }
    }

    fn at(&self, path: &str) -> Result<StorePath, Error> {
        match (self.prefix.as_ref(), path) {
            (prefix, "") => Ok(StorePath::parse(prefix)?),
            ("", path) => Ok(StorePath::parse(path)?),
            (prefix, path) => Ok(StorePath::parse(format!("{prefix}/{path}"))?),
        }
    }

    /// Writes an object; if `create`, only where there is none. Returns whether it did.
    pub async fn write(&self, path: &str, bytes: Vec<u8>, create: bool) -> Result<bool, Error> {
        let at = self.at(path)?;
        if bytes.len() > WHOLE && !create {
            let mut parts = WriteMultipart::new_with_chunk_size(self.store.put_multipart(&at).await?, PART);
            for piece in bytes.chunks(PART) {
                parts.wait_for_capacity(PARTS_AT_ONCE).await?;
                parts.write(piece);
            }
            return parts.finish().await.map(|_| true);
        }
        let mode = if create { PutMode::Create } else { PutMode::Overwrite };
        let options = PutOptions { mode, ..PutOptions::default() };
        match self.store.put_opts(&at, PutPayload::from(bytes), options).await {
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) if create => Ok(false),
            result => result.map(|_| true),
        }
    }

    /// The content of an object.
    pub async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        match self.store.get(&self.at(path)?).await {
            Err(Error::NotFound { .. }) => Ok(None),
            result => Ok(Some(result?.bytes().await?.into())),
        }
    }

    /// All objects below `prefix`.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Stored>, Error> {
        let at = self.at(prefix)?;
        let skipped = if self.prefix.as_ref().is_empty() { 0 } else { self.prefix.as_ref().len() + 1 };
        let objects = self.store.list(Some(&at));
        let stored = objects.try_filter_map(|object| async move {
            let path = object.location.as_ref().get(skipped..).map(str::to_string);
            Ok(path.map(|path| Stored { path, size: object.size }))
        });
        stored.try_collect().await
    }

    /// Removes an object.
    pub async fn delete(&self, path: &str) -> Result<(), Error> {
        match self.store.delete(&self.at(path)?).await {
            Err(Error::NotFound { .. }) => Ok(()),
            result => result,
        }
    }
}

/// The variables of the environment that are meant for object stores.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    // The stores' keys have short names, too, and a variable `TOKEN` need not be meant for them.
    let ours = |(name, _): &(String, String)| PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    std::env::vars().map(|(name, value)| (name.to_lowercase(), value)).filter(ours)
}

fn scheme<T: std::fmt::Display>(url: &T) -> String {
    url.to_string().split(':').next().unwrap_or_default().to_string()
}

/// An option with a slip of the pen would be ignored silently.
fn known(scheme: String, options: &BTreeMap<String, String>) -> Result<(), String> {
    let is_known = |name: &str| match scheme.as_str() {
        "s3" | "s3a" => name.parse::<AmazonS3ConfigKey>().is_ok(),
        "gs" => name.parse::<GoogleConfigKey>().is_ok(),
        "az" | "adl" | "azure" | "abfs" | "abfss" => name.parse::<AzureConfigKey>().is_ok(),
        _ => true,
    };
    match options.keys().find(|name| !is_known(&name.to_lowercase())) {
        Some(name) => Err(format!("`{name}` is no option of a {scheme}:// store")),
        None => Ok(()),
    }
}
