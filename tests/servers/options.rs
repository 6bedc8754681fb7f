//! Options that do not change the rows: each must do what it says, or at least be heard.

use serde_json::json;

use super::cassandra::support::{Keyspace, server};
use super::topics::{Flow, START, Topic, Written, name, said, source, ticks, to_file};

#[test]
fn a_source_commits_to_its_group_and_reads_times_in_their_unit() {
    let (topic, group) = (Topic::new(2), name("group"));
    let second = |n: i64| Written::new((n % 2) as i32, "A", json!({ "s": "A", "t": START / 1000 + n }).to_string());
    topic.write(&(0..40).map(second).collect::<Vec<_>>());
    let source = format!(
        "[sources.ticks]\ntype = \"kafka\"\ntopic = \"{}\"\nschema = {{ s = \"text\", t = \"bigint\" }}\nkey = \"s\"\ntime = \"t\"\n\
         time_unit = \"s\"\nstop = \"end\"\ngroup = \"{group}\"\nmemory = \"1MB\"\n",
        topic.name
    );
    let flow = Flow::new(&(source + &to_file("ticks") + "select = { t = \"t\", at = \"_time\" }\n"));
    assert_eq!(flow.run(2)["totals"]["rows_out"], 40);
    for row in flow.rows("out.jsonl") {
        let at = chrono::DateTime::parse_from_rfc3339(row["at"].as_str().expect("a time")).expect("a time");
        assert_eq!(row["t"], at.timestamp());
    }
    assert_eq!((topic.committed(&group), topic.committed(&flow.job)), (vec![Some(20); 2], vec![None; 2]));
}

#[test]
fn a_sink_says_which_guarantee_it_keeps() {
    let (topic, out) = (Topic::new(1), Topic::new(1));
    topic.write(&ticks(30, 3, 1));
    for (guarantee, warned) in [("at_least_once", false), ("exactly_once", true)] {
        let sink = format!(
            "[sinks.out]\ntype = \"kafka\"\ninput = \"ticks\"\ntopic = \"{}\"\nguarantee = \"{guarantee}\"\n",
            out.name
        );
        let flow = Flow::new(&(source(&topic.name, "") + &sink));
        let output = flow.try_run(1);
        let told = said(&output);
        assert!(output.status.success(), "{told}");
        assert_eq!(told.contains("give it a state store"), warned, "{told}");
    }
    assert_eq!(out.read().len(), 60);
}

const COLUMNS: &str = r#"k = "text", t = "timestamp_ms", price = "double""#;
const SOURCE: &str = "time = \"t\"\nkey = \"k\"";
const SINK: &str = "table = \"ticks\"\ncreate = true\npartition_key = \"k\"\nclustering_key = [\"t\", \"seq\"]\n";

fn with_rows(test: &str) -> Keyspace {
    let keyspace = Keyspace::new(test);
    let row = |n: i64| json!({ "k": format!("S{}", n % 5), "t": START + n, "price": n }).to_string() + "\n";
    keyspace.input(&(0..200).map(row).collect::<String>());
    keyspace
}

#[test]
fn a_table_is_written_with_an_account_a_pace_and_a_consistency() {
    let keyspace = with_rows("options");
    // Our server knows no accounts, and lets everybody in.
    let more = "consistency = \"one\"\nlocal_dc = \"datacenter1\"\nmax_rows_per_second = 400\n\
                user = \"somebody\"\npassword = \"something\"\ntls = false\n";
    keyspace.run_well(&keyspace.flow(COLUMNS, SOURCE, &format!("{SINK}{more}")));
    assert_eq!(keyspace.count("ticks"), 200);
    let explained = keyspace.folder.tapeflow(&["explain", "flow.toml"]).fine().stdout;
    assert!(explained.contains("consistency one") && !explained.contains("something"), "{explained}");
}

#[test]
fn encryption_is_never_given_up_silently() {
    let keyspace = with_rows("encrypted");
    let told = keyspace.run(&keyspace.flow(COLUMNS, SOURCE, &format!("{SINK}tls = true\n")), 1).with_code(4).stderr;
    assert!(told.contains(&format!("cannot connect to Cassandra at {}", server())), "{told}");
    let files = "tls = { ca = \"no-such-file.pem\" }\ntimeout = \"5s\"\n";
    let told = keyspace.run(&keyspace.flow(COLUMNS, SOURCE, &format!("{SINK}{files}")), 1).with_code(4).stderr;
    assert!(told.contains("TLS: ") && told.contains("no-such-file.pem"), "{told}");
}
