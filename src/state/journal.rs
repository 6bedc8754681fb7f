//! The journal of a job: what the world decided (an idle time-out), written
//! down with the epoch in which it takes effect before it does, so that a replay decides the same.
//!
//! An object store cannot append, so each decision is an object of its own, `GENERATION.POSITION.EPOCH.json`. A
//! generation that opens the journal writes down how many it saw of each one before it; what a stalled process of
//! an older generation still adds after that does not count.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tokio::sync::Mutex;

use super::checkpoints::AT_ONCE;
use super::envelope::{of_file, unwrap, wrap};
use super::{Checkpoints, Store};
use crate::error::{Error, Result};

const FORMAT: u32 = 1;
/// The kind of decision by which idle partitions are given up to an event time.
pub const IDLE: &str = "idle";

/// Something that the world decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The epoch in which it takes effect.
    pub epoch: u64,
    /// What kind of decision it is: [`IDLE`].
    pub kind: String,
    /// What was decided.
    pub value: Json,
}

/// The journal of a job, opened by a generation. Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    store: Store,
    root: String,
    generation: u64,
    /// How many decisions count, by the generations before this one.
    seen: Arc<BTreeMap<u64, u64>>,
    /// The position of the next one. Held while one is written, so that they are durable in their order.
    next: Arc<Mutex<u64>>,
}

/// A decision by its name.
struct At {
    generation: u64,
    position: u64,
    epoch: u64,
    path: String,
}

impl Journal {
    /// Opens the journal for the only writer of a generation.
    pub async fn open(store: &Store, job: &str, id: &str, generation: u64) -> Result<Journal> {
        let root = format!("jobs/{job}/{id}/journal");
        let opened = format!("{root}/opened.{generation:010}.json");
        let list = store.list(&root).await?;
        let all: Vec<At> = list.iter().filter_map(|stored| At::of(&root, &stored.path)).collect();
        let seen = match store.get(&opened).await? {
            // Opened before, by this generation: what it saw then counts.
            Some(bytes) => read_seen(&opened, &bytes)?,
            None => {
                let last = last_opened(&root, list.iter().map(|stored| stored.path.as_str()), generation);
                let (closed, before) = match &last {
                    None => (0, BTreeMap::new()),
                    Some((number, path)) => {
                        let gone = || Error::run(format!("state store {store}: {path} is gone"));
                        (*number, read_seen(path, &store.get(path).await?.ok_or_else(gone)?)?)
                    }
                };
                // Of the generations before the one that opened it last, what that one saw; of the others all.
                let counts = |at: &&At| match at.generation < closed {
                    true => before.get(&at.generation).is_some_and(|seen| at.position < *seen),
                    false => at.generation < generation,
                };
                let mut seen = BTreeMap::new();
                for at in all.iter().filter(counts) {
                    let count: &mut u64 = seen.entry(at.generation).or_default();
                    *count = (*count).max(at.position + 1);
                }
                store.put(&opened, wrap(FORMAT, &seen)?).await?;
                if let Some((_, path)) = last {
                    store.delete(&path).await?;
                }
                seen
            }
        };
        let own = all.iter().filter(|at| at.generation == generation).map(|at| at.position + 1).max();
        let next = Arc::new(Mutex::new(own.unwrap_or(0)));
        Ok(Journal { store: store.clone(), root, generation, seen: Arc::new(seen), next })
    }

    /// Writes a decision down. When this returns it is durable, and may take effect.
    pub async fn append(&self, decision: &Decision) -> Result<()> {
        let mut next = self.next.lock().await;
        let (generation, epoch) = (self.generation, decision.epoch);
        let path = format!("{}/{generation:010}.{:010}.{epoch:020}.json", self.root, *next);
        self.store.put(&path, wrap(FORMAT, decision)?).await?;
        *next += 1;
        Ok(())
    }

    /// The decisions that take effect in `epoch` or later: in the order of their epochs, and within one in the order
    /// in which they were made.
    pub async fn read(&self, epoch: u64) -> Result<Vec<Decision>> {
        let list = self.store.list(&self.root).await?;
        let all = list.iter().filter_map(|stored| At::of(&self.root, &stored.path));
        let mut all: Vec<At> = all.filter(|at| at.epoch >= epoch && self.counts(at)).collect();
        all.sort_by_key(|at| (at.epoch, at.generation, at.position));
        let read = all.into_iter().map(|at| async move {
            let damaged = |what: &str| Error::Unsafe(format!("{}/{}: {what}", self.store, at.path));
            let bytes = self.store.get(&at.path).await?.ok_or_else(|| damaged("it is gone"))?;
            unwrap::<Decision>("journal", &bytes, 1..=FORMAT).map_err(|error| match error {
                Error::Run(what) => damaged(&format!("{what}; what it decided is lost, and a replay would differ")),
                other => of_file(&at.path)(other),
            })
        });
        futures::stream::iter(read).buffered(AT_ONCE).try_collect().await
    }

