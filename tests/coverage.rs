//! Nothing that a dataflow file can say goes untried: every kind of node, key, word, indicator, dialect and type stands in
//! a golden case, or, for what needs a server, in the tests that have one.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value as Json;
use tapeflow::formats::ColumnType;
use tapeflow::indicators::FUNCTIONS;
use tapeflow::operators::signature;
use tapeflow::{operators, sinks, sources};
use toml::{Table, Value};

use crate::golden::{cases, files_below};
use crate::support::repository;

/// Kinds of nodes that the golden cases cannot run: `tests/servers` and `tests/delivery` name them.
const NEEDS_A_SERVER: &[&str] = &["cassandra", "email", "kafka", "webhook"];

/// The dataflow files of all cases.
struct Flows(Vec<Table>);

impl Flows {
    fn read() -> Flows {
        let read = |path: std::path::PathBuf| fs::read_to_string(path.join("flow.toml")).expect("a dataflow file");
        Flows(cases().into_iter().map(|case| read(case).parse().expect("TOML")).collect())
    }

    /// The nodes of a role.
    fn of_role(&self, role: &str) -> impl Iterator<Item = &Table> {
        let tables = self.0.iter().filter_map(move |flow| flow.get(role)?.as_table());
        tables.flat_map(|nodes| nodes.values()).filter_map(Value::as_table)
    }

    /// The nodes of a role and kind.
    fn nodes(&self, role: &str, kind: &str) -> impl Iterator<Item = &Table> {
        self.of_role(role).filter(move |node| node.get("type").and_then(Value::as_str) == Some(kind))
    }

    /// What the keys `columns` of indicators nodes hold.
    fn calls(&self) -> BTreeSet<String> {
        let columns = self.nodes("operators", "indicators").filter_map(|node| node["columns"].as_table());
        columns.flat_map(|columns| columns.values()).filter_map(|call| call.as_str().map(str::to_string)).collect()
    }
}

fn server_tests() -> String {
    // The dataflow files of the repository are run by them.
    let folders =
        ["tests/servers", "tests/delivery", "dataflows"].map(|folder| files_below(&repository().join(folder)));
    folders.iter().flatten().filter_map(|path| fs::read_to_string(path).ok()).collect()
}

#[test]
fn every_node_key_and_word_is_tried() {
    let (flows, servers) = (Flows::read(), server_tests());
    let kinds = [
        ("sources", sources::KINDS.iter().map(|kind| kind.0).collect::<Vec<_>>()),
        ("operators", operators::KINDS.iter().map(|kind| kind.0).collect()),
        ("sinks", sinks::KINDS.iter().map(|kind| kind.0).collect()),
    ];
    let schema = tapeflow::spec::schema::json_schema();
    let mut untried = Vec::new();
    for (role, kinds) in kinds {
        for kind in kinds {
            let nodes: Vec<&Table> = flows.nodes(role, kind).collect();
            let is_of_kind = |node: &&Json| node["properties"]["type"]["const"] == kind;
            let described = schema["properties"][role]["additionalProperties"]["oneOf"].as_array().expect("kinds");
            let keys = described.iter().find(is_of_kind).expect("the kind")["properties"].as_object().expect("keys");
            for (key, schema) in keys {
                let what = format!("{role}: {kind}: {key}");
                if NEEDS_A_SERVER.contains(&kind) {
                    let folders = ["tests/servers", "tests/delivery"].into_iter();
                    let tested = folders.map(|folder| repository().join(folder).join(format!("{kind}.rs")));
                    let tested = tested.into_iter().any(|file| file.exists());
                    let written = [format!("{key} ="), format!("{key}=")];
                    let tried = !tested || written.iter().any(|key| servers.contains(key));
                    untried.extend((!tried).then_some(what));
                    continue;
                }
                let values: Vec<&Value> = nodes.iter().filter_map(|node| node.get(key)).collect();
                // What a word means does not depend on the kind of node.
                let all: Vec<&Value> = flows.of_role(role).filter_map(|node| node.get(key)).collect();
                let words = schema["enum"].as_array().into_iter().flatten().filter_map(Json::as_str);
                let missing = words.filter(|word| !all.iter().any(|value| value.as_str() == Some(word)));
                untried.extend(missing.map(|word| format!("{what} = {word:?}")));
                untried.extend(values.is_empty().then_some(what));
            }
        }
    }
    let job = schema["properties"]["job"]["properties"].as_object().expect("keys");
    let said = |key: &&String| flows.0.iter().any(|flow| flow.get("job").is_some_and(|job| job.get(key).is_some()));
    untried.extend(job.keys().filter(|key| !said(key)).map(|key| format!("job: {key}")));
    assert!(untried.is_empty(), "no golden case and no test with a server has:\n{}", untried.join("\n"));
}

#[test]
fn every_indicator_is_tried_with_all_its_arguments_in_every_dialect() {
    let flows = Flows::read();
    let calls = flows.calls();
    let of = |name: &str| calls.iter().filter(|call| call.starts_with(&format!("{name}("))).collect::<Vec<_>>();
    for function in FUNCTIONS {
        let counts: BTreeSet<usize> = of(function.name).iter().map(|call| call.split(',').count()).collect();
        let all = function.arguments.len();
        assert!(counts.contains(&all), "no golden case calls {}", signature(function));
    }
    let compat: BTreeSet<&str> =
        flows.nodes("operators", "indicators").filter_map(|node| node.get("compat")?.as_str()).collect();
    assert_eq!(compat, BTreeSet::from(["pandas", "talib", "tradingview"]));
    let differ = FUNCTIONS.iter().filter(|function| !function.dialects.is_empty());
    for function in differ {
        for dialect in &compat {
            let has = |node: &&Table| node.get("compat").and_then(Value::as_str) == Some(dialect);
            let text: String =
                flows.nodes("operators", "indicators").filter(has).map(|node| node["columns"].to_string()).collect();
            let tried = text.contains(&format!("{}(", function.name));
            // Pine has a deviation too, but its oracle is that of Bollinger's bands.
            assert!(tried || function.name == "stddev", "no golden case calls {} as {dialect} does", function.name);
        }
    }
}

#[test]
fn every_type_is_declared() {
    let flows = Flows::read();
    let schemas = flows.nodes("sources", "file").filter_map(|node| node.get("schema")?.as_table());
    let types: BTreeSet<&str> = schemas.flat_map(|schema| schema.values()).filter_map(Value::as_str).collect();
    for name in ColumnType::NAMES {
        assert!(types.contains(name), "no golden case declares a column of type {name}");
    }
}
