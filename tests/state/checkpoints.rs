//! Checkpoints written, found again, loaded by any number of workers, folded, pruned, rewritten.

use tapeflow::Error;
use tapeflow::state::{Bounds, Checkpoints, Generation, Manifest, Snapshot, Store};

use super::{files, make, manifest, map, shown, snapshot, wait};

fn checkpoints() -> Checkpoints {
    Checkpoints::new(Store::in_memory().expect("a store"), "a", "1")
}

async fn latest(checkpoints: &Checkpoints) -> Manifest {
    checkpoints.latest(true).await.expect("a checkpoint").manifest.expect("one")
}

async fn loaded(checkpoints: &Checkpoints, manifest: &Manifest) -> Snapshot {
    checkpoints.load(manifest, "means", |_| true).await.expect("loaded").expect("there")
}

/// Three checkpoints: a base and two deltas.
async fn three(checkpoints: &Checkpoints) -> Manifest {
    let base = snapshot(true, &[(1, &[("A", "a1"), ("B", "b1")]), (2, &[("C", "c1")]), (3, &[])]);
    let first = make(checkpoints, 0, 1, &[], &base).await.expect("made");
    let delta = snapshot(false, &[(1, &[("B", ""), ("A", "a2")]), (3, &[("D", "d2")])]);
    let second = make(checkpoints, 1, 1, files(&first), &delta).await.expect("made");
    let delta = snapshot(false, &[(1, &[("B", "b3")]), (2, &[("C", "")])]);
    make(checkpoints, 2, 1, files(&second), &delta).await.expect("made")
}

#[test]
fn a_chain_of_deltas_becomes_the_state_it_tells_of() {
    wait(async {
        let checkpoints = checkpoints();
        let begun = checkpoints.latest(true).await.expect("nothing");
        assert_eq!((begun.manifest, begun.next), (None, 0));
        three(&checkpoints).await;
        let resume = checkpoints.latest(true).await.expect("a checkpoint");
        let newest = resume.manifest.expect("one");
        assert_eq!((newest.number, resume.next, resume.passed_over.len()), (2, 3, 0));
        let all = loaded(&checkpoints, &newest).await;
        assert!(all.full);
        assert_eq!(shown(&all), map(&[("1/A", "a2"), ("1/B", "b3"), ("3/D", "d2")]));
        // Earlier ones are still what they were.
        let list = checkpoints.list().await.expect("a list");
        assert_eq!(list.iter().map(|manifest| manifest.number).collect::<Vec<_>>(), [2, 1, 0]);
        let second = loaded(&checkpoints, &list[1]).await;
        assert_eq!(shown(&second), map(&[("1/A", "a2"), ("2/C", "c1"), ("3/D", "d2")]));
        assert_eq!(checkpoints.load(&newest, "others", |_| true).await.expect("none"), None);
    });
}

#[test]
fn any_number_of_workers_loads_what_any_number_has_written() {
    let entries: Vec<(u8, String)> = (0..100u8).map(|key| (key % 8, format!("K{key}"))).collect();
    let part = |full, wanted: &dyn Fn(u8) -> bool, value: &str| {
        let mut part = snapshot(full, &[]);
        for (group, key) in entries.iter().filter(|(group, _)| wanted(*group)) {
            let entry = snapshot(full, &[(*group, &[(key, value)])]).groups.remove(group).expect("a group");
            part.groups.entry(*group).or_default().extend(entry);
        }
        part
    };
    wait(async {
        let checkpoints = checkpoints();
        let mut written = Vec::new();
        // Three workers write a base, two go on with deltas of half of the groups.
        for worker in 0..3u8 {
            let state = part(true, &|group| group % 3 == worker, "old");
            written.push(checkpoints.write_state(0, 1, "means", worker.into(), state.encode()).await.expect("written"));
        }
        for worker in 0..2u8 {
            let state = part(false, &|group| group < 4 && group % 2 == worker, "new");
            written.push(checkpoints.write_state(1, 2, "means", worker.into(), state.encode()).await.expect("written"));
        }
        let manifest = manifest(&checkpoints, 1, 2, written);
        checkpoints.commit(&manifest).await.expect("made");
        for workers in 1..=5u8 {
            let mut seen = std::collections::BTreeMap::new();
            for worker in 0..workers {
                let mine = |group: u8| group % workers == worker;
                let state = checkpoints.load(&manifest, "means", mine).await.expect("loaded").expect("there");
                assert!(state.groups.keys().all(|group| mine(*group)));
                seen.extend(shown(&state));
            }
            let value = |group: u8| if group < 4 { "new" } else { "old" };
            let expected = entries.iter().map(|(group, key)| (format!("{group}/{key}"), value(*group).to_string()));
            assert_eq!(seen, expected.collect(), "{workers} workers");
        }
    });
}

