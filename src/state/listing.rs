//! What lies in the folder of a job, by its names; and which manifests count.
//!
//! A generation that goes on from a checkpoint first writes down which manifests of older generations count: from
//! then on all others of them do not, whenever they were or will be written. Savepoints among these stay aside: nobody
//! goes on from one unasked, and they are there for whoever asks.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Stored;

/// What lies in the folder of a job.
#[derive(Debug, Default)]
pub struct Listing {
    /// The manifests, newest first.
    pub manifests: Vec<ManifestAt>,
    /// The files of state.
    pub states: Vec<StateAt>,
    /// The records of generations that went on, the newest first.
    pub resumes: Vec<ResumeAt>,
    /// What the newest of them says.
    pub record: Option<Record>,
}

/// A manifest.
#[derive(Clone, Debug)]
pub struct ManifestAt {
    /// The number of its checkpoint.
    pub number: u64,
    /// The generation that wrote it.
    pub generation: u64,
    /// Its path.
    pub path: String,
}

/// A file of state.
#[derive(Debug)]
pub struct StateAt {
    /// The number of the checkpoint it was written for.
    pub number: u64,
    /// Its path and size.
    pub file: Stored,
}

/// The record of a generation that went on.
#[derive(Debug)]
pub struct ResumeAt {
    /// The generation.
    pub generation: u64,
    /// Its path.
    pub path: String,
}

/// What a generation goes on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The generation.
    pub generation: u64,
    /// The checkpoint; none if the job begins anew.
    pub checkpoint: Option<u64>,
    /// The manifests of older generations that count: number and generation.
    pub counts: Vec<(u64, u64)>,
    /// The savepoints of older generations that are not on the way to that checkpoint.
    #[serde(default)]
    pub aside: Vec<(u64, u64)>,
}

impl Listing {
    /// Sorts what was found below the folder `root`. What is not known is left alone.
    pub fn of(root: &str, found: Vec<Stored>) -> Listing {
        let mut listing = Listing::default();
        for file in found {
            let path = file.path.clone();
            let name = path.strip_prefix(root).and_then(|name| name.strip_prefix('/'));
            let Some((folder, name)) = name.and_then(|name| name.split_once('/')) else { continue };
            let number_in = |before: &str| name.strip_prefix(before)?.strip_suffix(".json")?.parse().ok();
            match (folder, folder.parse()) {
                ("resumes", _) => {
                    listing.resumes.extend(number_in("").map(|generation| ResumeAt { generation, path: path.clone() }));
                }
                (_, Ok(number)) if name.ends_with(".state") => listing.states.push(StateAt { number, file }),
                (_, Ok(number)) => {
                    let at =
                        number_in("manifest.").map(|generation| ManifestAt { number, generation, path: path.clone() });
                    listing.manifests.extend(at);
                }
                _ => (),
            }
        }
        listing.manifests.sort_by_key(|at| std::cmp::Reverse((at.number, at.generation)));
        listing.resumes.sort_by_key(|at| std::cmp::Reverse(at.generation));
        listing
    }

    /// Whether a manifest counts: no later generation went on without it.
    pub fn counts(&self, manifest: &ManifestAt) -> bool {
        self.record.as_ref().is_none_or(|record| {
            let ManifestAt { number, generation, .. } = manifest;
            *generation >= record.generation || record.counts.contains(&(*number, *generation))
        })
    }

    /// The manifests that count, newest first.
    pub fn counting(&self) -> impl Iterator<Item = &ManifestAt> {
        self.manifests.iter().filter(|manifest| self.counts(manifest))
    }

    /// The manifests that count and the savepoints that stand aside, newest first.
    pub fn listed(&self) -> impl Iterator<Item = &ManifestAt> {
        self.manifests.iter().filter(|manifest| self.counts(manifest) || self.is_aside(manifest))
    }

    fn is_aside(&self, manifest: &ManifestAt) -> bool {
        self.record.as_ref().is_some_and(|record| record.aside.contains(&(manifest.number, manifest.generation)))
    }