    fn counts(&self, at: &At) -> bool {
        at.generation == self.generation || self.seen.get(&at.generation).is_some_and(|seen| at.position < *seen)
    }
}

impl At {
    fn of(root: &str, path: &str) -> Option<At> {
        let name = path.strip_prefix(root)?.strip_prefix('/')?.strip_suffix(".json")?;
        let mut parts = name.split('.').map(|part| part.parse().ok());
        let (generation, position, epoch) = (parts.next()??, parts.next()??, parts.next()??);
        Some(At { generation, position, epoch, path: path.to_string() })
    }
}

impl Checkpoints {
    /// The journal of this job, opened for `generation`.
    pub async fn journal(&self, generation: u64) -> Result<Journal> {
        Journal::open(&self.store, &self.job, &self.id, generation).await
    }

    /// Removes the decisions of epochs before `epoch`: once no kept checkpoint begins before it.
    pub(super) async fn prune_journal(&self, epoch: u64) -> Result<()> {
        let root = format!("{}/journal", self.root);
        let list = self.store.list(&root).await?;
        for at in list.iter().filter_map(|stored| At::of(&root, &stored.path)).filter(|at| at.epoch < epoch) {
            self.store.delete(&at.path).await?;
        }
        Ok(())
    }
}

/// The last opening before that of `generation`.
fn last_opened<'a>(root: &str, paths: impl Iterator<Item = &'a str>, generation: u64) -> Option<(u64, String)> {
    let opened = paths.filter_map(|path| {
        let name = path.strip_prefix(root)?.strip_prefix("/opened.")?.strip_suffix(".json")?;
        Some((name.parse::<u64>().ok()?, path))
    });
    let last = opened.filter(|(number, _)| *number < generation).max();
    last.map(|(number, path)| (number, path.to_string()))
}

fn read_seen(path: &str, bytes: &[u8]) -> Result<BTreeMap<u64, u64>> {
    unwrap("journal", bytes, 1..=FORMAT).map_err(of_file(path))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decision(epoch: u64, value: &str) -> Decision {
        Decision { epoch, kind: "idle".to_string(), value: json!(value) }
    }

    async fn open(store: &Store, generation: u64) -> Journal {
        Journal::open(store, "a", "1", generation).await.expect("opened")
    }

    async fn values(journal: &Journal, epoch: u64) -> Vec<String> {
        let read = journal.read(epoch).await.expect("read");
        read.into_iter().map(|decision| decision.value.as_str().unwrap_or_default().to_string()).collect()
    }

    #[tokio::test]
    async fn decisions_come_back_from_an_epoch_on() {
        let store = Store::in_memory().expect("a store");
        let first = open(&store, 1).await;
        for (epoch, value) in [(10, "a"), (20, "b"), (20, "c"), (15, "d")] {
            first.append(&decision(epoch, value)).await.expect("written");
        }
        assert_eq!(values(&first, 0).await, ["a", "d", "b", "c"]);
        let second = open(&store, 2).await;
        second.append(&decision(30, "e")).await.expect("written");
        assert_eq!(values(&second, 15).await, ["d", "b", "c", "e"]);
        Checkpoints::new(store.clone(), "a", "1").prune_journal(20).await.expect("pruned");
        assert_eq!(values(&open(&store, 3).await, 0).await, ["b", "c", "e"]);
    }

    #[tokio::test]
    async fn what_a_stalled_generation_adds_later_does_not_count() {
        let store = Store::in_memory().expect("a store");
        let (stalled, silent) = (open(&store, 1).await, open(&store, 2).await);
        assert!(values(&silent, 0).await.is_empty());
        let third = open(&store, 3).await;
        third.append(&decision(12, "third")).await.expect("written");
        stalled.append(&decision(10, "late")).await.expect("written");
        silent.append(&decision(11, "late too")).await.expect("written");
        for journal in [&third, &open(&store, 3).await, &open(&store, 4).await, &open(&store, 9).await] {
            assert_eq!(values(journal, 0).await, ["third"]);
        }
    }

    #[tokio::test]
    async fn a_generation_that_opens_twice_goes_on_after_its_last() {
        let store = Store::in_memory().expect("a store");
        open(&store, 1).await.append(&decision(1, "a")).await.expect("written");
        let again = open(&store, 1).await;
        again.append(&decision(1, "b")).await.expect("written");
        assert_eq!(values(&again, 0).await, ["a", "b"]);
    }

    #[tokio::test]
    async fn a_damaged_decision_is_not_passed_over() {
        let store = Store::in_memory().expect("a store");
        let journal = open(&store, 1).await;
        journal.append(&decision(1, "a")).await.expect("written");
        let path = "jobs/a/1/journal/0000000001.0000000000.00000000000000000001.json";
        store.put(path, b"{".to_vec()).await.expect("damaged");
        let error = journal.read(0).await.expect_err("damaged");
        assert!(error.to_string().contains(path), "{error}");
    }
}
