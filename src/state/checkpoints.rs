//! The checkpoints of one job: written, listed, loaded.

use std::collections::BTreeSet;
use std::fmt;

use futures::{StreamExt, TryStreamExt};
use xxhash_rust::xxh3::xxh3_64;

use super::envelope::{of_file, unwrap, wrap};
use super::listing::{Listing, ManifestAt, ResumeAt};
use super::manifest::{FORMAT, FileRef, Manifest, NodeState};
use super::{Generation, Snapshot, Store};
use crate::error::{Error, Result};

/// Files that are read at once.
pub(super) const AT_ONCE: usize = 8;

/// The checkpoints of one job in a store. Cheap to clone.
#[derive(Clone)]
pub struct Checkpoints {
    pub(super) store: Store,
    pub(super) job: String,
    pub(super) id: String,
    /// Their folder.
    pub(super) root: String,
}

impl Checkpoints {
    /// Those of the job with this name and id.
    pub fn new(store: Store, job: &str, id: &str) -> Checkpoints {
        Checkpoints { store, job: job.to_string(), id: id.to_string(), root: format!("jobs/{job}/{id}") }
    }

    /// All jobs that have checkpoints in a store.
    pub async fn all(store: &Store) -> Result<Vec<Checkpoints>> {
        let mut found: Vec<Checkpoints> = Vec::new();
        for stored in store.list("jobs").await? {
            let mut parts = stored.path.split('/').skip(1);
            let (Some(job), Some(id), Some(_)) = (parts.next(), parts.next(), parts.next()) else { continue };
            if found.last().is_none_or(|last| (last.job.as_str(), last.id.as_str()) != (job, id)) {
                found.push(Checkpoints::new(store.clone(), job, id));
            }
        }
        Ok(found)
    }

    /// The greatest number of a checkpoint, also of one that was only begun, of all jobs of this name; 0 if there is none.
    /// Who counts on from it gives no number twice.
    pub async fn greatest_number(store: &Store, job: &str) -> Result<u64> {
        let stored = store.list(&format!("jobs/{job}")).await?;
        let numbers = stored.iter().filter_map(|stored| stored.path.split('/').nth(3)?.parse().ok());
        Ok(numbers.max().unwrap_or(0))
    }

    /// The name of the job.
    pub fn job(&self) -> &str {
        &self.job
    }

    /// The id of the job.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Writes the state of a node on a worker, in the format of [`Draft`](super::Draft), for the checkpoint `number`. When this returns it is durable, but
    /// it counts only once a manifest names it.
    pub async fn write_state(
        &self,
        number: u64,
        generation: u64,
        node: &str,
        worker: usize,
        bytes: Vec<u8>,
    ) -> Result<FileRef> {
        let name = format!("{node}.{worker}.{generation}.state");
        self.write_file(number, &name, bytes).await
    }

    pub(super) async fn write_file(&self, number: u64, name: &str, bytes: Vec<u8>) -> Result<FileRef> {
        let path = format!("{}/{number:010}/{name}", self.root);
        let file = FileRef { path, size: bytes.len() as u64, xxh3: xxh3_64(&bytes) };
        self.store.put(&file.path, bytes).await?;
        Ok(file)
    }

    /// Makes a checkpoint of what was written: last. Refused if another generation has taken over, if a file it
    /// names is not there, or if the number is taken.
    pub async fn commit(&self, manifest: &Manifest) -> Result<()> {
        let Manifest { number, generation, .. } = manifest;
        if (&manifest.job, &manifest.id, manifest.format) != (&self.job, &self.id, FORMAT) {
            return Err(Error::run(format!("checkpoint {number}: its manifest is not one of {self}")));
        }
        let newest = Generation::latest(&self.store).await?.map_or(0, |newest| newest.number);
        if newest > *generation {
            return Err(Error::Unsafe(format!(
                "checkpoint {number} of {self} is not written: generation {newest} has taken over from {generation}"
            )));
        }
        self.all_there(manifest).await?;
        let path = format!("{}/{number:010}/manifest.{generation:010}.json", self.root);
        let bytes = manifest.encode()?;
        // After a time-out nobody knows whether it was written: a second attempt may find what it wants to write.
        if self.store.create(&path, bytes.clone()).await? || self.store.get(&path).await? == Some(bytes) {
            return Ok(());
        }
        Err(Error::run(format!("checkpoint {number} of {self} is there already: {path}")))
    }

    async fn all_there(&self, manifest: &Manifest) -> Result<()> {
        let there = self.store.list(&self.root).await?;
        let is_there = |file: &FileRef| {
            let at = there.binary_search_by(|stored| stored.path.as_str().cmp(&file.path));
            at.is_ok_and(|at| there[at].size == file.size)
        };
        match manifest.files().find(|file| !is_there(file)) {
            None => Ok(()),
            Some(missing) => Err(Error::run(format!(
                "checkpoint {} of {self} is not written: {} is missing or has another size",
                manifest.number, missing.path
            ))),
        }
    }

    /// Writes down that a generation goes on from a checkpoint, or without one, before it does. From then on what
    /// older generations have written, or still write, beside what is found now and up to that checkpoint does not
    /// count, except that savepoints stay.
    pub async fn resume_from(&self, generation: u64, checkpoint: Option<u64>) -> Result<()> {
        let listing = self.listing().await?;
        let all = self.read_manifests(&listing).await?.into_iter();
        let savepoints = all.filter(|(_, read)| read.as_ref().is_ok_and(|manifest| manifest.savepoint));
        let savepoints: BTreeSet<(u64, u64)> = savepoints.map(|(at, _)| (at.number, at.generation)).collect();
        let record = listing.record_of(generation, checkpoint, &savepoints);
        let path = format!("{}/resumes/{generation:010}.json", self.root);
        self.store.put(&path, wrap(FORMAT, &record)?).await
    }

