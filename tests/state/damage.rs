//! Damaged files: seen, named, passed over; and no bytes whatever make reading them panic.

use rand::{Rng, RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use tapeflow::Error;
use tapeflow::state::{Checkpoints, FileRef, Manifest, Snapshot, Store};

use super::{files, make, map, shown, snapshot, wait};

const SEED: u64 = 0x7461_7065_666c_6f77;

async fn two(store: &Store) -> (Checkpoints, Manifest, Manifest) {
    let checkpoints = Checkpoints::new(store.clone(), "a", "1");
    let first = make(&checkpoints, 0, 1, &[], &snapshot(true, &[(1, &[("A", "first")])])).await.expect("made");
    let second = snapshot(false, &[(1, &[("A", "second")])]);
    let second = make(&checkpoints, 1, 1, files(&first), &second).await.expect("made");
    (checkpoints, first, second)
}

/// Ways to damage a file.
async fn damage(store: &Store, path: &str, way: usize) {
    let mut bytes = store.get(path).await.expect("read").expect("there");
    let middle = bytes.len() / 2;
    match way {
        0 => return store.delete(path).await.expect("removed"),
        1 => bytes.truncate(middle),
        2 => bytes[middle] ^= 4,
        3 => bytes.clear(),
        4 => bytes.push(b'x'),
        _ => bytes.fill(0),
    }
    store.put(path, bytes).await.expect("written");
}

const WAYS: usize = 6;

#[test]
fn a_damaged_checkpoint_is_passed_over_and_named() {
    for way in 0..WAYS {
        for of_manifest in [false, true] {
            wait(async {
                let store = Store::in_memory().expect("a store");
                let (checkpoints, first, second) = two(&store).await;
                let path = match of_manifest {
                    true => "jobs/a/1/0000000001/manifest.0000000001.json".to_string(),
                    false => files(&second)[1].path.clone(),
                };
                damage(&store, &path, way).await;
                let resume = checkpoints.latest(true).await.expect("the one before");
                assert_eq!((resume.manifest.as_ref(), resume.next), (Some(&first), 2));
                let state = checkpoints.load(&first, "means", |_| true).await.expect("loaded").expect("there");
                assert_eq!(shown(&state), map(&[("1/A", "first")]));
                // A manifest that is gone was never there.
                if of_manifest && way == 0 {
                    assert!(resume.passed_over.is_empty());
                    return;
                }
                let told = resume.passed_over.join("\n");
                assert!(told.contains("checkpoint 1 of job `a`") && told.contains(&path), "{told}");
                let error = checkpoints.latest(false).await.expect_err("not to be passed over");
                assert!(error.exit_code() == 5 && error.to_string().contains(&path), "{error}");
            });
        }
    }
}

#[test]
fn a_damaged_base_damages_all_that_build_on_it_and_nobody_begins_anew_by_accident() {
    for way in 0..WAYS {
        wait(async {
            let store = Store::in_memory().expect("a store");
            let (checkpoints, first, second) = two(&store).await;
            damage(&store, &files(&first)[0].path, way).await;
            let error = checkpoints.latest(true).await.expect_err("nothing is whole");
            let told = error.to_string();
            assert!(error.exit_code() == 5 && told.contains("no checkpoint of job `a`"), "{told}");
            assert!(told.contains("checkpoint 0") && told.contains("checkpoint 1"), "{told}");
            let loaded = checkpoints.load(&second, "means", |_| true).await.expect_err("damaged");
            assert!(loaded.to_string().contains(&files(&first)[0].path), "{loaded}");
            assert_eq!(checkpoints.verify(&second).await.expect("read").len(), 1);
        });
    }
}

#[test]
fn a_damaged_newest_manifest_does_not_let_pruning_take_what_it_named() {
    wait(async {
        let store = Store::in_memory().expect("a store");
        let (checkpoints, first, second) = two(&store).await;
        make(&checkpoints, 2, 1, files(&first), &snapshot(false, &[])).await.expect("made");
        damage(&store, "jobs/a/1/0000000001/manifest.0000000001.json", 2).await;
        checkpoints.prune(3).await.expect("pruned");
        assert!(store.get(&files(&second)[1].path).await.expect("read").is_some());
        // Once it is older than all that are kept, it goes with what it named.
        checkpoints.prune(1).await.expect("pruned");
        assert!(store.get(&files(&second)[1].path).await.expect("read").is_none());
        assert_eq!(checkpoints.latest(false).await.expect("whole").manifest.expect("one").number, 2);
    });
}

#[test]
fn state_of_a_newer_release_is_refused_and_never_passed_over() {
    wait(async {
        let store = Store::in_memory().expect("a store");
        let (checkpoints, _, second) = two(&store).await;
        let newer = Manifest { format: 2, number: 2, ..second };
        let path = "jobs/a/1/0000000002/manifest.0000000001.json";
        store.put(path, newer.encode().expect("bytes")).await.expect("written");
        for result in [checkpoints.latest(true).await.map(drop), checkpoints.prune(1).await.map(drop)] {
            let error = result.expect_err("newer");
            assert!(matches!(&error, Error::Unsafe(text) if text.contains(path)), "{error}");
            assert!(error.to_string().contains("version 2") && error.to_string().contains("up to 1"), "{error}");
        }
    });
}

fn random_snapshot(random: &mut Xoshiro256PlusPlus) -> Snapshot {
    let mut snapshot = snapshot(random.random(), &[]);
    for _ in 0..random.random_range(0..6) {
        let entries = (0..random.random_range(0..20)).map(|_| {
            let mut bytes = |most| {
                // Some of it can be compressed.
                let mut bytes = vec![7; random.random_range(0..most)];
                let from = random.random_range(0..=bytes.len());
                random.fill_bytes(&mut bytes[from..]);
                bytes
            };
            let (key, value) = (bytes(12), bytes(300));
            tapeflow::state::Entry { key, value: Some(value).filter(|value| value.len() > 20) }
        });
        let entries = entries.collect();
        snapshot.groups.insert(random.random(), entries);
    }
    snapshot
}

#[test]
fn snapshots_come_back_as_they_were() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
    for _ in 0..500 {
        let snapshot = random_snapshot(&mut random);
        let bytes = snapshot.encode();
        assert_eq!(Snapshot::decode(&bytes).expect("decoded"), snapshot);
        let some = Snapshot::decode_groups(&bytes, |group| group < 100).expect("decoded");
        let wanted: Vec<_> = snapshot.groups.iter().filter(|(group, _)| **group < 100).collect();
        assert_eq!(some.groups.iter().collect::<Vec<_>>(), wanted);
    }
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_snapshot_is_seen() {
    let entries: Vec<(String, String)> = (0..40).map(|key| (format!("K{key}"), format!("{key}").repeat(9))).collect();
    let entries: Vec<(&str, &str)> = entries.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let bytes = snapshot(true, &[(1, &entries), (2, &[("A", "")]), (3, &[])]).encode();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            assert!(Snapshot::decode(&bytes).is_err(), "bit {bit} of byte {at}");
        }
        assert!(Snapshot::decode(&bytes[..at]).is_err(), "cut at {at}");
    }
    assert!(Snapshot::decode(&[bytes.as_slice(), b"x"].concat()).is_err());
}

