//! Records that cannot be used: counted, kept with their bytes, put back.

use serde_json::json;

use super::topics::{Flow, START, Topic, Written, brokers, said, source, tapeflow, ticks, to_file};
use crate::support::cluster::Cluster;

/// Good ticks, and between them everything that can be wrong with a message; how many of each.
fn mixed() -> (Vec<Written>, usize, usize) {
    let bad = [
        Written::new(0, "S0", "{\"symbol\": \"S0\","),
        Written::new(1, "S1", "not json"),
        Written::new(2, "S2", ""),
        Written::new(0, "S0", "[]"),
        Written::new(1, "S1", [0xff, 0xfe, b'{'].to_vec()),
        Written { payload: None, ..Written::new(2, "S2", "") },
        // It lacks its key.
        Written::new(0, "S0", json!({ "timestamp": START, "price": 1 }).to_string()),
        // It lacks its time.
        Written::new(1, "S1", json!({ "symbol": "S1", "price": 1 }).to_string()),
        Written::new(2, "S2", json!({ "symbol": "S2", "timestamp": START, "price": "much" }).to_string()),
        Written::new(0, "S0", json!({ "symbol": "S0", "timestamp": 9e30, "price": 1 }).to_string()),
        Written { key: None, ..Written::new(1, "", "{}") },
    ];
    let good = ticks(300, 3, 3);
    let mut all = Vec::new();
    for (at, message) in good.iter().enumerate() {
        all.push(message.clone());
        all.extend(bad.get(at / 10).filter(|_| at % 10 == 0).cloned());
    }
    (all, good.len(), bad.len())
}

#[test]
fn bad_records_become_dead_letters_in_a_folder_and_can_be_put_back() {
    let topic = Topic::new(3);
    let (messages, good, bad) = mixed();
    topic.write(&messages);
    let flow = Flow::new(&(source(&topic.name, "") + &to_file("ticks")));
    let totals = flow.run(2)["totals"].clone();
    assert_eq!((totals["rows_in"].as_u64(), totals["dead_letters"].as_u64()), (Some(good as u64), Some(bad as u64)));
    assert_eq!(flow.rows("out.jsonl").len(), good);
    let letters = flow.rows(&format!("dead-letters/{}.jsonl", flow.job));
    assert_eq!(letters.len(), bad);
    let tombstones = letters.iter().filter(|letter| letter.get("payload").is_none()).count();
    assert_eq!(tombstones, 1);
    let without_key = letters.iter().filter(|letter| letter.get("key").is_none()).count();
    assert_eq!(without_key, 1);

    let folder = flow.folder.path();
    let listed = tapeflow(folder, &["dead-letters", "list", "flow.toml"]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), bad, "{}", said(&listed));
    for expected in [format!("{bad} put back into {}", topic.name), "nothing to put back".to_string()] {
        let output = tapeflow(folder, &["dead-letters", "replay", "flow.toml"]);
        assert!(output.status.success() && said(&output).contains(&expected), "{}", said(&output));
    }
    let after = topic.read();
    assert_eq!(after.len(), messages.len() + bad);
    for letter in
        messages.iter().filter(|message| message.payload.as_deref() == Some(b"not json") || message.payload.is_none())
    {
        let same = |other: &&Written| (&other.key, &other.payload) == (&letter.key, &letter.payload);
        assert_eq!(after.iter().filter(same).count(), 2);
    }
}

#[test]
fn bad_records_become_dead_letters_in_a_topic_with_their_bytes() {
    let (topic, dead) = (Topic::new(3), Topic::new(1));
    let (messages, good, bad) = mixed();
    topic.write(&messages);
    let settings = format!("dead_letters = {{ kafka = \"{}\" }}", dead.name);
    let flow = Flow::with(&(source(&topic.name, "") + &to_file("ticks")), &settings);
    assert_eq!(flow.run(3)["totals"]["rows_in"], good);
    let letters = dead.read();
    assert_eq!(letters.len(), bad);
    let place = |message: &Written| {
        let number = |name: &str| message.headers[name].parse::<usize>().expect("a number");
        (number("source_partition"), number("source_offset"))
    };
    for letter in &letters {
        let (partition, offset) = place(letter);
        let original = messages.iter().filter(|message| message.partition as usize == partition).nth(offset);
        let original = original.expect("the message it came from");
        assert_eq!((&letter.key, &letter.payload), (&original.key, &original.payload));
        assert_eq!(letter.headers["source_topic"], topic.name);
        assert_eq!(letter.headers["job"], flow.job);
        assert!(!letter.headers["reason"].is_empty() && letter.headers.contains_key("source_timestamp"));
    }
    let output = tapeflow(flow.folder.path(), &["dead-letters", "replay", "flow.toml"]);
    assert!(said(&output).contains(&format!("{bad} put back into {}", topic.name)), "{}", said(&output));
    let output = tapeflow(flow.folder.path(), &["dead-letters", "replay", "flow.toml"]);
    assert!(said(&output).contains("nothing to put back"), "{}", said(&output));
}

#[test]
fn all_dead_letters_are_in_their_topic_when_a_job_of_a_cluster_is_done() {
    let (topic, dead) = (Topic::new(3), Topic::new(1));
    let (messages, good, bad) = mixed();
    topic.write(&messages);
    let cluster = Cluster::start(2, 1);
    // The client would wait for company until long after the end of the job.
    let header = format!(
        "version = 1\nname = \"letters\"\n[job]\ndead_letters = {{ kafka = \"{}\" }}\n\
         [kafka]\nbrokers = \"{}\"\nproperties = {{ \"linger.ms\" = 60000 }}\n",
        dead.name,
        brokers()
    );
    cluster.file("letters.toml", &(header + &source(&topic.name, "") + &to_file("ticks")));
    cluster.cli(0, &["submit", "letters.toml", "--wait"]).with(0);
    assert_eq!(dead.read().len(), bad);
    let job = cluster.job(1, "letters");
    assert_eq!((&job["rows_out"], &job["nodes"][0]["dead_letters"]), (&good.into(), &bad.into()));
}

#[test]
fn bad_records_may_be_skipped_or_end_the_job() {
    let topic = Topic::new(3);
    let (messages, good, bad) = mixed();
    topic.write(&messages);
    let flow = Flow::new(&(source(&topic.name, "on_error = \"skip\"") + &to_file("ticks")));
    let totals = flow.run(2)["totals"].clone();
    assert_eq!((totals["rows_in"].as_u64(), totals["skipped"].as_u64()), (Some(good as u64), Some(bad as u64)));
    let flow = Flow::new(&(source(&topic.name, "on_error = \"fail\"") + &to_file("ticks")));
    let output = flow.try_run(1);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains(&format!("{}, partition ", topic.name)), "{}", said(&output));
}
