//! What is told of a `cassandra` sink before any server is asked.

use crate::spec::{Files, Format, Plan, explain};

/// Plans a generator and a sink with these keys; returns `explain` and the warnings, or the mistakes.
fn plan(sink: &str) -> Result<(String, String), String> {
    plan_of("[sources.ticks]\ntype = \"generator\"\n", "ticks", sink)
}

fn plan_of(nodes: &str, input: &str, sink: &str) -> Result<(String, String), String> {
    let text = format!(
        "version = 1\nname = \"t\"\n[cassandra]\ncontact_points = \"a, b:9043\"\nkeyspace = \"market\"\n{nodes}\
         [sinks.out]\ntype = \"cassandra\"\ninput = \"{input}\"\ntable = \"ticks\"\n{sink}\n"
    );
    let planned = Plan::of("f.toml".as_ref(), &text, &Files::default());
    let (plan, _, warnings) = planned.map_err(|error| error.to_string())?;
    Ok((explain(&plan, Format::Text), warnings.to_string()))
}

fn mistake(sink: &str) -> String {
    plan(sink).expect_err(sink)
}

const KEY: &str = "partition_key = \"symbol\"\nclustering_key = [\"timestamp desc\", \"seq\"]";

#[test]
fn a_table_is_explained() {
    let (explained, warnings) = plan(&format!("{KEY}\nttl = \"30d\"\nbucket = \"day\"")).expect("a plan");
    for line in [
        "market.ticks at a:9042, b:9043, consistency local_quorum: rows as they come",
        "rows are kept until 30days after their event time",
        "PRIMARY KEY ((symbol, day), timestamp, seq)",
        "CLUSTERING ORDER BY (timestamp DESC, seq ASC)",
    ] {
        assert!(explained.contains(line), "{line}\n{explained}");
    }
    assert!(!explained.contains("CREATE KEYSPACE"), "{explained}");
    assert!(warnings.contains("`timestamp` is finer than Cassandra's timestamps"), "{warnings}");
}

#[test]
fn columns_of_the_key_must_be_there() {
    for (sink, told) in [
        ("partition_key = \"simbol\"\nclustering_key = \"seq\"", "there is no column `simbol`; did you mean `symbol`?"),
        ("partition_key = \"symbol\"\nclustering_key = [\"timestmp\", \"seq\"]", "did you mean `timestamp`?"),
        ("partition_key = \"symbol\"\nclustering_key = [\"seq down\"]", "`down` is not one of asc, desc"),
        ("partition_key = \"symbol\"\nclustering_key = [\"symbol\", \"seq\"]", "`symbol` stands twice in the key"),
        ("partition_key = []\nclustering_key = [\"seq\"]", "a partition key has at least one column"),
        (
            "partition_key = \"symbol\"\nclustering_key = [\"seq\"]\nselect = [\"symbol\", \"price\"]",
            "`seq` is not written: add it to `select`",
        ),
        (
            "partition_key = \"symbol\"\nclustering_key = [\"seq\"]\nbucket = \"day\"\nselect = { symbol = \"symbol\", seq = \"seq\", day = \"price\" }",
            "there is a column `day` already",
        ),
    ] {
        let mistake = mistake(sink);
        assert!(mistake.contains(told), "{told}\n{mistake}");
    }
}

#[test]
fn a_mistake_stands_where_it_was_made() {
    let mistake = mistake("partition_key = [\"symbol\", \"simbol\"]\nclustering_key = \"seq\"");
    assert!(mistake.starts_with("f.toml:12:28: there is no column `simbol`"), "{mistake}");
}