#[test]
fn nothing_is_committed_that_is_not_there() {
    wait(async {
        let checkpoints = checkpoints();
        let file = checkpoints.write_state(0, 1, "means", 0, snapshot(true, &[]).encode()).await.expect("written");
        let mut missing = file.clone();
        missing.path.push('x');
        let mut other_size = file.clone();
        other_size.size += 1;
        for wrong in [missing, other_size] {
            let error =
                checkpoints.commit(&manifest(&checkpoints, 0, 1, vec![wrong.clone()])).await.expect_err("missing");
            assert!(error.to_string().contains(&wrong.path), "{error}");
        }
        let good = manifest(&checkpoints, 0, 1, vec![file]);
        checkpoints.commit(&good).await.expect("made");
        checkpoints.commit(&good).await.expect("again: it may have been written before a time-out");
        let error =
            checkpoints.commit(&Manifest { boundary: 7, ..good.clone() }).await.expect_err("the number is taken");
        assert!(error.to_string().contains("there already"), "{error}");
        assert!(checkpoints.commit(&Manifest { job: "b".to_string(), number: 1, ..good }).await.is_err());
    });
}

#[test]
fn a_generation_that_was_replaced_cannot_commit_and_what_it_still_wrote_does_not_count() {
    wait(async {
        let store = Store::in_memory().expect("a store");
        let checkpoints = Checkpoints::new(store.clone(), "a", "1");
        let old = Generation::take(&store, "old", 1).await.expect("taken");
        let first =
            make(&checkpoints, 0, old.number, &[], &snapshot(true, &[(1, &[("A", "good")])])).await.expect("made");
        // The stalled process has written its files, and looked whether it may commit, when the other takes over.
        let late = snapshot(false, &[(1, &[("A", "late")])]);
        let late = checkpoints.write_state(1, old.number, "means", 0, late.encode()).await.expect("written");
        let late = manifest(&checkpoints, 1, old.number, vec![files(&first)[0].clone(), late]);

        let new = Generation::take(&store, "new", 1).await.expect("taken");
        let resume = checkpoints.latest(true).await.expect("a checkpoint");
        assert_eq!((resume.manifest.map(|manifest| manifest.number), resume.next), (Some(0), 2));
        checkpoints.resume_from(new.number, Some(0)).await.expect("written");
        let error = checkpoints.commit(&late).await.expect_err("taken over");
        assert!(matches!(&error, Error::Unsafe(text) if text.contains("generation 2 has taken over")), "{error}");
        // It wins the race nevertheless.
        let path = "jobs/a/1/0000000001/manifest.0000000001.json";
        store.put(path, late.encode().expect("bytes")).await.expect("written");
        assert_eq!(latest(&checkpoints).await.number, 0);
        assert_eq!(checkpoints.list().await.expect("a list").len(), 1);
        // The same number can still be used, and only this one counts.
        let delta = snapshot(false, &[(1, &[("B", "new")])]);
        make(&checkpoints, 1, new.number, files(&first), &delta).await.expect("made");
        let newest = latest(&checkpoints).await;
        assert_eq!(shown(&loaded(&checkpoints, &newest).await), map(&[("1/A", "good"), ("1/B", "new")]));
        // The next one goes on from there; what did not count is swept away.
        let third = Generation::take(&store, "third", 1).await.expect("taken");
        checkpoints.resume_from(third.number, Some(newest.number)).await.expect("written");
        checkpoints.prune(5).await.expect("pruned");
        assert_eq!(store.get(path).await.expect("read"), None);
        assert_eq!(latest(&checkpoints).await, newest);
    });
}

