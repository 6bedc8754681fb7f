//! State that outlives a process: stores, checkpoints, what crashes and damage leave of them.

mod checkpoints;
mod command;
mod crashes;
mod damage;
mod fixtures;
mod stores;

use std::collections::BTreeMap;
use std::time::Duration;

use tapeflow::state::{Checkpoints, Entry, FORMAT, FileRef, Manifest, NodeState, Snapshot};

/// Nothing here takes longer, also where the machine is busy.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs a future to its end.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(TIMEOUT, future).await }).expect("in time")
}

/// A snapshot: groups of keys with values; an empty value stands for a key that is gone.
fn snapshot(full: bool, groups: &[(u8, &[(&str, &str)])]) -> Snapshot {
    let entry = |(key, value): &(&str, &str)| Entry {
        key: key.as_bytes().to_vec(),
        value: Some(value.as_bytes().to_vec()).filter(|value| !value.is_empty()),
    };
    let groups = groups.iter().map(|(group, entries)| (*group, entries.iter().map(entry).collect()));
    Snapshot { kind: "indicators".to_string(), version: 1, full, groups: groups.collect() }
}

/// What a full snapshot says, as text.
fn shown(snapshot: &Snapshot) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = snapshot.groups.iter().flat_map(|(group, entries)| entries.iter().map(move |entry| (group, entry)));
    all.map(|(group, entry)| {
        (format!("{group}/{}", text(&entry.key)), text(entry.value.as_deref().expect("no tombstones")))
    })
    .collect()
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// The manifest of a checkpoint with one node.
fn manifest(checkpoints: &Checkpoints, number: u64, generation: u64, files: Vec<FileRef>) -> Manifest {
    let node = NodeState { kind: "indicators".to_string(), version: 1, files };
    Manifest {
        format: FORMAT,
        job: checkpoints.job().to_string(),
        id: checkpoints.id().to_string(),
        number,
        generation,
        boundary: number * 100,
        written: "2026-01-01T00:00:00Z".to_string(),
        workers: 1,
        hash: "abc".to_string(),
        nodes: BTreeMap::from([("means".to_string(), node)]),
        savepoint: false,
        ..Manifest::default()
    }
}

/// Makes a checkpoint that goes on from `before`.
async fn make(
    checkpoints: &Checkpoints,
    number: u64,
    generation: u64,
    before: &[FileRef],
    snapshot: &Snapshot,
) -> tapeflow::Result<Manifest> {
    let file = checkpoints.write_state(number, generation, "means", 0, snapshot).await?;
    let files = before.iter().cloned().chain([file]).collect();
    let manifest = manifest(checkpoints, number, generation, files);
    checkpoints.commit(&manifest).await?;
    Ok(manifest)
}

/// The files of its node.
fn files(manifest: &Manifest) -> &[FileRef] {
    &manifest.nodes["means"].files
}
