//! The jobs of one process, by their id: prepared, built on all its workers, ended. Of jobs that have not ended no
//! two have the same name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::idle::Idle;
use super::{Begin, GoOn, Job, Prepare, Prepared, State};
use crate::batch::Epoch;
use crate::error::{Error, Result};
use crate::metrics;
use crate::spec::{Files, Mistakes, Plan};

/// A prepared job that nobody has built by then is dropped.
const UNBUILT: Duration = Duration::from_secs(60);
/// Jobs that have ended and are still known.
const ENDED: usize = 200;

/// A dataflow file on its way to the workers. It travels as text, `${...}` unexpanded: every process reads it itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Submission {
    /// The id of the job.
    pub id: String,
    /// What the file is called in messages.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// Where its relative paths begin.
    pub base: PathBuf,
    /// The schemas it names, by their names in it.
    pub schemas: BTreeMap<String, String>,
    /// The first epoch of the job.
    pub start: Epoch,
    /// The number of the checkpoint that it goes on from, if it does.
    #[serde(default)]
    pub from: Option<u64>,
    /// How far idle partitions were given up before that.
    #[serde(default)]
    pub idle: Vec<Idle>,
    /// The number that its next checkpoint comes after.
    #[serde(default)]
    pub number: u64,
    /// What is done where it cannot go on just as it was.
    #[serde(default)]
    pub go_on: GoOn,
}

impl Submission {
    /// Reads and plans the file.
    pub fn plan(&self) -> Result<(Plan, Mistakes)> {
        let files = Files::shipped(self.base.clone(), self.schemas.clone());
        let (plan, _, warnings) = Plan::of(&self.path, &self.text, &files)?;
        Ok((plan, warnings))
    }

    /// The same for the same text and schemas.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new_with_prefix(&self.text);
        for (name, schema) in &self.schemas {
            hash.update([0]);
            hash.update(name);
            hash.update([0]);
            hash.update(schema);
        }
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A job that this process knows.
#[derive(Clone)]
pub struct Known {
    /// Its id.
    pub id: String,
    /// Of its text and schemas.
    pub hash: String,
    /// Its first epoch.
    pub start: Epoch,
    /// What it does.
    pub plan: Plan,
    /// What its workers share.
    pub job: Arc<Job>,
}

struct Entry {
    known: Known,
    /// Until it has ended.
    prepared: Option<Arc<Prepared>>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Prepared(Instant),
    /// All processes are prepared: nothing but an abort takes it back.
    Committed,
    Built,
}

/// The jobs of one process.
#[derive(Default)]
pub struct Jobs {
    table: Mutex<Table>,
    /// How often each was started again after a failure.
    restarts: Mutex<BTreeMap<String, u32>>,
}

#[derive(Default)]
struct Table {
    entries: Vec<Entry>,
    /// Names of jobs that are being prepared.
    reserved: Vec<String>,
}

impl Jobs {
    /// The jobs of a process that runs its files alone.
    pub fn alone(jobs: &[Arc<Prepared>]) -> Jobs {
        let entry = |prepared: &Arc<Prepared>| Entry {
            known: known(prepared, prepared.job.name.clone(), String::new()),
            prepared: Some(Arc::clone(prepared)),
            stage: Stage::Built,
        };
        let table = Table { entries: jobs.iter().map(entry).collect(), reserved: Vec::new() };
        Jobs { table: Mutex::new(table), restarts: Mutex::default() }
    }

    /// Opens everything that `submission` needs: all that may fail, fails here. Where its nodes begin in this process.
    pub fn prepare(&self, submission: &Submission, plan: Plan, prepare: &Prepare) -> Result<Vec<Begin>> {
        let name = plan.job.name.clone();
        self.reserve(&name)?;
        // A job of the same name that has ended counts no more: this one does.
        metrics::forget(&name);
        let prepared = Prepared::new(plan, prepare, submission.start).map(Arc::new);
        let begins = prepared.as_ref().map_err(Error::clone).and_then(|prepared| prepared.begins());
        let mut table = self.lock();
        table.reserved.retain(|reserved| *reserved != name);
        let (prepared, begins) = (prepared?, begins?);
        prepared.job.announce_failure();
        table.forget(&name);
        let known = known(&prepared, submission.id.clone(), submission.hash());
        table.entries.push(Entry { known, prepared: Some(prepared), stage: Stage::Prepared(Instant::now()) });
        Ok(begins)
    }

