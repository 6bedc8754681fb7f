//! Old checkpoints go; what a kept one names stays.

use std::collections::BTreeSet;

use super::Checkpoints;
use super::manifest::Manifest;
use crate::error::Result;

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The numbers of the checkpoints.
    pub checkpoints: Vec<u64>,
    /// How many files of state.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Checkpoints {
    /// Keeps the newest `keep` checkpoints (at least one), all savepoints, every file that one of them names, and
    /// what belongs to a checkpoint in the making: what has a greater number than the newest. Of the journal stays what
    /// the kept checkpoints do not hold; savepoints aside, for which it would grow without end.
    pub async fn prune(&self, keep: usize) -> Result<Pruned> {
        self.prune_unless(keep, |manifest| manifest.savepoint).await
    }

    /// The same, but savepoints are as good as others.
    pub async fn prune_with_savepoints(&self, keep: usize) -> Result<Pruned> {
        self.prune_unless(keep, |_| false).await
    }

    async fn prune_unless(&self, keep: usize, spared: fn(&Manifest) -> bool) -> Result<Pruned> {
        let listing = self.listing().await?;
        let manifests = self.read_manifests(&listing).await?;
        let whole: Vec<&Manifest> = manifests.iter().filter_map(|(_, read)| read.as_ref().ok()).collect();
        let Some(newest) = whole.first().map(|manifest| manifest.number) else { return Ok(Pruned::default()) };
        let counting = manifests.iter().filter(|(at, _)| listing.counts(at)).filter_map(|(_, read)| read.as_ref().ok());
        let last: Vec<&Manifest> = counting.filter(|manifest| !spared(manifest)).take(keep.max(1)).collect();
        let oldest = last.last().map(|manifest| manifest.number);
        let saved = whole.iter().filter(|manifest| spared(manifest)).copied();
        let kept: Vec<&Manifest> = last.into_iter().chain(saved).collect();
        let names: BTreeSet<&str> = kept.iter().flat_map(|kept| kept.files()).map(|file| file.path.as_str()).collect();

        let mut pruned = Pruned::default();
        // Manifests go before the files they name, so that no crash leaves one that names what is gone.
        let mut damaged = BTreeSet::new();
        for (at, read) in &manifests {
            match read {
                Ok(manifest) if kept.iter().any(|kept| std::ptr::eq(*kept, manifest)) => continue,
                // One that is damaged may still be of use to who wants to know why.
                Err(_) if oldest.is_none_or(|oldest| at.number >= oldest) => {
                    damaged.insert(at.number);
                    continue;
                }
                _ => pruned.checkpoints.push(at.number),
            }
            self.store.delete(&at.path).await?;
        }
        let listed: BTreeSet<&str> = listing.listed().map(|at| at.path.as_str()).collect();
        for at in listing.manifests.iter().filter(|at| !listed.contains(at.path.as_str())) {
            self.store.delete(&at.path).await?;
        }
        for state in &listing.states {
            let of_no_use = state.number <= newest && !damaged.contains(&state.number);
            if of_no_use && !names.contains(state.file.path.as_str()) {
                self.store.delete(&state.file.path).await?;
                pruned.files += 1;
                pruned.bytes += state.file.size;
            }
        }
        if let Some(boundary) = kept.iter().filter(|kept| !kept.savepoint).map(|kept| kept.boundary).min() {
            self.prune_journal(boundary).await?;
        }
        // The newest record says all.
        for resume in listing.resumes.iter().skip(1) {
            self.store.delete(&resume.path).await?;
        }
        Ok(pruned)
    }
}
