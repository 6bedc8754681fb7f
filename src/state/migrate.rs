//! Checkpoints rewritten in the newest format.

use super::Checkpoints;
use super::envelope::of_file;
use super::format::{VERSION, read_header};
use super::listing::ManifestAt;
use super::manifest::{FORMAT, Manifest};
use crate::error::Result;

/// What was rewritten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// The numbers of the checkpoints that were rewritten.
    pub rewritten: Vec<u64>,
    /// The numbers of those that were of the newest format already.
    pub left: Vec<u64>,
    /// What is wrong with those that are damaged, a line each: they stay as they are.
    pub damaged: Vec<String>,
}

impl Checkpoints {
    /// Rewrites the checkpoints that count and are of an older format, or all if `every`: each node's chain as one
    /// file, then the manifest, in its place. Not while the job runs. The old files go with [`Checkpoints::prune`].
    pub async fn migrate(&self, every: bool) -> Result<Migrated> {
        let mut migrated = Migrated::default();
        for (at, read) in self.read_manifests(&self.listing().await?).await? {
            let manifest = match read {
                Ok(manifest) => manifest,
                Err(wrong) => {
                    migrated.damaged.push(wrong);
                    continue;
                }
            };
            let wrong = self.verify(&manifest).await?;
            if !wrong.is_empty() {
                migrated.damaged.extend(wrong);
            } else if every || self.is_old(&manifest).await? {
                self.rewrite(&at, manifest).await?;
                migrated.rewritten.push(at.number);
            } else {
                migrated.left.push(at.number);
            }
        }
        Ok(migrated)
    }

    async fn is_old(&self, manifest: &Manifest) -> Result<bool> {
        for file in manifest.files() {
            let bytes = self.read_file(file).await?;
            if read_header(&bytes).map_err(of_file(&file.path))?.format < VERSION {
                return Ok(true);
            }
        }
        Ok(manifest.format < FORMAT)
    }

    async fn rewrite(&self, at: &ManifestAt, mut manifest: Manifest) -> Result<()> {
        manifest.format = FORMAT;
        for (node, state) in manifest.nodes.iter_mut().filter(|(_, state)| !state.files.is_empty()) {
            // A name of its own each time: what the manifest names now must stay whole until it names another.
            let name = format!("{node}.migrated-{}.{}.state", uuid::Uuid::new_v4().simple(), at.generation);
            state.files = vec![self.fold(at.number, &name, state).await?];
        }
        self.store.put(&at.path, manifest.encode()?).await
    }
}
