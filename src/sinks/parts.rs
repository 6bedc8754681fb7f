//! Files that appear whole: written under a hidden name, and given their own once they count. Where state is kept, they
//! count when a checkpoint that names them is complete.

use std::collections::BTreeMap;
use std::fs::{File, create_dir_all, read_dir, remove_file, rename};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::runtime::Prepare;
use crate::state::Entry;

/// The parts of one sink in one process.
#[derive(Clone)]
pub struct Parts {
    folder: PathBuf,
    /// The id of the job, where a checkpoint publishes the parts; otherwise they are published when they are complete.
    job: Option<String>,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    /// Complete, and named by no checkpoint yet: by worker.
    complete: BTreeMap<usize, Vec<String>>,
    /// Named by the checkpoint of this number.
    named: BTreeMap<u64, Vec<String>>,
}

impl Parts {
    /// Of the sink `name` in `folder`: what the checkpoint that the job goes on from names is published, what was written
    /// after it is removed.
    pub fn prepare(folder: &Path, name: &str, prepare: &Prepare) -> Result<Parts> {
        let job = prepare.keeping.as_ref().map(|keeping| keeping.id.clone());
        let parts = Parts { folder: folder.to_path_buf(), job, waiting: Arc::default() };
        if parts.job.is_some() {
            for (part, _) in prepare.positions(name) {
                parts.publish_again(&String::from_utf8_lossy(part))?;
            }
            parts.remove_the_rest()?;
        }
        Ok(parts)
    }

    /// Where the part `name` is written, which may be one of a folder below.
    pub fn hidden(&self, name: &str) -> PathBuf {
        let job = self.job.as_deref().unwrap_or("writing");
        self.folder.join(format!(".{}.{job}", name.replace('/', "!")))
    }

    /// The part `name` of `worker` is complete, and durable.
    pub fn complete(&self, worker: usize, name: String) -> Result<()> {
        if self.job.is_none() {
            return self.publish(&name);
        }
        self.waiting().complete.entry(worker).or_default().push(name);
        Ok(())
    }

    /// What checkpoint `number` names of `worker`.
    pub fn name(&self, worker: usize, number: u64) -> Vec<Entry> {
        let mut waiting = self.waiting();
        let names = waiting.complete.remove(&worker).unwrap_or_default();
        waiting.named.entry(number).or_default().extend(names.clone());
        names.into_iter().map(|name| Entry { key: name.into_bytes(), value: Some(Vec::new()) }).collect()
    }

    /// Checkpoint `number` is complete.
    pub fn completed(&self, number: u64) -> Result<()> {
        let named = {
            let mut waiting = self.waiting();
            let later = waiting.named.split_off(&(number + 1));
            std::mem::replace(&mut waiting.named, later)
        };
        named.into_values().flatten().try_for_each(|name| self.publish(&name))
    }

    /// Publishes a part that a checkpoint names, unless it was published already, or was never here.
    fn publish_again(&self, name: &str) -> Result<()> {
        if self.hidden(name).exists() || self.folder.join(name).exists() {
            return self.publish(name);
        }
        // Each machine may have a folder of its own, and what was published may be moved or merged by whoever reads it.
        let folder = self.folder.display();
        tracing::warn!("{folder}: {name} is not here: another machine has it, or it was taken away since it appeared");
        Ok(())
    }

    fn publish(&self, name: &str) -> Result<()> {
        let (hidden, path) = (self.hidden(name), self.folder.join(name));
        let folder = path.parent().unwrap_or(&self.folder);
        create_dir_all(folder).map_err(|error| failed(folder, &error))?;
        match rename(&hidden, &path) {
            Ok(()) => sync(folder),
            // It was published before.
            Err(_) if path.exists() => Ok(()),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    fn remove_the_rest(&self) -> Result<()> {
        let Some(job) = &self.job else { return Ok(()) };
        let suffix = format!(".{job}");
        for entry in read_dir(&self.folder).map_err(|error| failed(&self.folder, &error))?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') && name.ends_with(&suffix) {
                // Another process may have been quicker.
                let _ = remove_file(entry.path());
            }
        }
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes durable what a folder says of its files.
fn sync(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(folder, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::run(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(folder: &Path) -> Parts {
        Parts { folder: folder.to_path_buf(), job: Some("7".to_string()), waiting: Arc::default() }
    }

    fn seen(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = read_dir(folder)
            .expect("a folder")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_part_appears_when_its_checkpoint_is_complete() {
        let folder = tempfile::tempdir().expect("a folder");
        let parts = parts(folder.path());
        for (worker, name) in [(0, "a"), (1, "x=1/b")] {
            std::fs::write(parts.hidden(name), name).expect("written");
            parts.complete(worker, name.to_string()).expect("noted");
        }
        assert_eq!(parts.name(0, 1).len(), 1);
        parts.completed(1).expect("published");
        assert_eq!(seen(folder.path()), [".x=1!b.7", "a"]);
        assert_eq!(parts.name(0, 2).len() + parts.name(1, 2).len(), 1);
        parts.completed(2).expect("published");
        parts.completed(2).expect("once");
        assert_eq!(seen(folder.path()), ["a", "x=1"]);
        assert_eq!(seen(&folder.path().join("x=1")), ["b"]);
    }

    #[test]
    fn what_no_checkpoint_names_is_removed_and_what_others_write_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let parts = parts(folder.path());
        for name in [".a.7", ".b.8", "c"] {
            std::fs::write(folder.path().join(name), name).expect("written");
        }
        parts.remove_the_rest().expect("removed");
        assert_eq!(seen(folder.path()), [".b.8", "c"]);
    }
}
