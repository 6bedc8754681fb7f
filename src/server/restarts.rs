//! When a job that has failed is started again: a few times in a row, each after a longer wait.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

/// The first wait; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// And at most so long.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A job that has run for so long has begun well: what failed before does not count any more.
const WELL: Duration = Duration::from_secs(600);

/// What is to be done with a job that has failed.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// It is started again after this time.
    After(Duration),
    /// Nothing at this moment.
    Wait,
    /// It is started again now.
    Start,
    /// It stays failed.
    Stay,
}

/// The jobs that have failed, by their names.
#[derive(Default)]
pub struct Restarts {
    jobs: BTreeMap<String, Failures>,
}

struct Failures {
    /// In a row.
    count: u32,
    /// When the job was started last.
    started: Instant,
    /// When it is to be started again.
    due: Option<Instant>,
    /// Starts it.
    starting: Option<JoinHandle<()>>,
}

impl Restarts {
    /// The job has failed, and may so `allowed` times in a row.
    pub fn next(&mut self, name: &str, allowed: u32) -> Next {
        let now = Instant::now();
        let new = || Failures { count: 0, started: now, due: None, starting: None };
        let failures = self.jobs.entry(name.to_string()).or_insert_with(new);
        match failures.due {
            _ if failures.starting.as_ref().is_some_and(|task| !task.is_finished()) => Next::Wait,
            Some(due) if due > now => Next::Wait,
            Some(_) => {
                (failures.due, failures.started) = (None, now);
                Next::Start
            }
            None => {
                if now.saturating_duration_since(failures.started) > WELL {
                    failures.count = 0;
                }
                if failures.count >= allowed {
                    self.jobs.remove(name);
                    return Next::Stay;
                }
                let wait = FIRST_WAIT.saturating_mul(1 << failures.count.min(16)).min(LONGEST_WAIT);
                (failures.count, failures.due) = (failures.count + 1, Some(now + wait));
                Next::After(wait)
            }
        }
    }

    /// `task` starts the job: until it has ended, the job has not failed anew.
    pub fn starting(&mut self, name: &str, task: JoinHandle<()>) {
        if let Some(failures) = self.jobs.get_mut(name) {
            failures.starting = Some(task);
        }
    }

    /// The job has ended otherwise.
    pub fn forget(&mut self, name: &str) {
        self.jobs.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets the time pass until the job is due.
    fn pass(restarts: &mut Restarts, name: &str) {
        restarts.jobs.get_mut(name).expect("it has failed").due = Some(Instant::now());
    }

    #[test]
    fn each_wait_is_longer_until_it_stays_failed() {
        let mut restarts = Restarts::default();
        for seconds in [1, 2, 4] {
            assert_eq!(restarts.next("a", 3), Next::After(Duration::from_secs(seconds)));
            assert_eq!(restarts.next("a", 3), Next::Wait);
            pass(&mut restarts, "a");
            assert_eq!(restarts.next("a", 3), Next::Start);
        }
        assert_eq!(restarts.next("a", 3), Next::Stay);
        assert_eq!(restarts.next("a", 3), Next::After(FIRST_WAIT), "whoever submits it again begins anew");
        assert_eq!(restarts.next("b", 0), Next::Stay);
    }

    #[tokio::test]
    async fn one_that_has_run_well_has_not_failed_before() {
        let mut restarts = Restarts::default();
        for _ in 0..20 {
            assert!(matches!(restarts.next("a", 50), Next::After(wait) if wait <= LONGEST_WAIT));
            pass(&mut restarts, "a");
            assert_eq!(restarts.next("a", 50), Next::Start);
        }
        restarts.starting("a", tokio::spawn(std::future::pending()));
        assert_eq!(restarts.next("a", 50), Next::Wait, "it is being started");
        let failures = restarts.jobs.get_mut("a").expect("it has failed");
        (failures.starting, failures.started) = (None, Instant::now() - WELL - FIRST_WAIT);
        assert_eq!(restarts.next("a", 50), Next::After(FIRST_WAIT));
    }
}
