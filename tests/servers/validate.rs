//! `validate --connect`: looks whether all is there that a dataflow file needs, and changes nothing.

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::cassandra::support::{Keyspace, server};
use super::topics::{Flow, PATIENCE, Topic, Written, config, name, said, source, tapeflow, ticks, to_file};

fn to_table(keyspace: &str, table: &str, more: &str) -> String {
    format!(
        "[sinks.{table}]\ntype = \"cassandra\"\ninput = \"ticks\"\ncontact_points = \"{}\"\nkeyspace = \"{keyspace}\"\n\
         table = \"{table}\"\npartition_key = \"symbol\"\nclustering_key = [\"timestamp\", \"seq\"]\n{more}\n",
        server()
    )
}

fn to_topic(node: &str, topic: &str, more: &str) -> String {
    format!("[sinks.{node}]\ntype = \"kafka\"\ninput = \"ticks\"\ntopic = \"{topic}\"\n{more}\n")
}

fn is_there(topic: &str) -> bool {
    let consumer: BaseConsumer = config().create().expect("a consumer");
    let all = consumer.fetch_metadata(None, PATIENCE).expect("the topics");
    all.topics().iter().any(|other| other.name() == topic)
}

#[test]
fn what_is_there_or_would_be_made_is_fine_and_nothing_is_changed() {
    let (keyspace, topic, made) = (Keyspace::new("looked"), Topic::new(2), name("made"));
    topic.write(&ticks(10, 4, 2));
    keyspace.cql(
        "CREATE TABLE KS.there (symbol text, timestamp timestamp, seq bigint, price double, volume int, \
         PRIMARY KEY ((symbol), timestamp, seq))",
    );
    let sinks = [
        to_table(&keyspace.name, "there", ""),
        to_table(&keyspace.name, "absent", "create = true"),
        to_topic("made", &made, "create = { partitions = 2 }"),
        to_file("ticks"),
        to_file("ticks").replace("sinks.out", "sinks.parts").replace("out.jsonl", "new/parts/"),
        to_file("ticks")
            .replace("sinks.out", "sinks.lake")
            .replace("\"file\"", "\"parquet\"")
            .replace("out.jsonl", "lake"),
    ];
    let flow = Flow::new(&(source(&topic.name, "") + &sinks.concat()));
    let folder = flow.folder.path();
    std::fs::write(folder.join("out.jsonl"), "kept").expect("written");
    let output = tapeflow(folder, &["validate", "--connect", "flow.toml"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output), "flow.toml: fine, and everything it connects to is there\n");
    assert_eq!(std::fs::read_to_string(folder.join("out.jsonl")).expect("a file"), "kept");
    assert_eq!(std::fs::read_dir(folder).expect("a folder").count(), 2);
    assert!(!is_there(&made) && is_there(&topic.name));
    let tables = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = 'KS'";
    assert_eq!(keyspace.rows::<(String,)>(tables), [("there".to_string(),)]);
}

#[test]
fn all_that_is_missing_or_does_not_fit_is_told_at_once() {
    let (keyspace, topic) = (Keyspace::new("missed"), Topic::new(1));
    keyspace.cql(
        "CREATE TABLE KS.unfit (symbol text, timestamp timestamp, seq bigint, price int, PRIMARY KEY (symbol, seq))",
    );
    let (absent, dead) = (name("absent"), name("dead"));
    let sinks = [
        to_table(&keyspace.name, "unfit", "create = true"),
        to_table(&keyspace.name, "absent", ""),
        to_topic("missing", &absent, ""),
        to_topic("nowhere", "any", "brokers = \"127.0.0.1:1\""),
        to_file("ticks").replace("out.jsonl", "flow.toml/out.jsonl"),
    ];
    let settings = format!("dead_letters = {{ kafka = \"{dead}\" }}");
    let more = source(&absent, "").replace("sources.ticks", "sources.more");
    let flow = Flow::with(&(source(&topic.name, "") + &more + &sinks.concat()), &settings);
    let output = tapeflow(flow.folder.path(), &["validate", "--connect", "flow.toml", "--json"]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    let list: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let expected = [
        format!("`more`: there is no topic `{absent}` at "),
        format!("`unfit`: table {}.unfit does not fit: its column `price` is int", keyspace.name),
        format!("`absent`: there is no table {}.absent", keyspace.name),
        format!("`missing`: there is no topic `{absent}` at "),
        "`nowhere`: no Kafka broker answers at 127.0.0.1:1".to_string(),
        "`out`: ".to_string(),
        format!("dead letters: there is no topic `{dead}` at "),
    ];
    assert_eq!(list.len(), expected.len(), "{list:?}");
    for (told, expected) in list.iter().zip(expected) {
        let message = told["message"].as_str().expect("a message");
        assert!(message.starts_with(&expected), "{message}, not {expected}");
        assert!(said(&output).contains(&format!("flow.toml: {message}")), "{}", said(&output));
    }
}

#[test]
fn keys_that_are_missing_where_they_matter_are_warned_of() {
    let without_keys = |partitions: i32| {
        let topic = Topic::new(partitions);
        let without = |message: Written| Written { key: None, ..message };
        topic.write(&ticks(10, 4, i64::from(partitions)).into_iter().map(without).collect::<Vec<_>>());
        // The last thing in the topic is then no message.
        topic.write_transaction(&[], true);
        topic
    };
    let keyed = Topic::new(3);
    keyed.write(&ticks(10, 4, 3));
    let spread = without_keys(3);
    for (topic, more, warned) in [
        (&spread, "", true),
        (&spread, "order = \"event_time\"", false),
        (&without_keys(1), "", false),
        (&keyed, "", false),
        (&Topic::new(3), "", false),
    ] {
        let flow = Flow::new(&(source(&topic.name, more) + &to_file("ticks")));
        let output = tapeflow(flow.folder.path(), &["validate", "--connect", "flow.toml"]);
        assert!(output.status.success(), "{}", said(&output));
        let told = said(&output).contains(&format!("topic {}: messages without a key are spread", topic.name));
        assert_eq!(told, warned, "{more}: {}", said(&output));
    }
}
