//! A process that ends at any step: what the next one finds is whole, and at least what was committed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tapeflow::state::{Checkpoints, Decision, Generation, Journal, Snapshot, Store};

use super::{files, make, shown, snapshot, wait};

/// A store that changes nothing any more after so many changes: for it the process has ended.
#[derive(Debug)]
struct Mortal {
    inner: Arc<InMemory>,
    left: Arc<AtomicU64>,
}

impl Mortal {
    fn live(&self) -> Result<()> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| Error::Generic { store: "mortal", source: "the process has ended".into() })
    }
}

impl fmt::Display for Mortal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mortal")
    }
}

#[async_trait]
impl ObjectStore for Mortal {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.live()?;
        self.inner.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(&self, at: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let alive = self.live();
        let inner = Arc::clone(&self.inner);
        match alive {
            Ok(()) => inner.delete_stream(at),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn mortal(inner: &Arc<InMemory>, lives: u64) -> Store {
    let left = Arc::new(AtomicU64::new(lives));
    Store::over("mortal", Box::new(Mortal { inner: Arc::clone(inner), left }), None)
}

/// The state after so many steps: a counter, and a key that comes and goes.
fn state(step: u64, full: bool) -> Snapshot {
    let comes_and_goes = if step.is_multiple_of(2) { "here" } else { "" };
    snapshot(full, &[(7, &[("steps", &step.to_string()), ("odd", comes_and_goes)])])
}

/// A life: resumes, makes checkpoints, begins chains anew, prunes, until it ends. Says what it has committed last.
async fn live(store: &Store, committed: &mut Option<u64>) -> tapeflow::Result<()> {
    let generation = Generation::take(store, "test", 1).await?.number;
    let checkpoints = Checkpoints::new(store.clone(), "a", "1");
    let resume = checkpoints.latest(true).await?;
    checkpoints.resume_from(generation, resume.manifest.as_ref().map(|manifest| manifest.number)).await?;
    let journal = Journal::open(store, "a", "1", generation).await?;
    let mut newest = resume.manifest;
    for number in resume.next..resume.next + 5 {
        let step = newest.as_ref().map_or(0, |newest| newest.boundary / 100) + 1;
        let mut before = newest.as_ref().map(|newest| files(newest).to_vec()).unwrap_or_default();
        let full = before.len() > 2;
        if full {
            before.clear();
        }
        journal.append(&Decision { epoch: step * 100, kind: "step".to_string(), value: step.into() }).await?;
        let file = checkpoints.write_state(number, generation, "means", 0, state(step, full).encode()).await?;
        before.push(file);
        let mut manifest = super::manifest(&checkpoints, number, generation, before);
        manifest.boundary = step * 100;
        checkpoints.commit(&manifest).await?;
        *committed = Some(step);
        checkpoints.prune(2).await?;
        newest = Some(manifest);
    }
    Ok(())
}

#[test]
fn a_process_may_end_at_any_step_of_any_life() {
    let inner = Arc::new(InMemory::new());
    wait(async {
        let mut committed = None;
        let (mut lives, mut ended) = (0, 0);
        // Each life ends one change later than the one before, until one ends by itself.
        for changes in 0.. {
            let lived = live(&mortal(&inner, changes), &mut committed).await;
            lives += 1;
            let check = Checkpoints::new(mortal(&inner, 0), "a", "1");
            let found = check.latest(false).await.unwrap_or_else(|error| panic!("after {changes}: {error}")).manifest;
            let step = found.as_ref().map(|manifest| manifest.boundary / 100);
            // What was being committed when it ended may be there, or not.
            assert!(step == committed || step == Some(committed.unwrap_or(0) + 1), "{step:?}, {committed:?}");
            committed = step;
            for manifest in check.list().await.expect("a list") {
                assert_eq!(check.verify(&manifest).await.expect("read"), [""; 0], "after {changes}");
            }
            if let Some(found) = found {
                let state = check.load(&found, "means", |_| true).await.expect("loaded").expect("there");
                let odd = step.is_some_and(|step| step.is_multiple_of(2));
                let shown = shown(&state);
                assert_eq!(shown.get("7/steps").cloned(), step.map(|step| step.to_string()));
                assert_eq!(shown.contains_key("7/odd"), odd);
            }
            if lived.is_ok() {
                break;
            }
            ended += 1;
        }
        assert!(lives > 20 && ended == lives - 1, "{lives} lives, {ended} ended early");
        // Nothing piles up: two checkpoints, their chains, one record of where somebody went on from.
        let store = mortal(&inner, 0);
        let stored = store.list("jobs/a/1").await.expect("a list");
        let count = |part: &str| stored.iter().filter(|stored| stored.path.contains(part)).count();
        assert_eq!(count("/manifest."), 2);
        assert!(count(".state") <= 8 && count("/resumes/") == 1, "{stored:?}");
        assert!(count("/journal/") <= 12, "{stored:?}");
        let decided = format!(".{:020}.json", committed.unwrap_or(0) * 100);
        assert!(count(&decided) > 0, "what is decided at the newest boundary stays: {stored:?}");
    });
}

#[test]
fn the_first_checkpoint_after_a_crash_may_have_the_number_that_was_being_written() {
    wait(async {
        let inner = Arc::new(InMemory::new());
        let store = mortal(&inner, 1000);
        let checkpoints = Checkpoints::new(store.clone(), "a", "1");
        make(&checkpoints, 0, 1, &[], &snapshot(true, &[])).await.expect("made");
        checkpoints.write_state(1, 1, "means", 0, state(1, false).encode()).await.expect("written, and never named");
        assert_eq!(checkpoints.latest(false).await.expect("a checkpoint").next, 2);
    });
}