    /// The checkpoints whose manifests are whole and count, and the savepoints, newest first. Their files are not looked
    /// at.
    pub async fn list(&self) -> Result<Vec<Manifest>> {
        Ok(self.scan().await?.0)
    }

    /// Likewise, and what is wrong with those whose manifests are damaged, a line each.
    pub async fn scan(&self) -> Result<(Vec<Manifest>, Vec<String>)> {
        let (mut whole, mut damaged) = (Vec::new(), Vec::new());
        for (_, read) in self.read_manifests(&self.listing().await?).await? {
            match read {
                Ok(manifest) => whole.push(manifest),
                Err(wrong) => damaged.push(wrong),
            }
        }
        Ok((whole, damaged))
    }

    pub(super) async fn listing(&self) -> Result<Listing> {
        let mut listing = Listing::of(&self.root, self.store.list(&self.root).await?);
        if let Some(ResumeAt { path, .. }) = listing.resumes.first() {
            let unknown = |error| match error {
                Error::Run(what) => Error::Unsafe(format!("{path}: {what}; which checkpoints count is not known")),
                other => of_file(path)(other),
            };
            let bytes = self.store.get(path).await?.ok_or_else(|| unknown(Error::run("it is gone")))?;
            listing.record = Some(unwrap("record", &bytes, 1..=FORMAT).map_err(unknown)?);
        }
        Ok(listing)
    }

    /// The manifests that count and the savepoints, newest first; of those that are damaged, what is wrong with them.
    pub(super) async fn read_manifests(
        &self,
        listing: &Listing,
    ) -> Result<Vec<(ManifestAt, Result<Manifest, String>)>> {
        let all: Vec<ManifestAt> = listing.listed().cloned().collect();
        let read = futures::stream::iter(all).map(|at| async move {
            let read = damage(self.read_manifest(&at).await)?;
            Ok::<_, Error>((at, read))
        });
        read.buffered(AT_ONCE).try_collect().await
    }

    pub(super) async fn read_manifest(&self, at: &ManifestAt) -> Result<Manifest> {
        let bytes = self.store.get(&at.path).await?;
        let bytes = bytes.ok_or_else(|| Error::run(format!("{}: it is gone", at.path)))?;
        let manifest = Manifest::decode(&bytes).map_err(of_file(&at.path))?;
        let Manifest { job, id, number, generation, .. } = &manifest;
        if (job, id, *number, *generation) != (&self.job, &self.id, at.number, at.generation) {
            return Err(Error::run(format!("{}: it belongs to checkpoint {number} of {job}/{id}", at.path)));
        }
        Ok(manifest)
    }

    /// The state of a node, of the groups of keys that are wanted; nothing if the checkpoint has none for it.
    pub async fn load(&self, manifest: &Manifest, node: &str, wanted: impl Fn(u8) -> bool) -> Result<Option<Snapshot>> {
        let Some(NodeState { files, .. }) = manifest.nodes.get(node).filter(|state| !state.files.is_empty()) else {
            return Ok(None);
        };
        let wanted: Vec<bool> = (0..=u8::MAX).map(wanted).collect();
        let wanted = &wanted;
        // Owned, for a stream of borrowing closures is not `Send`.
        let read = files.clone().into_iter().map(|file| async move {
            let bytes = self.read_file(&file).await?;
            Snapshot::decode_groups(&bytes, |group| wanted[usize::from(group)]).map_err(of_file(&file.path))
        });
        let chain: Vec<Snapshot> = futures::stream::iter(read).buffered(AT_ONCE).try_collect().await?;
        let of_node = format!("checkpoint {} of {self}: `{node}`", manifest.number);
        Snapshot::merge(chain).map(Some).map_err(of_file(&of_node))
    }

    /// The bytes of a file, if they are those that were written.
    pub(super) async fn read_file(&self, file: &FileRef) -> Result<Vec<u8>> {
        let wrong = |what: &str| Error::run(format!("{}: {what}", file.path));
        let bytes = self.store.get(&file.path).await?.ok_or_else(|| wrong("it is missing"))?;
        if bytes.len() as u64 != file.size {
            let (has, had) = (bytes.len(), file.size);
            return Err(wrong(&format!("it has {has} bytes, and had {had} when the checkpoint was made")));
        }
        if xxh3_64(&bytes) != file.xxh3 {
            return Err(wrong("it is damaged: its checksum is not the one in the manifest"));
        }
        Ok(bytes)
    }

    /// Removes all there is of this job's id, savepoints too.
    pub async fn remove_all(&self) -> Result<()> {
        let mut all = self.store.list(&self.root).await?;
        // Manifests first: none shall ever name what is gone.
        all.sort_by_key(|stored| !stored.path.contains("/manifest."));
        for stored in all {
            self.store.delete(&stored.path).await?;
        }
        Ok(())
    }
}

/// Tells damage, which one can pass over, from all else, which one cannot: a store that does not answer, state of a
/// newer release, a key that is missing.
pub(super) fn damage<T>(result: Result<T>) -> Result<Result<T, String>> {
    match result {
        Ok(good) => Ok(Ok(good)),
        Err(Error::Run(message)) => Ok(Err(message)),
        Err(other) => Err(other),
    }
}

impl fmt::Display for Checkpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job `{}` ({})", self.job, self.id)
    }
}