#[test]
fn pruning_keeps_what_is_named_what_is_saved_and_what_is_in_the_making() {
    wait(async {
        let store = Store::in_memory().expect("a store");
        let checkpoints = Checkpoints::new(store.clone(), "a", "1");
        let base = snapshot(true, &[(1, &[("A", "0")])]);
        let saved = checkpoints.write_state(0, 1, "means", 0, base.encode()).await.expect("written");
        let saved = Manifest { savepoint: true, ..manifest(&checkpoints, 0, 1, vec![saved]) };
        checkpoints.commit(&saved).await.expect("made");
        let mut last = make(&checkpoints, 1, 1, &[], &base).await.expect("made");
        for number in 2..6 {
            let delta = snapshot(false, &[(1, &[("A", &number.to_string())])]);
            last = make(&checkpoints, number, 1, files(&last), &delta).await.expect("made");
        }
        // A new chain, with an aborted checkpoint before it and one in the making after it.
        checkpoints.write_state(6, 1, "means", 0, base.encode()).await.expect("written");
        last = make(&checkpoints, 7, 1, &[], &snapshot(true, &[(1, &[("A", "7")])])).await.expect("made");
        let making = checkpoints.write_state(8, 1, "means", 0, base.encode()).await.expect("written");

        let pruned = checkpoints.prune(2).await.expect("pruned");
        assert_eq!((pruned.checkpoints, pruned.files), (vec![4, 3, 2, 1], 1), "5 still needs the whole first chain");
        let numbers = |list: Vec<Manifest>| list.into_iter().map(|manifest| manifest.number).collect::<Vec<_>>();
        assert_eq!(numbers(checkpoints.list().await.expect("a list")), [7, 5, 0]);
        for manifest in checkpoints.list().await.expect("a list") {
            assert_eq!(checkpoints.verify(&manifest).await.expect("read"), [""; 0]);
        }
        let pruned = checkpoints.prune(0).await.expect("pruned");
        assert_eq!((pruned.checkpoints, pruned.files), (vec![5], 5));
        assert!(pruned.bytes > 0);
        assert_eq!(numbers(checkpoints.list().await.expect("a list")), [7, 0]);
        assert!(store.get(&making.path).await.expect("read").is_some());
        let again = checkpoints.prune(1).await.expect("pruned");
        assert!(again.checkpoints.is_empty() && again.files == 0);
        assert_eq!(latest(&checkpoints).await, last);
    });
}

#[test]
fn a_savepoint_stays_where_a_job_goes_on_from_an_earlier_one() {
    wait(async {
        let store = Store::in_memory().expect("a store");
        let checkpoints = Checkpoints::new(store.clone(), "a", "1");
        let mut chain = Vec::new();
        for number in 1..=5 {
            let state = snapshot(number == 1, &[(1, &[("A", &number.to_string())])]);
            chain.push(checkpoints.write_state(number, 1, "means", 0, state.encode()).await.expect("written"));
            let savepoint = number == 2 || number == 5;
            let made = Manifest { savepoint, ..manifest(&checkpoints, number, 1, chain.clone()) };
            checkpoints.commit(&made).await.expect("made");
        }
        let numbers = |list: Vec<Manifest>| list.into_iter().map(|manifest| manifest.number).collect::<Vec<_>>();
        let greatest = || Checkpoints::greatest_number(&store, "a");
        for generation in [2, 3] {
            checkpoints.resume_from(generation, Some(2)).await.expect("written");
            assert_eq!(latest(&checkpoints).await.number, 2, "nobody goes on from 5 unasked");
            checkpoints.prune(1).await.expect("pruned");
            assert_eq!(numbers(checkpoints.list().await.expect("a list")), [5, 2, 1]);
            assert_eq!(greatest().await.expect("read"), 5, "the next one is 6");
        }
        let list = checkpoints.list().await.expect("a list");
        assert_eq!(checkpoints.verify(&list[0]).await.expect("read"), [""; 0]);
        assert_eq!(shown(&loaded(&checkpoints, &list[0]).await), map(&[("1/A", "5")]));
        checkpoints.resume_from(4, Some(5)).await.expect("written");
        assert_eq!(latest(&checkpoints).await.number, 5, "asked, one does");
        checkpoints.prune_with_savepoints(1).await.expect("pruned");
        assert_eq!(numbers(checkpoints.list().await.expect("a list")), [5]);
        assert_eq!(
            (greatest().await.expect("read"), Checkpoints::greatest_number(&store, "b").await.expect("read")),
            (5, 0)
        );
    });
}

#[test]
fn a_chain_begins_anew_with_a_full_state() {
    wait(async {
        let store = Store::in_memory().expect("a store");
        let checkpoints = Checkpoints::new(store.clone(), "a", "1");
        three(&checkpoints).await;
        let full = snapshot(true, &[(2, &[("E", "e4")])]);
        let next = make(&checkpoints, 3, 1, &[], &full).await.expect("made");
        assert_eq!(shown(&loaded(&checkpoints, &next).await), [("2/E".to_string(), "e4".to_string())].into());
        // Now the old chain is of no use.
        assert_eq!(checkpoints.prune(1).await.expect("pruned").files, 3);
        assert_eq!(latest(&checkpoints).await, next);
    });
}