#[test]
fn rows_that_would_be_lost_are_refused() {
    let refused = "rows with the same key would overwrite each other";
    let id = |column: &str| {
        let select = format!(
            "select = {{ {column} = \"symbol\", timestamp = \"timestamp\", kind = \"side\" }}\nkey = \"kind\"\n"
        );
        let source = format!("[sources.ticks]\ntype = \"generator\"\n{select}");
        plan_of(&source, "ticks", &format!("partition_key = \"kind\"\nclustering_key = [\"timestamp\", \"{column}\"]"))
    };
    for (sink, fine) in [
        ("partition_key = \"symbol\"\nclustering_key = \"timestamp\"", false),
        ("partition_key = \"symbol\"\nclustering_key = [\"timestamp\", \"side\"]", false),
        (
            "partition_key = \"symbol\"\nclustering_key = [\"timestamp\", \"n\"]\nselect = { symbol = \"symbol\", timestamp = \"timestamp\", n = \"seq / 2\" }",
            false,
        ),
        (
            "partition_key = \"symbol\"\nclustering_key = [\"timestamp\", \"n\"]\nselect = { symbol = \"symbol\", timestamp = \"timestamp\", n = \"seq\" }",
            true,
        ),
        ("partition_key = \"symbol\"\nclustering_key = \"timestamp\"\non_conflict = \"last\"", true),
        ("partition_key = \"symbol\"\non_conflict = \"last\"", true),
    ] {
        let planned = plan(sink);
        assert_eq!(planned.is_ok(), fine, "{sink}");
        assert!(fine || planned.is_err_and(|mistake| mistake.contains(refused)), "{sink}");
    }
    assert!(id("trade_id").is_ok() && id("id").is_ok());
    assert!(id("name").is_err_and(|mistake| mistake.contains(refused)));
}

#[test]
fn rows_that_may_overwrite_each_other_are_reduced_epoch_by_epoch() {
    let (explained, _) = plan("partition_key = \"symbol\"\non_conflict = \"last\"").expect("a plan");
    assert!(explained.contains("the last row of each key, epoch by epoch"), "{explained}");
}

#[test]
fn indicators_that_are_null_until_they_are_warm_are_warned_of() {
    let nodes = |emit: &str| {
        format!(
            "[sources.ticks]\ntype = \"generator\"\n[operators.means]\ntype = \"indicators\"\ninput = \"ticks\"\n\
             emit = \"{emit}\"\ncolumns = {{ sma_5 = \"sma(price, 5)\" }}\n"
        )
    };
    let warnings = |emit: &str| plan_of(&nodes(emit), "means", KEY).expect("a plan").1;
    assert!(warnings("all").contains("`sma_5` is null until it is warm"), "{}", warnings("all"));
    assert!(!warnings("warm").contains("sma_5"));
}

#[test]
fn options_are_checked() {
    for (option, told) in [
        ("in_flight = 0", "it is 1 to 32768"),
        ("batch_rows = 70000", "it is 1 to 65535"),
        ("max_rows_per_second = 0", "it is 1 to"),
        ("ttl = \"100ms\"", "rows are kept for a second to 20 years"),
        ("ttl = \"30years\"", "rows are kept for a second to 20 years"),
        ("consistency = \"quorom\"", "did you mean `quorum`?"),
        ("bucket = \"week\"", "`week` is not one of day, month"),
        ("on_conflict = \"first\"", "`first` is not one of last"),
        ("contact_points = \"a:b\"", "`a:b` is no host:port"),
        ("contact_points = []", "`contact_points` names no server"),
        ("user = \"me\"", "`user` and `password` come together"),
        ("tls = { cert = \"me.pem\" }", "`cert` and `key` come together"),
        ("tls = { ca_file = \"ca.pem\" }", "`tls` has no key `ca_file`; known: ca, cert, key"),
        ("replication = { class = 1.5 }", "expected a text or a whole number"),
        ("keyspace = \"a-b\"", "`a-b` is no name"),
    ] {
        let mistake = mistake(&format!("{KEY}\n{option}"));
        assert!(mistake.contains(told), "{told}\n{mistake}");
    }
}

#[test]
fn a_password_is_never_shown() {
    let (explained, warnings) = plan(&format!("{KEY}\nuser = \"me\"\npassword = \"hunter2\"")).expect("a plan");
    assert!(!explained.contains("hunter2") && !warnings.contains("hunter2"));
    let secret = crate::spec::Secret::default();
    assert_eq!(format!("{secret:?}"), "***");
}
