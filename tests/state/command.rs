//! `tapeflow checkpoint` as its users see it.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use tapeflow::state::{Checkpoints, Manifest, Store};

use super::{files, make, manifest, snapshot, wait};
use crate::support::Folder;

/// A folder with the state of two jobs: `a` with four checkpoints, of which one is a savepoint, and `b` with one.
fn state() -> Folder {
    let folder = Folder::new();
    let store = Store::open(folder.path("state").to_str().expect("text"), &BTreeMap::new(), None).expect("a store");
    wait(async {
        let a = Checkpoints::new(store.clone(), "a", "1");
        let base =
            a.write_state(0, 1, "means", 0, snapshot(true, &[(1, &[("A", "0")])]).encode()).await.expect("written");
        a.commit(&Manifest { savepoint: true, ..manifest(&a, 0, 1, vec![base.clone()]) }).await.expect("made");
        let mut chain = vec![base];
        for number in 1..4 {
            let delta = snapshot(false, &[(1, &[("A", &number.to_string())])]);
            chain = files(&make(&a, number, 1, &chain, &delta).await.expect("made")).to_vec();
        }
        let b = Checkpoints::new(store, "b", "2");
        make(&b, 0, 1, &[], &snapshot(true, &[(1, &[("B", "0")])])).await.expect("made");
    });
    folder
}

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn numbers(folder: &Folder, job: &str) -> Vec<u64> {
    let ended = folder.tapeflow(&["checkpoint", "list", job, "--state", "state", "--json"]).with_code(0);
    let list = json(&ended.stdout);
    list["checkpoints"].as_array().expect("a list").iter().map(|one| one["number"].as_u64().expect("one")).collect()
}

#[test]
fn checkpoints_are_listed_verified_and_pruned() {
    let folder = state();
    let ended = folder.tapeflow(&["checkpoint", "list", "--state", "state"]).with_code(0);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), 6, "{}", ended.stdout);
    assert!(lines[1].starts_with(" a ") && lines[4].ends_with("savepoint") && lines[5].starts_with(" b "), "{lines:?}");
    assert_eq!(numbers(&folder, "a"), [3, 2, 1, 0]);

    // The place may stand in the settings or in the environment.
    folder.write("tapeflow.toml", "state = \"state\"\n");
    let ended = folder.tapeflow(&["checkpoint", "verify", "--json"]).with_code(0);
    let verified = json(&ended.stdout);
    assert_eq!(verified["checkpoints"].as_array().map(Vec::len), Some(5));
    assert_eq!(verified["checkpoints"][0]["nodes"]["means"]["kind"], "indicators");
    let environment = [("TAPEFLOW_STATE", "nothing-here")];
    let ended = folder.tapeflow_with(&["checkpoint", "list", "--json"], &environment).with_code(0);
    assert_eq!(json(&ended.stdout)["checkpoints"], Json::Array(vec![]));

    let ended = folder.tapeflow(&["checkpoint", "migrate", "a", "--all"]).with_code(0);
    assert!(ended.stdout.contains("a: 4 rewritten, 0 of the newest format"), "{}", ended.stdout);
    let ended = folder.tapeflow(&["checkpoint", "prune", "a", "--keep", "1"]).with_code(0);
    assert!(ended.stdout.contains("a: 2 checkpoints, 6 files, "), "{}", ended.stdout);
    assert_eq!((numbers(&folder, "a"), numbers(&folder, "b")), (vec![3, 0], vec![0]));
    folder.tapeflow(&["checkpoint", "verify"]).with_code(0);
    folder.tapeflow(&["checkpoint", "prune", "a", "--keep", "1", "--savepoints"]).with_code(0);
    assert_eq!(numbers(&folder, "a"), [3], "asked for, the savepoint goes too");
}

#[test]
fn damage_is_named_with_its_file() {
    let folder = state();
    let damaged = "state/jobs/a/1/0000000002/means.0.1.state";
    let mut bytes = std::fs::read(folder.path(damaged)).expect("a file");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    folder.write(damaged, bytes);
    folder.write("state/jobs/b/2/0000000000/manifest.0000000001.json", "{}");
    let ended = folder.tapeflow(&["checkpoint", "verify", "--state", "state"]).with_code(5);
    assert!(ended.stdout.contains("a 3: damaged") && ended.stdout.contains("a 1: whole"), "{}", ended.stdout);
    for part in ["jobs/a/1/0000000002/means.0.1.state", "jobs/b/2/0000000000/manifest", "checkpoint 3 of job `a`"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    let ended = folder.tapeflow(&["checkpoint", "verify", "--state", "state", "--json"]).with_code(5);
    assert_eq!(json(&ended.stdout)["damaged"].as_array().map(Vec::len), Some(3));
    let ended = folder.tapeflow(&["checkpoint", "list", "--state", "state"]).with_code(0);
    assert!(ended.stderr.contains("jobs/b/2/0000000000/manifest"), "{}", ended.stderr);
    let ended = folder.tapeflow(&["checkpoint", "migrate", "--all", "--state", "state"]).with_code(5);
    assert!(ended.stdout.contains("a: 2 rewritten"), "{}", ended.stdout);
}

#[test]
fn what_is_not_there_is_told() {
    let folder = state();
    let ended = folder.tapeflow(&["checkpoint", "list"]).with_code(2);
    assert!(ended.stderr.contains("--state") && ended.stderr.contains("TAPEFLOW_STATE"), "{}", ended.stderr);
    let ended = folder.tapeflow(&["checkpoint", "verify", "c", "--state", "state"]).with_code(7);
    assert!(ended.stderr.contains("`c`"), "{}", ended.stderr);
    folder.tapeflow(&["checkpoint", "prune", "--keep", "0", "--state", "state"]).with_code(2);
    folder.write("key", "22".repeat(32));
    let arguments = ["checkpoint", "list", "--state", "state", "--encryption-key-file", "key"];
    let ended = folder.tapeflow(&arguments).with_code(5);
    assert!(ended.stderr.contains("begun without encryption"), "{}", ended.stderr);
}
