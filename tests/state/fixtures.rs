//! State as releases have written it: it loads for ever, or is refused in words. The files in `v1` were written once,
//! by the first release that kept state, and are never written again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tapeflow::state::{Checkpoints, Generation, Journal, SavedJobs, Snapshot, Store};

use super::{map, shown, wait};
use crate::support::{Folder, repository};

fn fixtures() -> PathBuf {
    repository().join("tests/state")
}

/// A copy of the store of format 1: a job with a base and a delta of two workers, and a savepoint.
fn v1() -> (Folder, Store) {
    let folder = Folder::new();
    copy(&fixtures().join("v1"), &folder.path("state"));
    let store = Store::open(folder.path("state").to_str().expect("text"), &BTreeMap::new(), None).expect("a store");
    (folder, store)
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("fixtures").flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

#[test]
fn state_of_format_1_loads() {
    let (_folder, store) = v1();
    wait(async {
        let checkpoints = Checkpoints::new(store.clone(), "bars", "0f3c");
        let resume = checkpoints.latest(false).await.expect("whole");
        let manifest = resume.manifest.expect("a checkpoint");
        assert_eq!(
            (manifest.number, manifest.generation, manifest.boundary, resume.next),
            (2, 2, 1_700_000_020_000_000, 3)
        );
        assert_eq!((manifest.workers, manifest.hash.as_str(), manifest.savepoint), (2, "5f2b", false));
        let state = checkpoints.load(&manifest, "means", |_| true).await.expect("loaded").expect("there");
        assert_eq!((state.kind.as_str(), state.version), ("indicators", 1));
        let all = shown(&state);
        assert_eq!(all.len(), 100, "{all:?}");
        assert_eq!(all.get("1/K1").map(String::as_str), Some("changed"));
        assert_eq!(all.get("5/K5").map(String::as_str), Some("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"));
        assert!(!all.contains_key("2/K2") && all.get("2/new").map(String::as_str) == Some("came"));
        let source = checkpoints.load(&manifest, "ticks", |_| true).await.expect("loaded").expect("there");
        assert_eq!(shown(&source), map(&[("0/ticks-0", "42"), ("0/ticks-1", "17")]));
        let list = checkpoints.list().await.expect("a list");
        let numbers: Vec<(u64, bool)> = list.iter().map(|manifest| (manifest.number, manifest.savepoint)).collect();
        assert_eq!(numbers, [(2, false), (1, true), (0, false)], "what generation 1 wrote too late is not among them");

        let generation = Generation::latest(&store).await.expect("read").expect("one");
        assert_eq!((generation.number, generation.workers, generation.most_workers), (2, 2, 3));
        let jobs = SavedJobs::new(store.clone()).list().await.expect("read");
        assert_eq!((jobs[0].name.as_str(), jobs[0].submission["text"].as_str()), ("bars", Some("version = 1\n")));
        let journal = Journal::open(&store, "bars", "0f3c", 3).await.expect("opened");
        let decisions = journal.read(0).await.expect("read");
        assert_eq!(
            (decisions.len(), decisions[0].epoch, decisions[0].kind.as_str()),
            (1, 1_700_000_015_000_000, "idle")
        );
    });
}

#[test]
fn state_of_format_1_can_be_rewritten_and_pruned() {
    let (folder, store) = v1();
    wait(async {
        let checkpoints = Checkpoints::new(store.clone(), "bars", "0f3c");
        let before = checkpoints.latest(false).await.expect("whole").manifest.expect("one");
        let state = checkpoints.load(&before, "means", |_| true).await.expect("loaded");
        checkpoints.migrate(true).await.expect("rewritten");
        let pruned = checkpoints.prune(1).await.expect("pruned");
        assert_eq!(pruned.checkpoints, [0]);
        let after = checkpoints.latest(false).await.expect("whole").manifest.expect("one");
        assert_eq!(checkpoints.load(&after, "means", |_| true).await.expect("loaded"), state);
        assert_eq!(checkpoints.list().await.expect("a list").len(), 2, "the savepoint stays");
    });
    assert_eq!(folder.list("state/jobs/bars/0f3c/0000000000"), [""; 0]);
}

#[test]
fn sealed_state_of_format_1_opens_with_its_key() {
    let folder = Folder::new();
    copy(&fixtures().join("v1-sealed"), &folder.path("state"));
    let key = folder.write("key", "11".repeat(32));
    let open = |key| Store::open(folder.path("state").to_str().expect("text"), &BTreeMap::new(), key).expect("a store");
    wait(async {
        let checkpoints = Checkpoints::new(open(Some(key.as_path())), "bars", "0f3c");
        let manifest = checkpoints.latest(false).await.expect("whole").manifest.expect("one");
        let state = checkpoints.load(&manifest, "ticks", |_| true).await.expect("loaded").expect("there");
        assert_eq!(shown(&state), map(&[("0/ticks-0", "42")]));
        let error = Checkpoints::new(open(None), "bars", "0f3c").latest(true).await.expect_err("no key");
        assert!(error.exit_code() == 5 && error.to_string().contains("encryption_key_file"), "{error}");
    });
}

#[test]
fn damaged_and_foreign_files_are_refused_in_words() {
    let read = |name: &str| {
        let path = fixtures().join("bad").join(name);
        Snapshot::decode(&std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    };
    assert_eq!(shown(&read("good.state").expect("decoded")), map(&[("1/A", "1")]));
    for (name, part, code) in [
        ("cut-header.state", "cut short", 1),
        ("cut-section.state", "cut short", 1),
        ("flipped-header.state", "header is damaged", 1),
        ("flipped-section.state", "key group 1 is damaged", 1),
        ("longer.state", "more in it", 1),
        ("wrong-magic.state", "no state file of tapeflow", 1),
        ("empty.state", "cut short", 1),
        ("newer.state", "format version 7, and this release", 5),
    ] {
        let error = read(name).expect_err(name);
        assert!(error.to_string().contains(part) && error.exit_code() == code, "{name}: {error}");
    }
}