    fn reserve(&self, name: &str) -> Result<()> {
        let mut table = self.lock();
        let alive = table.entries.iter().find(|entry| entry.is_alive() && entry.known.job.name == name);
        match alive {
            Some(entry) if entry.stage == Stage::Built => return Err(there_already(&entry.known)),
            None if !table.reserved.iter().any(|reserved| reserved == name) => {}
            _ => return Err(Error::Job(format!("a job `{name}` is being submitted at this moment"))),
        }
        table.reserved.push(name.to_string());
        Ok(())
    }

    /// All processes are prepared for the job.
    pub fn commit(&self, id: &str) -> Result<()> {
        let mut table = self.lock();
        let entry = table.entries.iter_mut().find(|entry| entry.known.id == id);
        let entry = entry.ok_or_else(|| Error::Job(format!("job {id} is not prepared, or not any more")))?;
        entry.stage = Stage::Committed;
        Ok(())
    }

    /// The job `name` is started again after a failure.
    pub fn restarted(&self, name: &str) {
        metrics::restarts(name).inc();
        *self.restarts.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_string()).or_default() += 1;
    }

    /// How often this process has started the job `name` again.
    pub fn restarts(&self, name: &str) -> u32 {
        self.restarts.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or(0)
    }

    /// Some process is not prepared for the job: it will not be built.
    pub fn abort(&self, id: &str) {
        self.lock().entries.retain(|entry| entry.known.id != id || entry.stage == Stage::Built);
    }

    /// The job `id`, where it is prepared.
    pub fn prepared(&self, id: &str) -> Option<Arc<Prepared>> {
        self.lock().entries.iter().find(|entry| entry.known.id == id)?.prepared.clone()
    }

    /// The prepared job, for each of the workers that build it.
    pub fn build(&self, id: &str) -> Option<Arc<Prepared>> {
        let mut table = self.lock();
        let entry = table.entries.iter_mut().find(|entry| entry.known.id == id)?;
        entry.stage = Stage::Built;
        entry.prepared.clone()
    }

    /// What the workers of the job `id` share, once it is built.
    pub fn find(&self, id: &str) -> Option<Arc<Job>> {
        let table = self.lock();
        let entry = table.entries.iter().find(|entry| entry.known.id == id && entry.stage == Stage::Built)?;
        Some(Arc::clone(&entry.known.job))
    }

    /// The job `name` that was built last.
    pub fn named(&self, name: &str) -> Option<Known> {
        self.list().into_iter().rfind(|known| known.job.name == name)
    }

    /// All jobs that were built, in that order.
    pub fn list(&self) -> Vec<Known> {
        let table = self.lock();
        let built = table.entries.iter().filter(|entry| entry.stage == Stage::Built);
        built.map(|entry| entry.known.clone()).collect()
    }

    /// Closes what jobs that have ended had open, and drops those that nobody has built or asks for any more.
    pub fn tidy(&self) {
        let mut table = self.lock();
        table.entries.retain(|entry| !matches!(entry.stage, Stage::Prepared(since) if since.elapsed() > UNBUILT));
        for entry in table.entries.iter_mut().filter(|entry| !entry.is_alive()) {
            entry.prepared = None;
        }
        let ended = table.entries.iter().filter(|entry| !entry.is_alive()).count();
        for _ in ENDED..ended {
            let name = table.entries.iter().find(|entry| !entry.is_alive()).map(|entry| entry.known.job.name.clone());
            let Some(name) = name else { break };
            table.forget(&name);
            if !table.is_taken(&name) {
                metrics::forget(&name);
            }
        }
    }

    /// Waits until all that was built and whose workers have ended is done.
    pub fn finish(&self) {
        let table = self.lock();
        let built = table.entries.iter().filter(|entry| entry.stage == Stage::Built);
        let prepared: Vec<_> = built.filter_map(|entry| entry.prepared.clone()).collect();
        // Others may ask about jobs meanwhile.
        drop(table);
        prepared.iter().for_each(|prepared| prepared.finish());
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_alive(&self) -> bool {
        !matches!(self.known.job.state(), State::Done | State::Failed)
    }
}

impl Table {
    /// Forgets jobs of this name that have ended.
    fn forget(&mut self, name: &str) {
        self.entries.retain(|entry| entry.is_alive() || entry.known.job.name != name);
    }

