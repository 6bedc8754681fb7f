//! What was submitted, so that the next generation can install it again, in the same order.

use chrono::{SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::Store;
use super::envelope::{of_file, unwrap, wrap};
use crate::error::{Error, Result};

const FORMAT: u32 = 1;

/// A job as it was submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedJob {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Its place in the order of all that were submitted.
    pub order: u64,
    /// When it was saved first (RFC 3339).
    pub saved: String,
    /// What was submitted: the dataflow file and what belongs to it, as the control plane writes it.
    pub submission: Json,
}

/// The jobs of a cluster in its store.
#[derive(Clone, Debug)]
pub struct SavedJobs(Store);

impl SavedJobs {
    /// Those in this store.
    pub fn new(store: Store) -> Self {
        SavedJobs(store)
    }

    /// Saves a job, or what is new about it; durable when this returns. A job of that name with another id takes
    /// its place, at the end of the order.
    pub async fn save(&self, name: &str, id: &str, submission: &Json) -> Result<SavedJob> {
        let all = self.list().await?;
        let known = all.iter().find(|job| job.name == name && job.id == id);
        let job = SavedJob {
            name: name.to_string(),
            id: id.to_string(),
            order: known.map_or_else(|| all.last().map_or(0, |last| last.order + 1), |known| known.order),
            saved: known.map_or_else(now, |known| known.saved.clone()),
            submission: submission.clone(),
        };
        self.0.put(&path(name), wrap(FORMAT, &job)?).await?;
        Ok(job)
    }

    /// All jobs, in the order in which they were submitted.
    pub async fn list(&self) -> Result<Vec<SavedJob>> {
        let mut jobs = Vec::new();
        for stored in self.0.list("jobs").await? {
            let is_job = matches!(*stored.path.split('/').collect::<Vec<_>>(), ["jobs", _, "job.json"]);
            // One that was removed meanwhile is not there.
            if is_job && let Some(bytes) = self.0.get(&stored.path).await? {
                jobs.push(self.read(&stored.path, &bytes)?);
            }
        }
        jobs.sort_by(|one, other| (one.order, &one.name).cmp(&(other.order, &other.name)));
        Ok(jobs)
    }

    /// The job of that name.
    pub async fn find(&self, name: &str) -> Result<Option<SavedJob>> {
        let path = path(name);
        let bytes = self.0.get(&path).await?;
        bytes.map(|bytes| self.read(&path, &bytes)).transpose()
    }

    /// Removes a job, so that no generation installs it again. Its checkpoints stay.
    pub async fn remove(&self, name: &str) -> Result<()> {
        self.0.delete(&path(name)).await
    }

    fn read(&self, path: &str, bytes: &[u8]) -> Result<SavedJob> {
        let remedy = |error| match error {
            Error::Run(what) => Error::Unsafe(format!("{what}; remove that file and submit the job again")),
            other => other,
        };
        unwrap("saved job", bytes, 1..=FORMAT).map_err(of_file(&format!("{}/{path}", self.0))).map_err(remedy)
    }
}

fn path(name: &str) -> String {
    format!("jobs/{name}/job.json")
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn jobs_come_back_in_the_order_in_which_they_were_submitted() {
        let store = Store::in_memory().expect("a store");
        let jobs = SavedJobs::new(store.clone());
        assert_eq!(jobs.list().await.expect("none"), []);
        for (name, id) in [("z", "1"), ("a", "2"), ("m", "3")] {
            jobs.save(name, id, &json!({ "text": name })).await.expect("saved");
        }
        let names = |all: Vec<SavedJob>| all.into_iter().map(|job| job.name).collect::<Vec<_>>();
        assert_eq!(names(jobs.list().await.expect("all")), ["z", "a", "m"]);
        // The same job again keeps its place; another of its name goes to the end.
        jobs.save("a", "2", &json!({ "text": "new" })).await.expect("saved");
        assert_eq!(names(jobs.list().await.expect("all")), ["z", "a", "m"]);
        assert_eq!(jobs.find("a").await.expect("read").expect("one").submission, json!({ "text": "new" }));
        jobs.save("z", "4", &json!({})).await.expect("saved");
        jobs.remove("a").await.expect("removed");
        jobs.remove("a").await.expect("was gone");
        assert_eq!(names(jobs.list().await.expect("all")), ["m", "z"]);
        // Files of checkpoints beside it are no jobs.
        store.put("jobs/m/3/job.json", b"{}".to_vec()).await.expect("written");
        assert_eq!(names(jobs.list().await.expect("all")), ["m", "z"]);
    }

    #[tokio::test]
    async fn a_damaged_one_is_not_passed_over() {
        let store = Store::in_memory().expect("a store");
        let jobs = SavedJobs::new(store.clone());
        jobs.save("a", "1", &json!({ "text": "abc" })).await.expect("saved");
        let mut bytes = store.get("jobs/a/job.json").await.expect("read").expect("there");
        let at = bytes.windows(3).position(|text| text == b"abc").expect("the text");
        bytes[at] = b'x';
        store.put("jobs/a/job.json", bytes).await.expect("written");
        let error = jobs.list().await.expect_err("damaged");
        assert!(error.to_string().contains("jobs/a/job.json") && error.exit_code() == 5, "{error}");
    }
}
