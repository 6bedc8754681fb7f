//! Where state is kept.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use super::crypt::{Key, OVERHEAD, sealed_with};
use super::envelope::{of_file, unwrap, wrap};
use super::folder::Folder;
use super::place::{good, named, remedy, shown};
use super::remote::Remote;
use crate::error::{Error, Result};

/// Whatever is asked of a store has happened after this long, or has failed.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Says how the rest is written; never sealed itself.
const ABOUT: &str = "store.json";
const FORMAT: u32 = 1;

/// A folder or a prefix of an object store, sealed with a key where one is given. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    name: String,
    place: Place,
    key: Option<Key>,
    checked: OnceCell<()>,
}

enum Place {
    Folder(Folder),
    Remote(Remote),
}

/// An object, by its path below the root of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its path.
    pub path: String,
    /// The size of its content in bytes.
    pub size: u64,
}

/// What [`ABOUT`] says.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct About {
    /// The id of the key, if the store is sealed.
    key: Option<String>,
}

impl Store {
    /// A folder, or `s3://`, `gs://`, `az://` with the options of that store; sealed with the key in a file, if one
    /// is given. Nothing is read or written yet: [`Store::check`] tells early whether it can be.
    pub fn open(
        location: &str,
        options: &BTreeMap<String, String>,
        encryption_key_file: Option<&Path>,
    ) -> Result<Store> {
        let key = encryption_key_file.map(Key::read).transpose()?;
        let name = shown(location);
        let folder = location.strip_prefix("file://").or((!location.contains("://")).then_some(location));
        let place = match folder {
            Some("") => {
                return Err(Error::Usage("the place of the state is empty: name a folder or a URL".to_string()));
            }
            Some(folder) => Place::Folder(Folder(PathBuf::from(folder))),
            None => Place::Remote(
                Remote::open(location, options)
                    .map_err(|error| Error::Usage(format!("state store {name}: {error}")))?,
            ),
        };
        Ok(Store(Arc::new(Inner { name, place, key, checked: OnceCell::new() })))
    }

    /// A store that lasts as long as this process holds it.
    pub fn in_memory() -> Result<Store> {
        Ok(Store::over("memory:///", Box::new(InMemory::new()), None))
    }

    /// A store in any object store, from its root on.
    pub fn over(name: &str, store: Box<dyn ObjectStore>, key: Option<Key>) -> Store {
        let place = Place::Remote(Remote::over(store));
        Store(Arc::new(Inner { name: name.to_string(), place, key, checked: OnceCell::new() }))
    }

    /// Whether it can be written and read, and is sealed with the key that was given.
    pub async fn check(&self) -> Result<()> {
        let path = format!("checks/{}", uuid::Uuid::new_v4().simple());
        self.put(&path, path.clone().into_bytes()).await?;
        let read = self.get(&path).await?;
        self.delete(&path).await?;
        match read == Some(path.clone().into_bytes()) {
            true => Ok(()),
            false => Err(Error::connect(format!("state store {self}: {path} was written, and cannot be read again"))),
        }
    }