#[test]
fn chains_are_too_long_by_their_files_or_when_they_outgrow_their_base() {
    let file = |number: u64, worker: usize, size| tapeflow::state::FileRef {
        path: format!("jobs/a/1/{number:010}/means.{worker}.1.state"),
        size,
        xxh3: 0,
    };
    let passed = |sizes: &[(u64, usize, u64)], workers| {
        let files = sizes.iter().map(|(number, worker, size)| file(*number, *worker, *size)).collect();
        let state = tapeflow::state::NodeState { files, ..Default::default() };
        Bounds { files: 3, growth: 1.0, small: 1000 }.are_passed(&state, workers)
    };
    assert!(!passed(&[], 1) && !passed(&[(0, 0, 1 << 40)], 1));
    assert!(!passed(&[(0, 0, 1), (1, 0, 1), (2, 0, 1)], 1) && passed(&[(0, 0, 1), (1, 0, 1), (2, 0, 1), (3, 0, 1)], 1));
    assert!(!passed(&[(0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 1)], 2), "two workers write two files each time");
    assert!(!passed(&[(0, 0, 100), (1, 0, 800)], 1), "small");
    assert!(!passed(&[(0, 0, 600), (0, 1, 600), (1, 0, 1100)], 2) && passed(&[(0, 0, 600), (1, 0, 700)], 1));
}

#[test]
fn state_of_two_versions_is_not_mixed() {
    wait(async {
        let checkpoints = checkpoints();
        let base = snapshot(true, &[(1, &[("A", "1")])]);
        let first = make(&checkpoints, 0, 1, &[], &base).await.expect("made");
        let delta = Snapshot { version: 2, full: false, ..base.clone() };
        let mixed = make(&checkpoints, 1, 1, files(&first), &delta).await.expect("made");
        let error = checkpoints.load(&mixed, "means", |_| true).await.expect_err("mixed");
        assert_eq!(error.exit_code(), 5, "{error}");
        assert!(error.to_string().contains("version 1") && error.to_string().contains("version 2"), "{error}");
        // A full one of the new version stands by itself.
        let full = Snapshot { version: 2, ..base.clone() };
        let full = make(&checkpoints, 2, 1, files(&first), &full).await.expect("made");
        assert_eq!(loaded(&checkpoints, &full).await.version, 2);
        let other = Snapshot { kind: "window".to_string(), ..base };
        let other = make(&checkpoints, 3, 1, files(&first), &other).await.expect("made");
        assert!(checkpoints.load(&other, "means", |_| true).await.is_err());
    });
}

#[test]
fn rewritten_checkpoints_say_the_same() {
    wait(async {
        let checkpoints = checkpoints();
        three(&checkpoints).await;
        let untouched = checkpoints.migrate(false).await.expect("looked at");
        assert_eq!((untouched.rewritten, untouched.left), (vec![], vec![2, 1, 0]));
        let before = checkpoints.list().await.expect("a list");
        let migrated = checkpoints.migrate(true).await.expect("rewritten");
        assert_eq!((migrated.rewritten, migrated.damaged.len()), (vec![2, 1, 0], 0));
        let after = checkpoints.list().await.expect("a list");
        for (old, new) in before.iter().zip(&after) {
            assert_eq!((old.number, old.boundary, files(new).len()), (new.number, new.boundary, 1));
            assert_eq!(loaded(&checkpoints, old).await, loaded(&checkpoints, new).await);
        }
        assert_eq!(checkpoints.prune(3).await.expect("pruned").files, 3, "the old chain");
        assert_eq!(latest(&checkpoints).await, after[0]);
    });
}

#[test]
fn all_of_a_job_can_be_removed_and_nothing_else() {
    wait(async {
        let store = Store::in_memory().expect("a store");
        let (one, other) = (Checkpoints::new(store.clone(), "a", "1"), Checkpoints::new(store.clone(), "a", "10"));
        three(&one).await;
        three(&other).await;
        let all = Checkpoints::all(&store).await.expect("a list");
        assert_eq!(all.iter().map(|one| one.id()).collect::<Vec<_>>(), ["1", "10"]);
        one.remove_all().await.expect("removed");
        assert_eq!(one.latest(true).await.expect("nothing").manifest, None);
        assert_eq!(latest(&other).await.number, 2);
    });
}

#[test]
fn all_that_waits_can_be_given_to_other_threads() {
    fn sent<T: Send>(future: T) -> T {
        future
    }
    let checkpoints = checkpoints();
    wait(sent(async move {
        let manifest = three(&checkpoints).await;
        sent(checkpoints.load(&manifest, "means", |group| group > 1)).await.expect("loaded");
        sent(checkpoints.latest(true)).await.expect("a checkpoint");
        sent(checkpoints.migrate(true)).await.expect("rewritten");
        sent(checkpoints.prune(1)).await.expect("pruned");
    }));
}
