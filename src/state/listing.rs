//! What lies in the folder of a job, by its names; and which manifests a later generation has passed over.

use super::Stored;

/// What lies in the folder of a job.
#[derive(Debug, Default)]
pub struct Listing {
    /// The manifests, newest first.
    pub manifests: Vec<ManifestAt>,
    /// The files of state.
    pub states: Vec<StateAt>,
    /// Where generations went on from.
    pub resumes: Vec<ResumeAt>,
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

/// A generation, and the checkpoint it went on from.
#[derive(Debug)]
pub struct ResumeAt {
    /// The generation.
    pub generation: u64,
    /// The checkpoint; none if the job began anew.
    pub from: Option<u64>,
    /// The path of the record.
    pub path: String,
}

impl Listing {
    /// Sorts what was found below the folder `root`. What is not known is left alone.
    pub fn of(root: &str, found: Vec<Stored>) -> Listing {
        let mut listing = Listing::default();
        for file in found {
            let Some(Stored { path, .. }) = Some(&file).filter(|file| file.path.starts_with(root)) else { continue };
            let name = path[root.len()..].trim_start_matches('/').to_string();
            let path = path.clone();
            let Some((folder, name)) = name.split_once('/') else { continue };
            match (folder, folder.parse()) {
                ("resumes", _) => {
                    if let Some((generation, from)) = resume_of(name) {
                        listing.resumes.push(ResumeAt { generation, from, path });
                    }
                }
                (_, Ok(number)) if name.ends_with(".state") => listing.states.push(StateAt { number, file }),
                (_, Ok(number)) => {
                    let generation = name.strip_prefix("manifest.").and_then(|name| name.strip_suffix(".json"));
                    if let Some(generation) = generation.and_then(|digits| digits.parse().ok()) {
                        listing.manifests.push(ManifestAt { number, generation, path });
                    }
                }
                _ => (),
            }
        }
        listing.manifests.sort_by_key(|at| std::cmp::Reverse((at.number, at.generation)));
        listing
    }

    /// The generation that went on from a checkpoint before this one, and so without it.
    pub fn passed_by(&self, manifest: &ManifestAt) -> Option<u64> {
        let passes = |resume: &&ResumeAt| {
            resume.generation > manifest.generation && resume.from.is_none_or(|from| manifest.number > from)
        };
        self.resumes.iter().find(passes).map(|resume| resume.generation)
    }

    /// The manifests that count, newest first.
    pub fn counting(&self) -> impl Iterator<Item = &ManifestAt> {
        self.manifests.iter().filter(|manifest| self.passed_by(manifest).is_none())
    }

    /// Records that no longer tell anything: a later generation went on from the same checkpoint, or one before.
    pub fn redundant_resumes(&self) -> impl Iterator<Item = &ResumeAt> {
        self.resumes.iter().filter(|resume| {
            self.resumes.iter().any(|later| later.generation > resume.generation && later.from <= resume.from)
        })
    }

    /// A number that no checkpoint has, nor one that was begun.
    pub fn next(&self) -> u64 {
        let manifests = self.manifests.iter().map(|at| at.number);
        let states = self.states.iter().map(|at| at.number);
        let resumes = self.resumes.iter().filter_map(|at| at.from);
        manifests.chain(states).chain(resumes).max().map_or(0, |highest| highest + 1)
    }
}

fn resume_of(name: &str) -> Option<(u64, Option<u64>)> {
    let (generation, from) = name.strip_suffix(".json")?.split_once('.')?;
    let from = if from == "none" { None } else { Some(from.parse().ok()?) };
    Some((generation.parse().ok()?, from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: &[&str]) -> Listing {
        let stored = |name: &&str| Stored { path: format!("jobs/a/1/{name}"), size: 1 };
        Listing::of("jobs/a/1", names.iter().map(stored).collect())
    }

    fn counting(names: &[&str]) -> Vec<(u64, u64)> {
        listing(names).counting().map(|at| (at.number, at.generation)).collect()
    }

    #[test]
    fn what_was_written_after_another_generation_took_over_does_not_count() {
        let written = ["0000000011/manifest.0000000001.json", "0000000012/manifest.0000000001.json"];
        assert_eq!(counting(&written), [(12, 1), (11, 1)]);
        // Generation 2 went on from 11; 12 came late, and 12 of generation 2 stands beside it.
        let [first, late] = written;
        let names = [first, late, "resumes/0000000002.0000000011.json", "0000000012/manifest.0000000002.json"];
        assert_eq!(counting(&names), [(12, 2), (11, 1)]);
        // Generation 3 begins anew: nothing older counts.
        let mut names = names.to_vec();
        names.push("resumes/0000000003.none.json");
        assert_eq!(counting(&names), []);
        assert_eq!(listing(&names).next(), 13);
    }

    #[test]
    fn a_record_that_a_later_one_covers_is_redundant() {
        let names = ["resumes/1.none.json", "resumes/2.0005.json", "resumes/3.0005.json", "resumes/4.0007.json"];
        let listing = listing(&names);
        let redundant: Vec<u64> = listing.redundant_resumes().map(|resume| resume.generation).collect();
        assert_eq!(redundant, [2]);
    }

    #[test]
    fn strange_names_are_left_alone() {
        let names = ["job.json", "x/y", "12/manifest.json", "12/manifest.x.json", "resumes/x", "journal/1.json", ""];
        let listing = listing(&names);
        assert!(listing.manifests.is_empty() && listing.states.is_empty() && listing.resumes.is_empty());
        assert_eq!(listing.next(), 0);
    }
}
