//! Files in an object store: fetched to a temporary folder before they are read.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::TryStreamExt;
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt};

use super::splits::{Found, hive_partitions};
use crate::error::{Error, Result};
use crate::runtime::blocking;
use crate::state::environment;

/// What the names of folders begin with in which processes keep what they have fetched.
const FETCHED_BY: &str = "tapeflow-fetched-";
/// Everything about an object store is over after this long, or has failed.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Whether a path is a place in an object store.
pub fn is_remote(path: &str) -> bool {
    ["s3://", "s3a://", "gs://", "az://", "abfs://", "abfss://", "file://"]
        .iter()
        .any(|scheme| path.starts_with(scheme))
}

/// What was fetched, by URL: a source is looked at when it is planned and again when it is prepared.
static FETCHED: Mutex<Option<HashMap<String, Vec<Found>>>> = Mutex::new(None);

/// Fetches the objects at `url`: one object, or all below a prefix. Credentials come from the environment, as
/// the object stores' own tools read them.
pub fn fetch(url: &str) -> Result<Vec<Found>> {
    let mut fetched = FETCHED.lock().unwrap_or_else(PoisonError::into_inner);
    let fetched = fetched.get_or_insert_default();
    if let Some(found) = fetched.get(url) {
        return Ok(found.clone());
    }
    let found = blocking(TIMEOUT, fetch_all(url.to_string()))?;
    fetched.insert(url.to_string(), found.clone());
    Ok(found)
}

async fn fetch_all(url: String) -> Result<Vec<Found>> {
    let failed = |error: object_store::Error| Error::connect(format!("{url}: {error}"));
    let place = url.parse().map_err(|error| Error::Usage(format!("{url}: {error}")))?;
    let (store, prefix) = object_store::parse_url_opts(&place, environment()).map_err(failed)?;
    remove_left_over();
    let folder = folder(std::process::id()).join(format!("{:x}", xxhash_rust::xxh3::xxh3_64(url.as_bytes())));
    let mut objects: Vec<_> = match store.head(&prefix).await {
        Ok(object) => vec![object],
        Err(_) => store.list(Some(&prefix)).try_collect().await.map_err(failed)?,
    };
    objects.sort_by(|one, other| one.location.cmp(&other.location));
    let mut found = Vec::new();
    for object in objects {
        let path = download(&*store, &object.location, &folder, &url).await?;
        let name = format!("{}/{}", url.trim_end_matches('/'), object.location);
        found.push(Found { path, name, bytes: object.size, partitions: hive_partitions(object.location.as_ref()) });
    }
    Ok(found)
}

/// Where a process keeps what it has fetched.
fn folder(process: u32) -> PathBuf {
    std::env::temp_dir().join(format!("{FETCHED_BY}{process}"))
}

/// Removes what this process has fetched: nobody reads it any more.
pub fn forget() {
    if FETCHED.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
        // What cannot be removed now is removed by the next process that fetches.
        let _ = std::fs::remove_dir_all(folder(std::process::id()));
    }
}

/// Removes what processes have fetched that were killed.
fn remove_left_over() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(FETCHED_BY)?.parse::<u32>().ok());
        if process.is_some_and(|process| !PathBuf::from(format!("/proc/{process}")).exists()) {
            // Another process may be quicker.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

async fn download(
    store: &dyn ObjectStore,
    location: &StorePath,
    folder: &std::path::Path,
    url: &str,
) -> Result<PathBuf> {
    let failed = |error: &dyn std::fmt::Display| Error::connect(format!("{url}: {location}: {error}"));
    let path = folder.join(location.as_ref());
    if let Some(parent) = path.parent() {
        tokio::fs::create_dir_all(parent).await.map_err(|error| failed(&error))?;
    }
    let mut file = tokio::fs::File::create(&path).await.map_err(|error| failed(&error))?;
    let mut chunks = store.get(location).await.map_err(|error| failed(&error))?.into_stream();
    while let Some(chunk) = chunks.try_next().await.map_err(|error| failed(&error))? {
        tokio::io::AsyncWriteExt::write_all(&mut file, &chunk).await.map_err(|error| failed(&error))?;
    }
    tokio::io::AsyncWriteExt::flush(&mut file).await.map_err(|error| failed(&error))?;
    Ok(path)
}
