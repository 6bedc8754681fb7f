//! Tables are created where that is asked for, and compared with the dataflow file otherwise.

use super::support::Keyspace;

const COLUMNS: &str = r#"k = "text", t = "timestamp_ms", price = "double", side = "text""#;
const SOURCE: &str = "time = \"t\"\nkey = \"k\"";
const ROW: &str = r#"{"k": "A", "t": 1767623400000, "price": 1.5, "side": "buy"}"#;

#[test]
fn a_keyspace_and_a_table_are_created_as_explained() {
    let keyspace = Keyspace::new("created");
    keyspace.cql("DROP KEYSPACE KS");
    keyspace.input(ROW);
    let sink = "table = \"ticks\"\ncreate = true\npartition_key = \"k\"\nclustering_key = [\"t desc\", \"seq\"]\n\
                replication = { class = \"NetworkTopologyStrategy\", datacenter1 = 1 }";
    let flow = keyspace.flow(COLUMNS, SOURCE, sink);
    keyspace.run_well(&flow);
    let (replication,) = keyspace.row::<(std::collections::HashMap<String, String>,)>(
        "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = 'KS'",
    );
    assert!(
        replication["class"].ends_with("NetworkTopologyStrategy") && replication["datacenter1"] == "1",
        "{replication:?}"
    );
    let mut columns = keyspace.rows::<(String, String, String, String)>(
        "SELECT column_name, type, kind, clustering_order FROM system_schema.columns WHERE keyspace_name = 'KS'",
    );
    columns.sort();
    let column =
        |name: &str, kind: &str, role: &str, order: &str| (name.into(), kind.into(), role.into(), order.into());
    assert_eq!(
        columns,
        [
            column("k", "text", "partition_key", "none"),
            column("price", "double", "regular", "none"),
            column("seq", "bigint", "clustering", "asc"),
            column("side", "text", "regular", "none"),
            column("t", "timestamp", "clustering", "desc"),
        ]
    );
    // A second run finds it there, and explain shows what the first one did.
    keyspace.run_well(&flow);
    let explained = keyspace.folder.tapeflow(&["explain", "flow.toml"]).fine().stdout;
    for line in [
        format!("CREATE TABLE IF NOT EXISTS {}.ticks (", keyspace.name),
        "    PRIMARY KEY ((k), t, seq)".to_string(),
        ") WITH CLUSTERING ORDER BY (t DESC, seq ASC)".to_string(),
        "'class': 'NetworkTopologyStrategy', 'datacenter1': '1'".to_string(),
    ] {
        assert!(explained.contains(&line), "{line}\n{explained}");
    }
}

#[test]
fn names_that_cql_would_not_take_bare_are_kept() {
    let keyspace = Keyspace::new("quoted");
    keyspace.input(r#"{"Symbol": "A", "order": 1767623400000, "tradeMs": 7, "a b": 1.5}"#);
    let columns = r#"Symbol = "text", order = "timestamp_ms", tradeMs = "bigint", "a b" = "double""#;
    let sink = "table = \"Ticks\"\ncreate = true\npartition_key = \"Symbol\"\nclustering_key = [\"order\", \"seq\"]";
    keyspace.run_well(&keyspace.flow(columns, "time = '\"order\"'\nkey = '\"Symbol\"'", sink));
    let row = keyspace.row::<(String, i64, f64)>("SELECT \"Symbol\", \"tradeMs\", \"a b\" FROM KS.\"Ticks\"");
    assert_eq!(row, ("A".to_string(), 7, 1.5));
}

#[test]
fn a_missing_table_is_named() {
    let keyspace = Keyspace::new("missing");
    keyspace.input(ROW);
    let sink = "table = \"ticks\"\npartition_key = \"k\"\nclustering_key = [\"t\", \"seq\"]";
    let told = keyspace.run(&keyspace.flow(COLUMNS, SOURCE, sink), 1).with_code(1).stderr;
    let expected = format!("there is no table {}.ticks: create it, or write create = true", keyspace.name);
    assert!(told.contains(&expected), "{}", told);
}

#[test]
fn all_that_does_not_fit_an_existing_table_is_named_at_once() {
    let keyspace = Keyspace::new("unfit");
    keyspace.input(ROW);
    keyspace.cql("CREATE TABLE KS.ticks (k text, t timestamp, seq bigint, price float, PRIMARY KEY ((k, t), seq)) WITH CLUSTERING ORDER BY (seq DESC)");
    for create in [false, true] {
        let sink = format!(
            "table = \"ticks\"\ncreate = {create}\npartition_key = \"k\"\nclustering_key = [\"t\", \"seq asc\"]"
        );
        let told = keyspace.run(&keyspace.flow(COLUMNS, SOURCE, &sink), 1).with_code(1).stderr;
        for mistake in [
            format!("table {}.ticks does not fit", keyspace.name),
            "its column `price` is float, which cannot hold double without loss".to_string(),
            format!(
                "it has no column `side`; known: k, price, seq, t (to add it: ALTER TABLE {}.ticks ADD side text)",
                keyspace.name
            ),
            "its partition key is (k, t), not (k)".to_string(),
            "its clustering key is (seq desc), not (t, seq asc)".to_string(),
        ] {
            assert!(told.contains(&mistake), "{mistake}\n{told}");
        }
    }
    assert_eq!(keyspace.count("ticks"), 0);
}

#[test]
fn buckets_are_part_of_the_partition_key() {
    let keyspace = Keyspace::new("buckets");
    // 2025-12-31T23:59:59.999Z and the millisecond after it.
    keyspace.input(
        "{\"k\": \"A\", \"t\": 1767225599999, \"price\": 1}\n{\"k\": \"A\", \"t\": 1767225600000, \"price\": 2}\n",
    );
    for (bucket, first, second) in [("day", "'2025-12-31'", "'2026-01-01'"), ("month", "202512", "202601")] {
        let sink = format!(
            "table = \"by_{bucket}\"\ncreate = true\npartition_key = \"k\"\nbucket = \"{bucket}\"\nclustering_key = [\"t\", \"seq\"]"
        );
        keyspace.run_well(&keyspace.flow(COLUMNS, SOURCE, &sink));
        for (value, price) in [(first, 1.0), (second, 2.0)] {
            let query = format!("SELECT price FROM KS.by_{bucket} WHERE k = 'A' AND {bucket} = {value}");
            assert_eq!(keyspace.row::<(f64,)>(&query), (price,));
        }
    }
}
