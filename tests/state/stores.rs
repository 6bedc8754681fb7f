//! Folders and object stores do the same; what is sealed is read with its key only.

use std::collections::BTreeMap;
use std::path::Path;

use tapeflow::state::{Key, Store, Stored};

use super::wait;
use crate::support::Folder;

const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn in_folder(folder: &Folder, key_file: Option<&Path>) -> Store {
    Store::open(folder.path("state").to_str().expect("text"), &BTreeMap::new(), key_file).expect("a store")
}

fn paths(stored: Vec<Stored>) -> Vec<String> {
    stored.into_iter().map(|stored| stored.path).collect()
}

#[test]
fn all_stores_do_the_same() {
    let (plain, sealed) = (Folder::new(), Folder::new());
    let key = sealed.write("key", HEX);
    let memory = Store::in_memory().expect("a store");
    let sealed_memory =
        Store::over("memory", Box::new(object_store::memory::InMemory::new()), Some(Key::read(&key).expect("a key")));
    let prefixed = Store::open("memory:///a/prefix", &BTreeMap::new(), None).expect("a store");
    for store in [in_folder(&plain, None), in_folder(&sealed, Some(&key)), memory, sealed_memory, prefixed] {
        wait(async {
            assert_eq!(store.get("a/b").await.expect("nothing"), None, "{store}");
            assert_eq!(store.list("").await.expect("nothing"), []);
            store.delete("a/b").await.expect("nothing to remove");
            store.check().await.expect("it can be written");

            store.put("a/b", b"one".to_vec()).await.expect("written");
            store.put("a/b", b"two!".to_vec()).await.expect("replaced");
            assert!(!store.create("a/b", b"three".to_vec()).await.expect("there"));
            assert!(store.create("a/c/d", Vec::new()).await.expect("created"));
            store.put("ab", b"x".to_vec()).await.expect("written");
            assert_eq!(store.get("a/b").await.expect("read").as_deref(), Some(&b"two!"[..]), "{store}");
            assert_eq!(store.get("a/c/d").await.expect("read").as_deref(), Some(&b""[..]));

            let all = store.list("").await.expect("a list");
            let sizes: Vec<u64> = all.iter().map(|stored| stored.size).collect();
            assert_eq!((paths(all), sizes), (vec!["a/b".into(), "a/c/d".into(), "ab".into()], vec![4, 0, 1]));
            assert_eq!(paths(store.list("a").await.expect("a list")), ["a/b", "a/c/d"], "{store}: a folder, no prefix");
            store.delete("a/b").await.expect("removed");
            assert_eq!(paths(store.list("a").await.expect("a list")), ["a/c/d"]);
            store.sweep().await.expect("nothing is left over");
        });
    }
}

#[test]
fn large_objects_come_back_from_object_stores_whole() {
    let store = Store::in_memory().expect("a store");
    let mut large = vec![7; 65 << 20];
    (0..large.len()).step_by(1 << 20).for_each(|at| large[at] = (at >> 20) as u8);
    wait(async {
        store.put("large", large.clone()).await.expect("written");
        assert!(store.get("large").await.expect("read") == Some(large), "it is another one");
    });
}

#[test]
fn paths_lead_nowhere_else() {
    let folder = Folder::new();
    let store = in_folder(&folder, None);
    for path in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", ".hidden", "a/.b", "a\\b", "a b", "a\0b", "ä"] {
        let error = wait(store.put(path, vec![])).expect_err(path);
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(wait(store.get(path)).is_err() && wait(store.delete(path)).is_err());
    }
    assert!(wait(store.put("store.json", vec![])).is_err(), "what the store says of itself");
    assert_eq!(folder.list("."), [""; 0]);
}