    /// Writes an object, in one step: it is there whole, or as it was before. When this returns, it is durable.
    pub async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        self.write(path, bytes, false).await.map(drop)
    }

    /// Writes an object where there is none; false if there was one.
    pub async fn create(&self, path: &str, bytes: Vec<u8>) -> Result<bool> {
        self.write(path, bytes, true).await
    }

    async fn write(&self, path: &str, bytes: Vec<u8>, create: bool) -> Result<bool> {
        writable(path)?;
        self.known(true).await?;
        self.still_there().await?;
        let bytes = match &self.0.key {
            None => bytes,
            Some(key) => key.seal(path, &bytes).map_err(of_file(path))?,
        };
        self.write_bare(path, bytes, create).await
    }

    async fn write_bare(&self, path: &str, bytes: Vec<u8>, create: bool) -> Result<bool> {
        match &self.0.place {
            Place::Remote(remote) => self.within("write", path, remote.write(path, bytes, create)).await,
            Place::Folder(folder) => {
                let (folder, to) = (folder.clone(), path.to_string());
                self.aside("write", path, move || folder.write(&to, &bytes, create)).await
            }
        }
    }

    /// The content of an object, if there is one.
    pub async fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        good(path)?;
        self.known(false).await?;
        let Some(bytes) = self.read_bare(path).await? else { return Ok(None) };
        match &self.0.key {
            Some(key) => key.open(path, &bytes).map(Some).map_err(of_file(path)),
            None if sealed_with(&bytes).is_some() => Err(self.refused("it is encrypted, and no key was given", NO_KEY)),
            None => Ok(Some(bytes)),
        }
    }

    async fn read_bare(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match &self.0.place {
            Place::Remote(remote) => self.within("read", path, remote.read(path)).await,
            Place::Folder(folder) => {
                let (folder, from) = (folder.clone(), path.to_string());
                self.aside("read", path, move || folder.read(&from)).await
            }
        }
    }

    /// All objects below the folder `prefix`, or all there are, sorted by path.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        if !prefix.is_empty() {
            good(prefix)?;
        }
        self.known(false).await?;
        self.still_there().await?;
        let mut found = match &self.0.place {
            Place::Remote(remote) => self.within("list", prefix, remote.list(prefix)).await?,
            Place::Folder(folder) => {
                let (folder, below) = (folder.clone(), prefix.to_string());
                self.aside("list", prefix, move || folder.list(&below)).await?
            }
        };
        found.retain(|stored| stored.path != ABOUT);
        if self.0.key.is_some() {
            found.iter_mut().for_each(|stored| stored.size = stored.size.saturating_sub(OVERHEAD));
        }
        found.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(found)
    }

    /// Removes an object, if it is there.
    pub async fn delete(&self, path: &str) -> Result<()> {
        good(path)?;
        self.known(false).await?;
        match &self.0.place {
            Place::Remote(remote) => self.within("remove", path, remote.delete(path)).await,
            Place::Folder(folder) => {
                let (folder, at) = (folder.clone(), path.to_string());
                self.aside("remove", path, move || folder.delete(&at)).await
            }
        }
    }

    /// Removes what crashes have left half written. Object stores do so by a rule of their own.
    pub async fn sweep(&self) -> Result<()> {
        match &self.0.place {
            Place::Remote(_) => Ok(()),
            Place::Folder(folder) => {
                let folder = folder.clone();
                self.aside("clean up", "", move || folder.sweep()).await
            }
        }
    }

    /// Compares the key with what the store says of itself; says so where it is written for the first time.
    async fn known(&self, writing: bool) -> Result<()> {
        if self.0.checked.initialized() {
            return Ok(());
        }
        let mine = About { key: self.0.key.as_ref().map(Key::id) };
        let mut found = self.read_bare(ABOUT).await?;
        if found.is_none() && writing {
            let bytes = wrap(FORMAT, &mine)?;
            if let Place::Folder(folder) = &self.0.place {
                let folder = folder.clone();
                self.aside("begin", ABOUT, move || folder.begin()).await?;
            }
            found = match self.write_bare(ABOUT, bytes.clone(), true).await? {
                true => Some(bytes),
                false => self.read_bare(ABOUT).await?,
            };
        }
        let Some(found) = found else { return Ok(()) };
        let theirs: About = unwrap("state store", &found, 1..=FORMAT).map_err(of_file(&format!("{self}/{ABOUT}")))?;
        match (theirs.key, mine.key) {
            (Some(theirs), Some(mine)) if theirs != mine => Err(self.refused(
                &format!("it is encrypted with the key {theirs}, and the key given is {mine}"),
                "name the file of that key",
            )),
            (Some(_), None) => Err(self.refused("it is encrypted, and no key was given", NO_KEY)),
            (None, Some(_)) => Err(self.refused(
                "it was begun without encryption, and a key was given",
                "take the key away, or choose an empty place",
            )),
            _ => {
                // Another task may have been faster, and found the same.
                let _ = self.0.checked.set(());
                Ok(())
            }
        }
    }

    /// Where a folder was mounted and is not any more, another one is seen: nothing is to be written there, and what it
    /// lacks is not missing.
    async fn still_there(&self) -> Result<()> {
        let Place::Folder(Folder(folder)) = &self.0.place else { return Ok(()) };
        if !self.0.checked.initialized() {
            return Ok(());
        }
        let about = folder.join(ABOUT);
        self.aside("find", ABOUT, move || std::fs::metadata(about).map(drop)).await
    }

    fn refused(&self, why: &str, remedy: &str) -> Error {
        Error::Unsafe(format!("state store {self}: {why}: {remedy}"))
    }

    async fn within<T>(
        &self,
        what: &str,
        path: &str,
        work: impl Future<Output = Result<T, object_store::Error>>,
    ) -> Result<T> {
        match tokio::time::timeout(TIMEOUT, work).await {
            Ok(result) => result
                .map_err(|error| Error::connect(format!("state store {self}: cannot {what} {}: {error}", named(path)))),
            Err(_) => Err(self.late(what, path)),
        }
    }

    /// Files are read and written beside the tasks. One that is given up goes on and ends by itself.
    async fn aside<T: Send + 'static>(
        &self,
        what: &str,
        path: &str,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let done = tokio::time::timeout(TIMEOUT, spawn_blocking(work)).await.map_err(|_| self.late(what, path))?;
        let done = done.map_err(|error| Error::run(format!("state store {self}: {error}")))?;
        done.map_err(|error| {
            let remedy = remedy(error.kind());
            Error::connect(format!("state store {self}: cannot {what} {}: {error}{remedy}", named(path)))
        })
    }

    fn late(&self, what: &str, path: &str) -> Error {
        Error::TimedOut(format!("state store {self}: cannot {what} {} within {TIMEOUT:?}", named(path)))
    }
}

/// What the store says of itself is not for others to change.
fn writable(path: &str) -> Result<()> {
    match path {
        ABOUT => Err(Error::Usage(format!("{ABOUT} says how a state store is written: no object has that name"))),
        path => good(path),
    }
}

const NO_KEY: &str = "set `encryption_key_file` in tapeflow.toml, or TAPEFLOW_ENCRYPTION_KEY_FILE";

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({}, sealed: {})", self.0.name, self.0.key.is_some())
    }
}
