//! Which checkpoint a job goes on from.

use futures::{StreamExt, TryStreamExt};

use super::Checkpoints;
use super::checkpoints::{AT_ONCE, damage};
use super::envelope::of_file;
use super::format::read_header;
use super::manifest::{FileRef, Manifest};
use crate::error::{Error, Result};

/// What a job goes on from.
#[derive(Clone, Debug, Default)]
pub struct Resume {
    /// The newest checkpoint that is whole; none if the job has never made one.
    pub manifest: Option<Manifest>,
    /// What is wrong with newer ones that were passed over, a line each.
    pub passed_over: Vec<String>,
    /// The number of the next checkpoint.
    pub next: u64,
}

impl Checkpoints {
    /// The newest checkpoint of which the manifest and every file it names are whole. Damaged ones are passed over
    /// if `skip_damaged`, and named; else the first of them is an error. It is an error, too, if all are damaged:
    /// nobody shall begin anew without knowing.
    pub async fn latest(&self, skip_damaged: bool) -> Result<Resume> {
        let listing = self.listing().await?;
        let mut resume = Resume { next: listing.next(), ..Resume::default() };
        for at in listing.counting() {
            let wrong = match damage(self.read_manifest(at).await)? {
                Err(wrong) => vec![wrong],
                Ok(manifest) => match self.verify(&manifest).await? {
                    wrong if wrong.is_empty() => {
                        resume.manifest = Some(manifest);
                        return Ok(resume);
                    }
                    wrong => wrong,
                },
            };
            let wrong = format!("checkpoint {} of {self} is damaged: {}", at.number, wrong.join("; "));
            if !skip_damaged {
                return Err(Error::Unsafe(wrong));
            }
            resume.passed_over.push(wrong);
        }
        if resume.passed_over.is_empty() {
            return Ok(resume);
        }
        Err(Error::Unsafe(format!(
            "no checkpoint of {self} in {} is whole; restore the files from a copy, or remove the job's state to begin \
             anew:\n{}",
            self.store,
            resume.passed_over.join("\n")
        )))
    }

    /// What is wrong with the files of a checkpoint, a line each: all of them are read.
    pub async fn verify(&self, manifest: &Manifest) -> Result<Vec<String>> {
        let files = manifest.nodes.values().flat_map(|node| node.files.iter().map(|file| (file, node.kind.as_str())));
        // Collected, for a stream of borrowing closures is not `Send`.
        let files: Vec<(FileRef, String)> = files.map(|(file, kind)| (file.clone(), kind.to_string())).collect();
        let checks = files.into_iter().map(|(file, kind)| async move { damage(self.check(&file, &kind).await) });
        let checked: Vec<Result<(), String>> = futures::stream::iter(checks).buffered(AT_ONCE).try_collect().await?;
        Ok(checked.into_iter().filter_map(Result::err).collect())
    }

    async fn check(&self, file: &FileRef, kind: &str) -> Result<()> {
        let bytes = self.read_file(file).await?;
        let header = read_header(&bytes).map_err(of_file(&file.path))?;
        if header.kind != kind {
            let found = header.kind;
            return Err(Error::run(format!("{}: it is of kind `{found}`, and `{kind}` was expected", file.path)));
        }
        Ok(())
    }
}
