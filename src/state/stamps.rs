//! How far the epochs of generations may have come: each process writes down a bound before it stamps anything beyond the one
//! before, so that the next generation begins behind all of them, whatever its clock says.

use serde::{Deserialize, Serialize};

use super::envelope::{of_file, unwrap, wrap};
use super::{Generation, Store};
use crate::error::{Error, Result};

const FORMAT: u32 = 1;
const FOLDER: &str = "generations";
const ENDING: &str = ".stamps.json";

/// What a process has written down.
#[derive(Debug, Serialize, Deserialize)]
struct Bound {
    /// Where its generation began: behind all bounds of those before.
    first: u64,
    /// It stamps nothing from here on.
    until: u64,
}

/// The bounds that stand in a store.
#[derive(Clone, Debug)]
pub struct Stamps(Store);

impl Stamps {
    /// Those in this store.
    pub fn new(store: Store) -> Self {
        Stamps(store)
    }

    /// A process of a generation, which began at `first`, stamps nothing from epoch `until` on; durable when this returns.
    /// Refused if another generation has taken over: that one has read what stood here before.
    pub async fn keep_below(&self, generation: u64, process: usize, first: u64, until: u64) -> Result<()> {
        let newest = Generation::latest(&self.0).await?.map_or(0, |newest| newest.number);
        if newest > generation {
            return Err(Error::Unsafe(format!("generation {newest} has taken over from {generation}")));
        }
        let path = format!("{FOLDER}/{generation:010}.{process}{ENDING}");
        self.0.put(&path, wrap(FORMAT, &Bound { first, until })?).await
    }

    /// The greatest bound of the generations before this one; 0 if there is none.
    pub async fn greatest_before(&self, generation: u64) -> Result<u64> {
        'again: loop {
            let mut greatest = 0;
            for (of, path) in self.list().await? {
                // Another process of this generation has removed it: after it had written down what it said.
                let Some(bytes) = self.0.get(&path).await? else { continue 'again };
                let bound: Bound = unwrap("bound of epochs", &bytes, 1..=FORMAT).map_err(of_file(&path))?;
                greatest = greatest.max(if of < generation { bound.until } else { bound.first });
            }
            return Ok(greatest);
        }
    }

    /// Removes the bounds of older generations: once one of this generation is written down.
    pub async fn forget_before(&self, generation: u64) -> Result<()> {
        for (_, path) in self.list().await?.into_iter().filter(|(of, _)| *of < generation) {
            self.0.delete(&path).await?;
        }
        Ok(())
    }

    /// The generations of the bounds, and where they stand.
    async fn list(&self) -> Result<Vec<(u64, String)>> {
        let of = |path: String| {
            let name = path.strip_prefix(FOLDER)?.trim_matches('/').strip_suffix(ENDING)?;
            let generation = name.split('.').next()?.parse().ok()?;
            Some((generation, path))
        };
        Ok(self.0.list(FOLDER).await?.into_iter().filter_map(|stored| of(stored.path)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_greatest_bound_of_any_process_of_a_generation_before_counts() {
        let store = Store::in_memory().expect("a store");
        let stamps = Stamps::new(store.clone());
        let greatest = |generation| stamps.greatest_before(generation);
        assert_eq!(greatest(1).await.expect("none"), 0);
        Generation::take(&store, "one", 1).await.expect("taken");
        for (process, until) in [(0, 70), (1, 90), (0, 80)] {
            stamps.keep_below(1, process, 5, until).await.expect("kept");
        }
        assert_eq!((greatest(1).await.expect("one"), greatest(2).await.expect("one")), (5, 90));
        let second = Generation::take(&store, "two", 1).await.expect("taken").number;
        assert_eq!(second, 2, "they are no generations");
        let refused = stamps.keep_below(1, 0, 5, 1000).await.expect_err("taken over");
        assert!(refused.to_string().contains("generation 2 has taken over"), "{refused}");
        stamps.keep_below(second, 0, 90, 200).await.expect("kept");
        stamps.forget_before(second).await.expect("forgotten");
        // Who comes later to the same generation begins where the first of it did.
        assert_eq!((greatest(2).await.expect("one"), stamps.list().await.expect("a list").len()), (90, 1));
        assert_eq!(greatest(3).await.expect("one"), 200);
    }
}
