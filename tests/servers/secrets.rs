//! What `${...}` stands for is told to servers and to nobody else: every option that takes a text is given a secret, and
//! whatever the program says is searched for it.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::cassandra::support::server;
use super::topics::{Topic, brokers, source, ticks};
use crate::support::Folder;
use crate::support::cluster::Cluster;

/// It is a name that any server would take.
const SECRET: &str = "hidden_value_1234";
const ENVIRONMENT: &[(&str, &str)] = &[("HIDDEN", SECRET), ("RUST_LOG", "debug")];

/// The options of a kind of node that take a text, from the JSON Schema.
pub fn texts(role: &str, kind: &str) -> Vec<String> {
    let schema = tapeflow::spec::schema::json_schema();
    let kinds = schema["properties"][role]["additionalProperties"]["oneOf"].as_array().expect("kinds");
    let described = kinds.iter().find(|described| described["properties"]["type"]["const"] == kind).expect("the kind");
    let keys = described["properties"].as_object().expect("keys").iter();
    keys.filter(|(key, schema)| *key != "input" && takes_text(schema)).map(|(key, _)| key.clone()).collect()
}

fn takes_text(schema: &Json) -> bool {
    let texts = |kind: &Json| kind == "string";
    let one = schema["type"].as_array().map_or(texts(&schema["type"]), |kinds| kinds.iter().any(texts));
    one || schema["enum"].is_array() || schema["anyOf"].as_array().is_some_and(|any| any.iter().any(takes_text))
}

/// A node: its keys and their values in TOML.
fn node(role: &str, name: &str, keys: &BTreeMap<&str, String>) -> String {
    let lines = keys.iter().map(|(key, value)| format!("{key} = {value}\n"));
    format!("[{role}.{name}]\n{}", lines.collect::<String>())
}

/// The keys that a node needs, by role and kind.
fn needed(role: &str, kind: &str) -> BTreeMap<&'static str, String> {
    let text = |text: &str| format!("{text:?}");
    let mut keys = BTreeMap::from([("type", text(kind))]);
    if role == "sinks" {
        keys.insert("input", text("ticks"));
    }
    if kind == "kafka" {
        keys.extend([("brokers", text(&brokers())), ("topic", text("no-such-topic"))]);
    }
    if role == "sources" {
        let schema = "{ symbol = \"text\", timestamp = \"timestamp_ms\" }".to_string();
        keys.extend([("schema", schema), ("time", text("timestamp")), ("key", text("symbol")), ("stop", text("end"))]);
    }
    if kind == "cassandra" {
        keys.extend([("contact_points", text(&server())), ("keyspace", text("nowhere")), ("table", text("t"))]);
        keys.extend([("partition_key", text("symbol")), ("clustering_key", "[\"timestamp\", \"seq\"]".to_string())]);
    }
    keys
}

/// A dataflow file whose node of a role and kind has `value` for `key`.
fn flow(role: &str, kind: &str, key: &'static str, value: &str) -> String {
    let mut keys = needed(role, kind);
    keys.insert(key, value.to_string());
    // They come in pairs.
    match key {
        "user" => drop(keys.insert("password", "\"p\"".to_string())),
        "password" => drop(keys.insert("user", "\"u\"".to_string())),
        _ => {}
    }
    let source = if role == "sources" { keys.clone() } else { needed("sources", "kafka") };
    let sink = if role == "sinks" {
        keys
    } else {
        BTreeMap::from([("type", "\"discard\"".into()), ("input", "\"ticks\"".into())])
    };
    format!("version = 1\nname = \"j\"\n{}{}", node("sources", "ticks", &source), node("sinks", "out", &sink))
}