#[test]
fn a_place_that_cannot_be_written_is_named_with_what_to_do() {
    let folder = Folder::new();
    folder.write("state", "a file");
    let error = wait(in_folder(&folder, None).put("a/b", vec![1])).expect_err("a file is no folder").to_string();
    let place = folder.path("state").display().to_string();
    assert!(error.contains(&place) && error.contains("a file stands where a folder is needed"), "{error}");
    for (location, options, part) in [
        ("", vec![], "name a folder"),
        ("ftp://host/x", vec![], "ftp://host/x"),
        ("s3://bucket/x", vec![("aws_regoin", "x")], "`aws_regoin` is no option"),
        ("gs://bucket/x", vec![("aws_region", "x")], "`aws_region` is no option"),
    ] {
        let options = options.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let error = Store::open(location, &options, None).expect_err(location);
        assert!(error.to_string().contains(part) && error.exit_code() == 2, "{error}");
    }
}

#[test]
fn object_stores_are_opened_with_their_own_options() {
    let options = [("aws_region", "eu-central-1"), ("endpoint", "http://127.0.0.1:9"), ("allow_http", "true")];
    let options = options.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let store = Store::open("s3://user:secret@bucket/market?x=secret", &options, None).expect("a store");
    assert!(!format!("{store} {store:?}").contains("secret"), "{store:?}");
}

#[test]
fn what_is_sealed_is_opened_with_its_key_only_and_refused_in_words() {
    let folder = Folder::new();
    let (key, other) = (folder.write("key", HEX), folder.write("other", [9; 32]));
    let sealed = in_folder(&folder, Some(&key));
    wait(sealed.put("a/secret", b"the price of tea".to_vec())).expect("written");
    let file = std::fs::read(folder.path("state/a/secret")).expect("a file");
    assert!(!String::from_utf8_lossy(&file).contains("price"));

    let refused = |store: Store, part: &str| {
        let results = [
            wait(store.get("a/secret")).map(drop),
            wait(store.put("a/new", vec![1])),
            wait(store.list("")).map(drop),
            wait(store.delete("a/secret")),
        ];
        for result in results {
            let error = result.expect_err("refused");
            assert!(error.to_string().contains(part) && error.exit_code() == 5, "{error}");
            assert!(error.to_string().contains(&folder.path("state").display().to_string()), "{error}");
        }
    };
    refused(in_folder(&folder, None), "no key was given: set `encryption_key_file`");
    refused(in_folder(&folder, Some(&other)), "it is encrypted with the key ");
    assert!(folder.path("state/a/secret").exists() && !folder.path("state/a/new").exists());

    // Also where nothing tells of the store as a whole any more.
    std::fs::remove_file(folder.path("state/store.json")).expect("removed");
    assert!(wait(in_folder(&folder, None).get("a/secret")).is_err());
    assert!(wait(in_folder(&folder, Some(&other)).get("a/secret")).is_err());

    // An object in another's place, and one that somebody put there unsealed.
    std::fs::copy(folder.path("state/a/secret"), folder.path("state/a/moved")).expect("copied");
    std::fs::write(folder.path("state/a/plain"), b"plain").expect("written");
    let error = wait(sealed.get("a/moved")).expect_err("moved").to_string();
    assert!(error.contains("a/moved") && error.contains("moved here"), "{error}");
    assert!(wait(sealed.get("a/plain")).expect_err("plain").to_string().contains("not encrypted"));
}

#[test]
fn a_store_begun_without_a_key_is_not_half_sealed() {
    let folder = Folder::new();
    let key = folder.write("key", HEX);
    wait(in_folder(&folder, None).put("a", vec![1])).expect("written");
    let error = wait(in_folder(&folder, Some(&key)).put("b", vec![1])).expect_err("begun without").to_string();
    assert!(error.contains("begun without encryption"), "{error}");
}

#[test]
fn a_key_shows_itself_nowhere() {
    let folder = Folder::new();
    let key = folder.write("key", HEX);
    let store = in_folder(&folder, Some(&key));
    assert!(!format!("{store} {store:?} {:?}", Key::read(&key)).contains("0102"));
    for (name, content) in [("short", "0102"), ("long", &HEX.repeat(2)), ("letters", &"x".repeat(64))] {
        let path = folder.write(name, content);
        let error = Key::read(&path).expect_err(name).to_string();
        assert!(error.contains(name) && error.contains("openssl rand -hex 32") && !error.contains(content), "{error}");
    }
    assert_eq!(Key::read(&folder.path("missing")).expect_err("missing").exit_code(), 2);
}
