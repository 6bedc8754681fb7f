//! Generations of the cluster: which of them may write.

use chrono::{SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::Store;
use super::envelope::{of_file, unwrap, wrap};
use crate::error::{Error, Result};

const FORMAT: u32 = 1;
const FOLDER: &str = "generations";
/// Somebody else may take a number at the same moment, but not for ever.
const ATTEMPTS: usize = 100;

/// One incarnation of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number; they rise.
    pub number: u64,
    /// Who took it.
    pub taken_by: String,
    /// When (RFC 3339).
    pub taken: String,
    /// How many workers it has.
    pub workers: usize,
    /// The most workers that it or any before it had: what any of them may have left open is told by this.
    pub most_workers: usize,
}

impl Generation {
    /// Takes the next number. Of several who try, each gets one of its own; the highest is the one that counts.
    pub async fn take(store: &Store, who: &str, workers: usize) -> Result<Generation> {
        for _ in 0..ATTEMPTS {
            let last = Generation::latest(store).await?;
            let generation = Generation {
                number: last.as_ref().map_or(0, |last| last.number) + 1,
                taken_by: who.to_string(),
                taken: Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
                workers,
                most_workers: last.map_or(0, |last| last.most_workers).max(workers),
            };
            if store.create(&path(generation.number), wrap(FORMAT, &generation)?).await? {
                return Ok(generation);
            }
        }
        Err(Error::TimedOut(format!(
            "state store {store}: after {ATTEMPTS} attempts others still take every generation first; is another \
             cluster using the same place?"
        )))
    }

    /// The newest; none if there was never one.
    pub async fn latest(store: &Store) -> Result<Option<Generation>> {
        let stored = store.list(FOLDER).await?;
        let number = |path: &str| path.strip_prefix(FOLDER)?.trim_matches('/').strip_suffix(".json")?.parse().ok();
        let Some(newest) = stored.iter().filter_map(|stored| number(&stored.path)).max() else { return Ok(None) };
        let path = path(newest);
        let bytes =
            store.get(&path).await?.ok_or_else(|| Error::run(format!("state store {store}: {path} is gone")))?;
        unwrap("record of a generation", &bytes, 1..=FORMAT).map(Some).map_err(of_file(&format!("{store}/{path}")))
    }

    /// Whether no other has taken over.
    pub async fn is_current(&self, store: &Store) -> Result<bool> {
        Ok(Generation::latest(store).await?.is_none_or(|newest| newest.number <= self.number))
    }
}

fn path(number: u64) -> String {
    format!("{FOLDER}/{number:010}.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_who_takes_one_gets_its_own() {
        let store = Store::in_memory().expect("a store");
        assert_eq!(Generation::latest(&store).await.expect("read"), None);
        let take = |workers: usize| {
            let store = store.clone();
            async move { Generation::take(&store, &format!("process {workers}"), workers).await.expect("taken") }
        };
        let mut taken = futures::future::join_all((1..=8).map(take)).await;
        taken.sort_by_key(|generation| generation.number);
        let numbers: Vec<u64> = taken.iter().map(|generation| generation.number).collect();
        assert_eq!(numbers, (1..=8).collect::<Vec<u64>>());
        let last = Generation::latest(&store).await.expect("read").expect("one");
        assert_eq!((last.number, last.most_workers), (8, 8));
        assert!(last.is_current(&store).await.expect("read") && !taken[0].is_current(&store).await.expect("read"));
        let next = take(1).await;
        assert_eq!((next.number, next.workers, next.most_workers), (9, 1, 8));
    }
}
