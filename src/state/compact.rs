//! How long chains of files may become, for one that grows for ever would make a resume read what has long been
//! overwritten; and a chain folded into one file.

use futures::{StreamExt, TryStreamExt};

use super::Checkpoints;
use super::checkpoints::AT_ONCE;
use super::envelope::of_file;
use super::format::{Plain, Section, assemble, read_header};
use super::manifest::{FileRef, NodeState};
use super::snapshot::Snapshot;
use crate::error::Result;

/// How long a chain may become.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// In files for each worker that writes.
    pub files: usize,
    /// What was written since the oldest files, in bytes for each byte of theirs.
    pub growth: f64,
    /// Chains of fewer bytes only count files.
    pub small: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { files: 16, growth: 1.0, small: 1 << 20 }
    }
}

impl Bounds {
    /// Whether a chain that was written by `workers` is too long.
    pub fn are_passed(&self, state: &NodeState, workers: usize) -> bool {
        let files = &state.files;
        let Some(first) = files.first() else { return false };
        let bytes = |files: &mut dyn Iterator<Item = &FileRef>| files.map(|file| file.size).sum::<u64>();
        let base = bytes(&mut files.iter().filter(|file| folder(file) == folder(first)));
        let all = bytes(&mut files.iter());
        let outgrown = all > self.small && (all - base) as f64 > base as f64 * self.growth;
        files.len() > 1 && (files.len() > self.files.saturating_mul(workers.max(1)) || outgrown)
    }
}

/// Files of one checkpoint lie in one folder.
fn folder(file: &FileRef) -> &str {
    file.path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

impl Checkpoints {
    /// One file that says what a chain says. Of the unpacked state there is only one group at a time in memory.
    pub(super) async fn fold(&self, number: u64, name: &str, state: &NodeState) -> Result<FileRef> {
        let read = state.files.iter().cloned().map(|file| async move {
            let bytes = self.read_file(&file).await?;
            Ok::<_, crate::Error>((file.path, bytes))
        });
        let files: Vec<(String, Vec<u8>)> = futures::stream::iter(read).buffered(AT_ONCE).try_collect().await?;
        self.write_file(number, name, fold(&files, &state.kind)?).await
    }
}

fn fold(files: &[(String, Vec<u8>)], kind: &str) -> Result<Vec<u8>> {
    let mut groups = std::collections::BTreeSet::new();
    let mut version = 0;
    for (path, bytes) in files {
        let header = read_header(bytes).map_err(of_file(path))?;
        version = header.version;
        groups.extend(header.sections.iter().map(|section| section.group));
    }
    let mut sections = Vec::new();
    for group in groups {
        let chain = files
            .iter()
            .map(|(path, bytes)| Snapshot::decode_groups(bytes, |other| other == group).map_err(of_file(path)));
        let merged = Snapshot::merge(chain.collect::<Result<Vec<_>>>()?)?;
        let entries = merged.groups.get(&group).map_or(&[][..], Vec::as_slice);
        sections.push(Section::pack(group, Plain::of(entries)));
    }
    Ok(assemble(kind, version, true, &sections))
}