/// Puts the right checksums where they belong, so that what is behind them is reached.
fn healed(mut bytes: Vec<u8>) -> Vec<u8> {
    let Some(length) = bytes.get(10..14).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes) else {
        return bytes;
    };
    let end = 22usize.saturating_add(length as usize).min(bytes.len());
    if bytes.len() >= 22 {
        let covered = [&bytes[..14], &bytes[22..end]].concat();
        bytes[14..22].copy_from_slice(&xxhash_rust::xxh3::xxh3_64(&covered).to_le_bytes());
    }
    bytes
}

#[test]
fn no_bytes_make_decoding_panic() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let (mut read, mut refused) = (0, 0);
    for round in 0..20_000 {
        let mut bytes = match round % 3 {
            0 => {
                let mut bytes = vec![0; random.random_range(0..200)];
                random.fill_bytes(&mut bytes);
                bytes
            }
            _ => random_snapshot(&mut random).encode(),
        };
        for _ in 0..random.random_range(0..4) {
            if bytes.is_empty() {
                break;
            }
            let at = random.random_range(0..bytes.len().min(if round % 2 == 0 { 60 } else { usize::MAX }));
            match random.random_range(0..4) {
                0 => bytes[at] = random.random(),
                1 => bytes[at] ^= 1 << random.random_range(0..8),
                2 => bytes.truncate(at),
                _ => bytes.insert(at, random.random()),
            }
        }
        let bytes = if round % 5 < 3 { healed(bytes) } else { bytes };
        match Snapshot::decode(&bytes) {
            Ok(snapshot) => {
                read += 1;
                assert!(Snapshot::merge([snapshot]).is_ok());
            }
            Err(_) => refused += 1,
        }
        let _ = Manifest::decode(&bytes);
    }
    assert!(read > 500 && refused > 5000, "{read} read, {refused} refused");
}

#[test]
fn manifests_that_are_not_what_they_should_be_are_refused() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let file = FileRef { path: "jobs/a/1/0000000000/n.0.1.state".to_string(), size: 1, xxh3: 2 };
    let checkpoints = Checkpoints::new(Store::in_memory().expect("a store"), "a", "1");
    let good = super::manifest(&checkpoints, 0, 1, vec![file]);
    let bytes = good.encode().expect("bytes");
    for _ in 0..20_000 {
        let mut bytes = bytes.clone();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..bytes.len());
            match random.random_range(0..3) {
                0 => bytes[at] = random.random(),
                1 => bytes.insert(at, b"{}[]\",:0"[random.random_range(0..8)]),
                _ => drop(bytes.remove(at)),
            }
        }
        if let Ok(read) = Manifest::decode(&bytes) {
            assert_eq!(read, good);
        }
    }
}