    /// What a generation writes down that goes on from `checkpoint`, where these are savepoints.
    pub fn record_of(&self, generation: u64, checkpoint: Option<u64>, savepoints: &BTreeSet<(u64, u64)>) -> Record {
        let on_the_way =
            |at: &&ManifestAt| Some(at.number) == checkpoint || (Some(at.number) < checkpoint && self.counts(at));
        let older = self.listed().filter(|at| at.generation < generation);
        let (way, others): (Vec<_>, Vec<_>) = older.partition(on_the_way);
        let counts = way.into_iter().map(|at| (at.number, at.generation)).collect();
        let aside = others.into_iter().map(|at| (at.number, at.generation)).filter(|at| savepoints.contains(at));
        Record { generation, checkpoint, counts, aside: aside.collect() }
    }

    /// A number that no checkpoint has, nor one that was begun.
    pub fn next(&self) -> u64 {
        let manifests = self.manifests.iter().map(|at| at.number);
        let states = self.states.iter().map(|at| at.number);
        let resumed = self.record.iter().filter_map(|record| record.checkpoint);
        manifests.chain(states).chain(resumed).max().map_or(0, |highest| highest + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: &[&str], record: Option<Record>) -> Listing {
        let stored = |name: &&str| Stored { path: format!("jobs/a/1/{name}"), size: 1 };
        Listing { record, ..Listing::of("jobs/a/1", names.iter().map(stored).collect()) }
    }

    fn counting(listing: &Listing) -> Vec<(u64, u64)> {
        listing.counting().map(|at| (at.number, at.generation)).collect()
    }

    #[test]
    fn what_was_written_after_another_generation_took_over_does_not_count() {
        let mut names = vec!["0000000010/manifest.0000000001.json", "0000000011/manifest.0000000001.json"];
        let (before, none) = (listing(&names, None), BTreeSet::new());
        assert_eq!(counting(&before), [(11, 1), (10, 1)]);
        // Generation 2 goes on from 11; 12 comes late, and 12 of generation 2 stands beside it.
        let record = before.record_of(2, Some(11), &none);
        names.extend(["0000000012/manifest.0000000001.json", "0000000012/manifest.0000000002.json"]);
        let second = listing(&names, Some(record));
        assert_eq!(counting(&second), [(12, 2), (11, 1), (10, 1)]);
        // Generation 3 goes on from 10, for the others are damaged; also 9 comes too late.
        let record = second.record_of(3, Some(10), &none);
        names.push("0000000009/manifest.0000000001.json");
        let third = listing(&names, Some(record));
        assert_eq!((counting(&third), third.next()), (vec![(10, 1)], 13));
        // Generation 4 begins anew: nothing older counts.
        let record = third.record_of(4, None, &none);
        let fourth = listing(&names, Some(record));
        assert_eq!((counting(&fourth), fourth.next()), (vec![], 13));
    }

    #[test]
    fn savepoints_that_are_not_on_the_way_stand_aside() {
        let names = |listing: &Listing| listing.listed().map(|at| at.number).collect::<Vec<_>>();
        let mut files: Vec<String> = (1..=9).map(|number| format!("{number:010}/manifest.0000000001.json")).collect();
        let of = |files: &[String], record| listing(&files.iter().map(String::as_str).collect::<Vec<_>>(), record);
        let savepoints = [(5, 1), (9, 1)].into();
        // From 5 on, twice; and then from 9.
        let second = of(&files, Some(of(&files, None).record_of(2, Some(5), &savepoints)));
        assert_eq!((counting(&second).first(), names(&second)), (Some(&(5, 1)), vec![9, 5, 4, 3, 2, 1]));
        files.push("0000000010/manifest.0000000002.json".to_string());
        let third = of(&files, Some(of(&files, second.record).record_of(3, Some(5), &savepoints)));
        assert_eq!((counting(&third).first(), names(&third)), (Some(&(5, 1)), vec![9, 5, 4, 3, 2, 1]));
        let fourth = of(&files, Some(third.record_of(4, Some(9), &savepoints)));
        assert_eq!((counting(&fourth).first(), names(&fourth)), (Some(&(9, 1)), vec![9, 5, 4, 3, 2, 1]));
    }

    #[test]
    fn strange_names_are_left_alone() {
        let names = ["job.json", "x/y", "12/manifest.json", "12/manifest.x.json", "resumes/x", "journal/1.json", ""];
        let listing = listing(&names, None);
        assert!(listing.manifests.is_empty() && listing.states.is_empty() && listing.resumes.is_empty());
        assert_eq!(listing.next(), 0);
    }
}