#[test]
fn no_option_of_kafka_or_cassandra_is_shown_expanded() {
    let folder = Folder::new();
    let secret = "\"${HIDDEN}\"".to_string();
    let mut said = 0;
    for (role, kind) in [("sources", "kafka"), ("sinks", "kafka"), ("sinks", "cassandra")] {
        let mut options: Vec<(String, String)> =
            texts(role, kind).into_iter().map(|key| (key, secret.clone())).collect();
        assert!(options.len() > 4, "{options:?}");
        let nested = [
            ("properties", "{ \"sasl.password\" = \"${HIDDEN}\", \"ssl.ca.location\" = \"${HIDDEN}\" }"),
            ("select", "{ symbol = \"symbol\", timestamp = \"timestamp\", seq = \"seq\", x = \"'${HIDDEN}'\" }"),
            ("schema", "{ symbol = \"text\", timestamp = \"timestamp_ms\", x = \"${HIDDEN}\" }"),
            ("tls", "{ ca = \"${HIDDEN}\", cert = \"${HIDDEN}\", key = \"${HIDDEN}\" }"),
            ("replication", "{ class = \"${HIDDEN}\", there = \"${HIDDEN}\" }"),
        ];
        options.extend(nested.map(|(key, value)| (key.to_string(), value.to_string())));
        for (key, value) in options {
            let address = ["brokers", "contact_points"].contains(&key.as_str());
            folder.write("flow.toml", flow(role, kind, key.clone().leak(), &value));
            let commands: [&[&str]; 6] = [
                &["explain", "flow.toml"],
                &["explain", "flow.toml", "--format", "json"],
                &["explain", "flow.toml", "--format", "mermaid"],
                &["explain", "flow.toml", "--format", "dot"],
                &["validate", "--connect", "--json", "flow.toml"],
                &["run", "flow.toml"],
            ];
            for command in commands {
                // Who has to mend a connection must see where it goes.
                if address && command[0] != "explain" {
                    continue;
                }
                let ended = folder.tapeflow_with(command, ENVIRONMENT);
                let told = ended.stdout.clone() + &ended.stderr;
                assert!(!told.contains(SECRET), "{role} {kind}, {key}, {command:?}: {told}");
                said += told.matches("${HIDDEN}").count();
            }
        }
    }
    assert!(said > 50, "references are shown in place of what they stand for");
}

#[test]
fn a_cluster_shows_no_option_expanded() {
    let topic = Topic::new(2);
    topic.write(&ticks(20, 4, 2));
    let mut cluster = Cluster::plan(2, 1);
    let variables = [("HIDDEN", SECRET), ("HIDDEN_TOPIC", topic.name.as_str()), ("RUST_LOG", "debug")];
    cluster.environment = variables.map(|(name, value)| (name.to_string(), value.to_string())).to_vec();
    (0..2).for_each(|index| cluster.launch(index));
    cluster.wait_ready();
    let flow = |name: &str, more: &str| {
        format!(
            "version = 1\nname = \"{name}\"\n[kafka]\nbrokers = \"{}\"\nproperties = {{ \"client.id\" = \"${{HIDDEN}}\", \
             \"sasl.password\" = \"${{HIDDEN}}\" }}\n{}[sinks.out]\ntype = \"console\"\ninput = \"ticks\"\n",
            brokers(),
            source("${HIDDEN_TOPIC}", more)
        )
    };
    cluster.file("fine.toml", &flow("fine", "group = \"${HIDDEN}\""));
    cluster.file(
        "fails.toml",
        &flow(
            "fails",
            "on_error = \"fail\"\nselect = { symbol = \"symbol\", timestamp = \"timestamp\", \
                                     x = \"1 / (volume - volume)\", y = \"'${HIDDEN}'\" }",
        ),
    );
    cluster.file("wrong.toml", &flow("wrong", "start = \"${HIDDEN}\""));
    let mut told = Vec::new();
    for (file, code) in [("fine.toml", 0), ("fails.toml", 1), ("wrong.toml", 3)] {
        let said = cluster.cli(1, &["submit", file, "--wait", "--json"]).with(code);
        told.push(said.out + &said.err);
    }
    for name in ["fine", "fails"] {
        for command in [&["status", name][..], &["status", name, "--json"], &["list", "--json"]] {
            told.push(cluster.cli(0, command).with(0).out);
        }
        for format in ["json", "text", "mermaid", "dot"] {
            told.push(cluster.ask(1, &format!("GET /api/v1/jobs/{name}/graph?format={format}"), "").2);
        }
    }
    told.push(cluster.ask(0, "GET /readyz", "").2);
    told.extend((0..2).map(|index| cluster.read(&format!("log-{index}"))));
    assert!(told.iter().any(|told| told.contains("`ticks`: ${HIDDEN_TOPIC}, partition ")), "{told:#?}");
    for told in told {
        assert!(!told.contains(SECRET) && !told.contains(&topic.name), "{told}");
    }
}