    /// Whether a job of this name runs or is being prepared.
    fn is_taken(&self, name: &str) -> bool {
        let reserved = self.reserved.iter().any(|reserved| reserved == name);
        reserved || self.entries.iter().any(|entry| entry.known.job.name == name)
    }
}

/// The error of a name that another job has.
pub fn there_already(known: &Known) -> Error {
    let (name, state) = (&known.job.name, known.job.state());
    Error::Job(format!("there is another job `{name}` already, {state}: stop it, or replace it"))
}

fn known(prepared: &Prepared, id: String, hash: String) -> Known {
    Known { id, hash, start: prepared.start, plan: prepared.plan.clone(), job: Arc::clone(&prepared.job) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission(id: &str, name: &str) -> Submission {
        let text = format!(
            "version = 1\nname = \"{name}\"\n[sources.a]\ntype = \"generator\"\n\
             [sinks.b]\ntype = \"discard\"\ninput = \"a\"\n"
        );
        let (base, path) = (PathBuf::new(), PathBuf::from("t.toml"));
        Submission {
            id: id.to_string(),
            path,
            text,
            base,
            schemas: BTreeMap::new(),
            start: 1,
            from: None,
            idle: Vec::new(),
            number: 0,
            go_on: GoOn::default(),
        }
    }

    fn prepare(jobs: &Jobs, id: &str, name: &str) -> Result<Vec<Begin>> {
        let submission = submission(id, name);
        let (plan, _) = submission.plan()?;
        let prepare = Prepare { memory: 1, ..Prepare::new(&plan, 0..2, 2) };
        jobs.prepare(&submission, plan, &prepare)
    }

    fn names(jobs: &Jobs) -> Vec<String> {
        jobs.list().into_iter().map(|known| format!("{} {}", known.id, known.job.state())).collect()
    }

    #[test]
    fn a_name_is_taken_from_its_preparation_to_its_end() {
        let jobs = Jobs::default();
        prepare(&jobs, "1", "a").expect("free");
        assert!(prepare(&jobs, "2", "a").is_err_and(|error| error.to_string().contains("being submitted")));
        assert!(jobs.named("a").is_none(), "nobody sees it before it is built");
        jobs.commit("1").expect("prepared");
        let workers: Vec<_> = (0..2).filter_map(|_| jobs.build("1")).collect();
        workers.iter().for_each(|prepared| prepared.job.enter());
        assert!(
            prepare(&jobs, "2", "a").is_err_and(|error| error.to_string().contains("another job `a` already, running"))
        );
        let last: Vec<bool> = workers.iter().map(|prepared| prepared.job.leave()).collect();
        assert_eq!((last, names(&jobs)), (vec![false, true], vec!["1 running".to_string()]));
        workers[0].finish();
        assert_eq!(names(&jobs), ["1 done"]);
        prepare(&jobs, "2", "a").expect("free again");
        assert!(names(&jobs).is_empty(), "one name, one job");
    }

    #[test]
    fn what_is_not_built_goes_away() {
        let jobs = Jobs::default();
        prepare(&jobs, "1", "a").expect("free");
        jobs.abort("1");
        assert!(jobs.commit("1").is_err() && jobs.build("1").is_none());
        prepare(&jobs, "2", "a").expect("free");
        jobs.tidy();
        jobs.commit("2").expect("still there");
        jobs.tidy();
        assert!(jobs.build("2").is_some(), "what all have agreed on stays");
        jobs.abort("2");
        assert_eq!(names(&jobs), ["2 running"]);
        prepare(&jobs, "3", "b").expect("free");
        if let Some(entry) = jobs.lock().entries.last_mut() {
            entry.stage = Stage::Prepared(Instant::now() - UNBUILT - Duration::from_secs(1));
        }
        jobs.tidy();
        assert!(jobs.commit("3").is_err());
    }

    #[test]
    fn not_all_that_has_ended_is_kept() {
        let jobs = Jobs::default();
        for number in 0..ENDED + 5 {
            prepare(&jobs, &number.to_string(), &format!("job-{number}")).expect("free");
            let prepared = jobs.build(&number.to_string()).expect("prepared");
            prepared.job.enter();
            prepared.finish();
        }
        jobs.tidy();
        assert_eq!((jobs.list().len(), jobs.list()[0].id.as_str()), (ENDED, "5"));
    }

    #[test]
    fn the_hash_is_of_the_text_and_its_schemas() {
        let (one, mut other) = (submission("1", "a"), submission("2", "a"));
        assert_eq!(one.hash(), other.hash());
        other.schemas.insert("a.avsc".to_string(), "{}".to_string());
        assert_ne!(one.hash(), other.hash());
    }
}
