//! Generations: the cluster begins anew whenever one of its processes is lost. A process does so by running its
//! program again in its place, with the same pid: nothing of the last generation is left, neither a thread nor a
//! connection nor a write on its way.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::system;
use crate::error::{Error, Result};

/// Where what is known of the last generation stands in the environment.
const PAST: &str = "TAPEFLOW_PAST";
/// A generation that lived for so long has begun well: the next one begins at once.
const WELL: Duration = Duration::from_secs(60);
/// How long the third generation in a row waits; the next ones wait twice as long each.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// And at most so long.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The number of a generation, where the processes know of the generations `known`.
pub fn next(known: impl IntoIterator<Item = u64>) -> u64 {
    known.into_iter().max().unwrap_or(0) + 1
}

/// What a process knows of the generations before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// The greatest that it knows of.
    pub known: u64,
    /// Why the last one ended, if there was one.
    pub ended: Option<String>,
    /// How many in a row have ended soon.
    failures: u32,
}

impl Past {
    /// Of this process, when it begins: no thread may run yet.
    pub fn take() -> Past {
        let Ok(text) = std::env::var(PAST) else { return Past::default() };
        // A library may have left something open for the program that runs in its place.
        system::close_inherited();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// After generation `known` has ended because of `reason`, having lived for `lived`.
    pub fn after(&self, known: u64, reason: &str, lived: Duration) -> Past {
        let failures = if lived > WELL { 1 } else { self.failures.saturating_add(1) };
        Past { known: known.max(self.known), ended: Some(reason.to_string()), failures }
    }

    /// How long to wait before the next one.
    pub fn wait(&self) -> Duration {
        match self.failures.checked_sub(2) {
            None => Duration::ZERO,
            Some(more) => FIRST_WAIT.saturating_mul(1 << more.min(16)).min(LONGEST_WAIT),
        }
    }

    /// Runs the program again, as it was started. It only returns if that cannot be done.
    pub fn again(&self) -> Error {
        let text = serde_json::to_string(self).unwrap_or_default();
        let mut args = std::env::args_os();
        let name = args.next().unwrap_or_else(|| "tapeflow".into());
        let error = Command::new(program()).arg0(name).args(args).env(PAST, text).exec();
        Error::run(format!("the program cannot be run again: {error}"))
    }
}

/// The file that runs: under its own name where that is still it. Another that was put in its place would not fit the
/// processes that run already; whoever supervises starts that one when all have ended.
fn program() -> PathBuf {
    let running = PathBuf::from("/proc/self/exe");
    let named = std::env::current_exe().unwrap_or_else(|_| running.clone());
    let id = |path: &PathBuf| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).map(|file| (file.dev(), file.ino())).ok()
    };
    if id(&named).is_some() && id(&named) == id(&running) { named } else { running }
}

/// A generation that is being watched.
#[derive(Debug, PartialEq)]
pub enum Ended {
    /// The cluster was asked to.
    Asked,
    /// A process was lost: why, and which generation it was.
    Lost(String, u64),
}

/// What a process does when a generation has ended.
pub fn conclude(ended: Ended, past: &Past, lived: Duration, restart: bool) -> Result<()> {
    match ended {
        Ended::Asked => Ok(()),
        Ended::Lost(reason, _) if !restart => Err(Error::Run(reason)),
        Ended::Lost(reason, generation) => {
            tracing::warn!("generation {generation} has ended: {reason}; the next one begins");
            Err(past.after(generation, &reason, lived).again())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_later_than_all_that_anybody_knows() {
        assert_eq!((next([]), next([0]), next([3, 7, 1])), (1, 1, 8));
    }

    #[test]
    fn those_that_end_soon_wait_longer_and_longer() {
        let (mut past, soon) = (Past::default(), Duration::from_secs(1));
        assert_eq!(past.wait(), Duration::ZERO);
        let mut waits = Vec::new();
        for generation in 1..40 {
            past = past.after(generation, "process 1 was lost", soon);
            waits.push(past.wait());
        }
        assert_eq!(waits[..3], [Duration::ZERO, FIRST_WAIT, 2 * FIRST_WAIT]);
        assert_eq!((waits.last(), past.known), (Some(&LONGEST_WAIT), 39));
        let past = past.after(40, "process 1 was lost", 2 * WELL);
        assert_eq!(past.wait(), Duration::ZERO);
        // One that never came to be is no step back.
        assert_eq!(past.after(0, "it did not form", soon).known, 40);
    }
}
