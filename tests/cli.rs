//! The program as its users see it: exit codes, messages, what goes to stdout and what to stderr, signals, pipes.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::golden::cases;
use crate::support::{Folder, PROGRAM, repository, rows, schema};

/// A small dataflow file that ends.
const FLOW: &str = r#"version = 1
name = "small"
[sources.ticks]
type = "generator"
symbols = 3
duration = "2s"
speed = "max"
[operators.means]
type = "indicators"
input = "ticks"
columns = { sma_5 = "sma(price, 5)" }
[sinks.out]
type = "console"
input = "means"
select = ["symbol", "sma_5"]
"#;

/// One that does not.
fn endless(sink: &str) -> String {
    format!(
        "version = 1\nname = \"endless\"\n[sources.ticks]\ntype = \"generator\"\nrate = 5000\n\
         [sinks.out]\ninput = \"ticks\"\n{sink}\n"
    )
}

fn small() -> Folder {
    let folder = Folder::new();
    folder.write("flow.toml", FLOW);
    folder
}

fn mistakes(name: &str) -> (Folder, String) {
    let text = |name: &str| std::fs::read_to_string(repository().join("tests/golden/mistakes").join(name)).expect(name);
    let folder = Folder::new();
    folder.write("flow.toml", text(&format!("{name}.toml")));
    (folder, text(&format!("{name}.txt")))
}

#[test]
fn all_mistakes_come_at_once_each_with_its_place_and_the_nearest_right_word() {
    for name in ["flow", "syntax", "alerts", "windows", "joins"] {
        let (folder, expected) = mistakes(name);
        for command in ["validate", "run", "explain", "test"] {
            let ended = folder.tapeflow(&[command, "flow.toml"]).with_code(3);
            for (told, expected) in ended.stderr.lines().zip(expected.lines()) {
                assert_eq!(told, expected, "{command}");
            }
            assert_eq!(
                (ended.stderr.lines().count(), ended.stdout.as_str()),
                (expected.lines().count(), ""),
                "{command}"
            );
        }
    }
}

#[test]
fn mistakes_come_as_json_for_programs() {
    let (folder, expected) = mistakes("flow");
    let ended = folder.tapeflow(&["validate", "flow.toml", "--json"]).with_code(3);
    let list: Vec<Json> = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!((&list[0]["line"], &list[0]["column"]), (&2.into(), &11.into()));
    let told = expected.lines().filter(|line| line.trim_start_matches("error: ").starts_with("flow.toml:")).count();
    assert_eq!(list.len(), told);
    let fine = small().tapeflow(&["validate", "flow.toml", "--json"]).fine();
    assert_eq!((fine.stdout.as_str(), fine.stderr.as_str()), ("[]\n", "flow.toml: fine, 3 nodes\n"));
}

#[test]
fn exit_codes_tell_what_happened() {
    let folder = small();
    folder.write("bad.jsonl", "{\"t\":1704067200000}\n{\"t\":\"never\"}\n");
    let file =
        "type = \"file\"\npath = \"bad.jsonl\"\nschema = { t = \"timestamp_ms\" }\ntime = \"t\"\non_error = \"fail\"";
    let flow =
        |sink: &str| format!("version = 1\nname = \"x\"\n[sources.s]\n{file}\n[sinks.o]\ninput = \"s\"\n{sink}\n");
    folder.write("fails.toml", flow("type = \"discard\""));
    folder.write("no-folder.toml", flow("type = \"file\"\npath = \"flow.toml/out.jsonl\""));
    folder.write("twice.toml", FLOW);
    folder.write("latin-1.toml", b"name = \"\xe9\"");
    for (arguments, code, message) in [
        (&["run", "fails.toml"][..], 1, "`s`: bad.jsonl, partition 0, offset 20: t: \"never\" is not a timestamp_ms"),
        (&["run", "none.toml"], 2, "cannot read the dataflow file none.toml: No such file or directory"),
        (
            &["validate", "latin-1.toml"],
            2,
            "cannot read the dataflow file latin-1.toml: stream did not contain valid UTF-8",
        ),
        (&["run"], 2, "the following required arguments were not provided"),
        (&["valdate", "flow.toml"], 2, "a similar subcommand exists: 'validate'"),
        (&["run", "flow.toml", "--wrokers", "2"], 2, "a similar argument exists: '--workers'"),
        (&["run", "flow.toml", "--workers", "0"], 2, "0 is not in 1..=1024"),
        (&["test", "flow.toml", "--workers", "0"], 2, "0 is not in 1..=1024"),
        (&["demo", "--workers", "0"], 2, "0 is not in 1..=1024"),
        (&["explain", "flow.toml", "--format", "jsn"], 2, "there is no `jsn` here; did you mean `json`?"),
        (&["test", "flow.toml"], 2, "there are no [[tests]] in these files"),
        (&["functions", "smaa"], 2, "there is no indicator `smaa`; did you mean `sma`?"),
        (&["functions", "upper"], 2, "`upper` is an SQL function of expressions"),
        (&["run", "no-folder.toml"], 4, "flow.toml/out.jsonl: "),
        (&["run", "flow.toml", "twice.toml"], 7, "two of the files have the name \"small\""),
    ] {
        let ended = folder.tapeflow(arguments).with_code(code);
        assert_eq!(ended.stderr.matches(message).count(), 1, "{arguments:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("done:") && !ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
}

#[test]
fn rows_go_to_stdout_and_what_was_done_to_stderr() {
    let folder = small();
    let ended = folder.tapeflow(&["run", "flow.toml"]).fine();
    let read = rows(&ended.stdout);
    assert!(!read.is_empty() && read.iter().all(|row| row.len() == 2));
    assert!(ended.stderr.starts_with("done: ") && ended.stderr.contains("12 rows held back"), "{}", ended.stderr);
    let quiet = folder.tapeflow_with(&["run", "flow.toml", "--quiet"], &[("RUST_LOG", "")]).fine();
    assert_eq!((quiet.stderr.as_str(), quiet.stdout), ("", ended.stdout.clone()));
    let done = folder.tapeflow(&["-q", "run", "flow.toml", "--json", "--workers", "2"]).fine().stdout;
    let (lines, done) = done.trim_end().rsplit_once('\n').expect("rows, then what was done");
    assert_eq!(format!("{lines}\n"), ended.stdout);
    let done: Json = serde_json::from_str(done).expect("JSON");
    assert_eq!((&done["jobs"][0], &done["totals"]["rows_out"]), (&"small".into(), &read.len().into()));
    assert_eq!(done["totals"]["rows_in"], (read.len() + 12) as u64);
}

#[test]
fn colours_are_for_terminals_only() {
    let (folder, expected) = mistakes("syntax");
    for environment in [&[][..], &[("NO_COLOR", "1")], &[("RUST_LOG", "debug"), ("NO_COLOR", "1")]] {
        let stderr = folder.tapeflow_with(&["validate", "flow.toml"], environment).with_code(3).stderr;
        assert_eq!(stderr, expected);
    }
}

#[test]
fn several_files_run_together() {
    let folder = small();
    let other = FLOW.replace("small", "other").replace("type = \"console\"", "type = \"file\"\npath = \"out.jsonl\"");
    folder.write("other.toml", other);
    let ended = folder.tapeflow(&["run", "flow.toml", "other.toml", "--workers", "2"]).fine();
    assert_eq!(ended.stdout, folder.read("out.jsonl"));
    let mistaken = folder.write("wrong.toml", FLOW.replace("sma_5", "sma 5").replace("sma(", "smaa("));
    let ended = folder.tapeflow(&["run", "flow.toml", &mistaken.to_string_lossy()]).with_code(3);
    assert_eq!(ended.stdout, "");
}

#[test]
fn a_plan_is_shown_in_every_format() {
    let folder = small();
    let shown = |format: &str| folder.tapeflow(&["explain", "flow.toml", "--format", format]).fine().stdout;
    assert_eq!(folder.tapeflow(&["explain", "flow.toml"]).fine().stdout, shown("text"));
    let text = "small\n\nsource ticks (generator)\n  3 symbols, 1000 ticks/s, seed 1\n  append rows, key: symbol\n    \
                symbol     text\n    timestamp  timestamp_ns\n    price      double\n    volume     double\n    \
                side       text\n    seq        bigint\n\noperator means (indicators) <- ticks\n  \
                sma(price, 5): warm after 4 rows of a key\n  emits warm rows\n  append rows, key: symbol\n";
    assert!(shown("text").starts_with(text), "{}", shown("text"));
    let mermaid = "flowchart LR\n  ticks([\"ticks<br/>generator\"])\n  means[\"means<br/>indicators\"]\n  \
                   out[(\"out<br/>console\")]\n  ticks --> means\n  means --> out\n";
    assert_eq!(shown("mermaid"), mermaid);
    let dot = shown("dot");
    assert!(dot.starts_with("digraph \"small\" {\n") && dot.ends_with("  \"means\" -> \"out\"\n}\n"), "{dot}");
    let plan: Json = serde_json::from_str(&shown("json")).expect("JSON");
    assert_eq!(
        (&plan["nodes"][1]["inputs"][0], &plan["nodes"][1]["columns"][6]["name"]),
        (&"ticks".into(), &"sma_5".into())
    );
}

#[test]
fn tests_of_a_file_pass_or_say_what_differs() {
    let folder = Folder::new();
    let test = |expected: &str| {
        let input = r#"{"symbol":"A","timestamp":"2024-01-01T00:00:00Z","price":2}"#;
        let name = "[[tests]]\nname = \"a filter\"\n";
        format!("{FLOW}{name}input = {{ ticks = '{input}' }}\nexpect = {{ ticks = '''{expected}''', means = \"\" }}\n")
    };
    folder.write("right.toml", test(r#"{"symbol":"A","price":2.0000000001}"#));
    folder.write("wrong.toml", test(r#"{"symbol":"B","prize":2}"#));
    folder.write("more.toml", test("{}\n{}"));
    let passed = folder.tapeflow(&["test", "right.toml", "--workers", "3"]).fine();
    assert!(passed.stderr.ends_with("1 passed, 0 failed\n"), "{}", passed.stderr);
    let failed = folder.tapeflow(&["test", "wrong.toml", "more.toml", "right.toml"]).with_code(1).stderr;
    for line in [
        "  ticks, row 1: `symbol` is \"A\", not \"B\"",
        "  ticks, row 1: there is no column `prize`",
        "  ticks: 2 rows expected, 1 came",
        "1 passed, 2 failed",
        "error: 2 tests failed",
    ] {
        assert!(failed.lines().any(|other| other == line), "{line}: {failed}");
    }
    assert_eq!(folder.list(""), ["more.toml", "right.toml", "wrong.toml"]);
}

#[test]
fn the_tests_of_the_dataflows_pass() {
    let files = std::fs::read_dir(repository().join("dataflows")).expect("dataflows").flatten();
    let mut tested = 0;
    for path in files.map(|file| file.path()) {
        if std::fs::read_to_string(&path).is_ok_and(|text| text.contains("[[tests]]")) {
            Folder::new().tapeflow(&["test", &path.to_string_lossy(), "--workers", "2"]).fine();
            tested += 1;
        }
    }
    assert!(tested > 1);
}

#[test]
fn dead_letters_that_are_read_are_explained_and_tested() {
    let folder = Folder::new();
    let sink = "[sinks.letters]\ntype = \"discard\"\ninput = [\"ticks.dead_letters\"]\n";
    let test = r#"
        [[tests]]
        name = "what cannot be read"
        input = { ticks = """
        {"symbol": "A", "timestamp": "2024-01-01T00:00:00Z", "price": 2}
        {"symbol": "A", "timestamp": "2024-01-01T00:00:01Z", "price": "much"}
        {"symbol": "A", "price": 3}""" }
        expect = { ticks = '{"price": 2}', "ticks.dead_letters" = """
        {"node": "ticks", "offset": 1, "reason": "price: \\"much\\" is not a double"}
        {"node": "ticks", "offset": 2, "timestamp": null, "reason": "it has no event time, or one that is out of range"}""" }
        "#;
    folder.write("flow.toml", format!("{FLOW}{sink}{test}"));
    folder.tapeflow(&["test", "flow.toml", "--workers", "2"]).fine();
    folder.write("flow.toml", format!("{FLOW}{sink}"));
    let shown = |format: &str| folder.tapeflow(&["explain", "flow.toml", "--format", format]).fine().stdout;
    let text = "    seq        bigint\n  also ticks.dead_letters:\n  append rows, key: \n    job        text\n";
    assert!(shown("text").contains(text), "{}", shown("text"));
    assert!(shown("text").ends_with("sink letters (discard) <- ticks.dead_letters\n"), "{}", shown("text"));
    assert!(shown("mermaid").ends_with("  ticks -- dead_letters --> letters\n"));
    assert!(shown("dot").contains("  \"ticks\" -> \"letters\" [label=\"dead_letters\"]\n"));
    let plan: Json = serde_json::from_str(&shown("json")).expect("JSON");
    let (ticks, letters) = (&plan["nodes"][0], &plan["nodes"][3]);
    assert_eq!(letters["inputs"], json!(["ticks.dead_letters"]));
    assert_eq!(
        (&ticks["further_outputs"][0]["name"], &ticks["further_outputs"][0]["read"]),
        (&json!("dead_letters"), &json!(true))
    );
    folder.write("flow.toml", format!("{FLOW}{sink}").replace("speed =", "on_error = \"skip\"\nspeed ="));
    let told = folder.tapeflow(&["validate", "flow.toml"]).fine().stderr;
    assert!(told.contains("no dead letters come from `ticks`: it has on_error = \"skip\""), "{told}");
}

#[test]
fn a_generator_makes_dead_letters_too() {
    let folder = Folder::new();
    let select = "speed = \"max\"\nselect = { symbol = \"symbol\", timestamp = \"timestamp\", price = \"price\", \
                  none = \"1 / (cast(extract(second from timestamp) as int) % 2)\" }";
    let sinks = "[sinks.letters]\ntype = \"file\"\npath = \"out.jsonl\"\ninput = \"ticks.dead_letters\"\n";
    folder.write("flow.toml", format!("{FLOW}{sinks}").replace("speed = \"max\"", select));
    let ended = folder.tapeflow(&["run", "flow.toml", "--json", "--workers", "2"]).fine();
    let letters = rows(&folder.read("out.jsonl"));
    let done = rows(&ended.stdout).pop().expect("what was done");
    assert!(letters.len() > 100 && done["totals"]["dead_letters"] == letters.len(), "{} {done:?}", letters.len());
    assert!(
        letters.iter().all(|letter| letter["reason"].as_str().is_some_and(|reason| reason.contains("ivide by zero")))
    );
    let kept = rows(&folder.read("dead-letters/small.jsonl"));
    assert_eq!(kept.len(), letters.len());
}

#[test]
fn the_files_to_begin_with_are_fine() {
    let folder = Folder::new();
    folder.write("bars.csv", "symbol,timestamp,close\nA,2024-01-01T00:00:00Z,1\n");
    for from in ["file", "generator", "kafka"] {
        folder.write("flow.toml", folder.tapeflow(&["init", from]).fine().stdout);
        let told = folder.tapeflow(&["validate", "flow.toml"]).fine().stderr;
        assert_eq!(told, "flow.toml: fine, 3 nodes\n", "{from}");
    }
    folder.write("flow.toml", folder.tapeflow(&["init"]).fine().stdout);
    folder.tapeflow(&["test", "flow.toml"]).fine();
}

#[test]
fn functions_are_listed_and_explained() {
    let folder = Folder::new();
    let list = folder.tapeflow(&["functions"]).fine().stdout;
    assert!(
        list.contains("  macd(x, fast = 12, slow = 26, signal = 9)")
            && list.contains(" date_trunc")
            && !list.contains(" rand"),
        "{list}"
    );
    let one = folder.tapeflow(&["functions", "macd"]).fine().stdout;
    assert!(one.contains("Columns: NAME, NAME_signal, NAME_histogram\nWarm-up: 33 rows"), "{one}");
    let json: Vec<Json> = serde_json::from_str(&folder.tapeflow(&["functions", "--json"]).fine().stdout).expect("JSON");
    assert_eq!(json.len(), tapeflow::indicators::FUNCTIONS.len());
}

#[test]
fn the_schema_for_editors_takes_all_dataflow_files_and_refuses_mistakes() {
    let schema: Json = serde_json::from_str(&Folder::new().tapeflow(&["schema"]).fine().stdout).expect("JSON");
    let entries = std::fs::read_dir(repository().join("dataflows")).expect("dataflows").flatten();
    let mut files: Vec<_> =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    files.extend(cases().into_iter().map(|case| case.join("flow.toml")));
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a file");
        let flow: toml::Table = text.parse().expect("TOML");
        if flow.contains_key("cassandra") && !tapeflow::sinks::KINDS.iter().any(|kind| kind.0 == "cassandra") {
            continue;
        }
        let flow = serde_json::to_value(flow).expect("JSON");
        assert_eq!(schema::mistake(&schema, &flow), None, "{}", path.display());
    }
    for (right, wrong) in [
        ("version = 1", "version = 2"),
        ("duration", "duratoin"),
        ("symbols = 3", "symbols = \"3\""),
        ("type = \"console\"", "type = \"consle\""),
        ("speed = \"max\"", "speed = \"most\""),
        ("[sinks.out]", "[snks.out]"),
    ] {
        assert!(FLOW.contains(right));
        let flow: toml::Table = FLOW.replace(right, wrong).parse().expect("TOML");
        let flow = serde_json::to_value(flow).expect("JSON");
        assert!(schema::mistake(&schema, &flow).is_some(), "{wrong}");
    }
}

#[test]
fn completions_are_there_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = Folder::new().tapeflow(&["completions", shell]).fine().stdout;
        assert!(script.contains("validate") && script.contains("workers"), "{shell}");
    }
}

/// The rows of all Parquet files below a folder.
fn parquet_rows(folder: &Folder, name: &str) -> usize {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let read = |file: String| {
        let file = std::fs::File::open(folder.path(name).join(file)).expect("a file");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a footer").build().expect("a reader");
        reader.map(|batch| batch.expect("rows").num_rows()).sum::<usize>()
    };
    folder.list(name).into_iter().map(read).sum()
}

#[test]
fn a_signal_ends_an_endless_run_with_everything_written() {
    for signal in ["INT", "TERM"] {
        let folder = Folder::new();
        folder.write("flow.toml", endless("type = \"parquet\"\npath = \"lake/\""));
        let running = folder.start(&["run", "flow.toml", "--workers", "2", "--json"], &[]);
        while folder.list("lake").is_empty() {
            sleep(Duration::from_millis(10));
        }
        sleep(Duration::from_millis(300));
        running.signal(signal);
        let ended = running.wait().fine();
        assert!(ended.stderr.contains("stopping: ") && ended.stderr.contains("done: "), "{}", ended.stderr);
        let done: Json = serde_json::from_str(&ended.stdout).expect("JSON");
        assert!(folder.list("lake").iter().all(|name| name.ends_with(".parquet")), "{:?}", folder.list("lake"));
        assert_eq!(done["totals"]["rows_in"], done["totals"]["rows_out"]);
        assert_eq!(parquet_rows(&folder, "lake") as u64, done["totals"]["rows_out"].as_u64().expect("a number"));
    }
}

#[test]
fn a_second_signal_ends_at_once_what_cannot_be_written() {
    let folder = Folder::new();
    folder.write("flow.toml", endless("type = \"console\""));
    // Nobody reads what it prints: the sink hangs in a full pipe.
    let mut command = Command::new(PROGRAM);
    command.args(["run", "flow.toml"]).current_dir(folder.path("")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program");
    sleep(Duration::from_millis(800));
    let interrupt = || Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    interrupt();
    sleep(Duration::from_millis(300));
    interrupt();
    let code = child.wait().expect("a status").code();
    assert_eq!(code, Some(130));
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_run_quietly() {
    let folder = Folder::new();
    folder.write("flow.toml", endless("type = \"console\"").replace("rate = 5000", "speed = \"max\""));
    for arguments in [&["run", "flow.toml"][..], &["run", "flow.toml", "--workers", "2"]] {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(folder.path("")).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
        assert!(line.starts_with("{\"symbol\":"), "{line}");
        let ended = child.wait_with_output().expect("the end");
        assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(141), ""));
    }
}

#[test]
fn a_sink_in_an_object_store_is_refused_instead_of_written_to_a_folder_of_that_name() {
    for sink in ["file", "parquet"] {
        let folder = Folder::new();
        folder.write("flow.toml", endless(&format!("type = \"{sink}\"\npath = \"s3://bucket/out/\"")));
        let ended = folder.tapeflow(&["validate", "flow.toml"]).with_code(3);
        assert!(ended.stderr.contains("a sink writes to a disk, not to an object store"), "{}", ended.stderr);
    }
}

#[test]
fn what_is_fetched_from_an_object_store_is_left_nowhere() {
    let folder = Folder::new();
    folder.write("rows.jsonl", "{\"k\": \"A\", \"t\": 1700000000000}\n");
    let place = folder.path("rows.jsonl");
    let flow = format!(
        "version = 1\nname = \"fetched\"\n[sources.rows]\ntype = \"file\"\npath = \"file://{}\"\ntime = \"t\"\nkey = \"k\"\n\
         [sinks.out]\ntype = \"console\"\ninput = \"rows\"\n",
        place.display()
    );
    folder.write("flow.toml", flow);
    // What one that was killed has left; no process has this number.
    folder.write("temporary/tapeflow-fetched-4294967295/x/rows.jsonl", "");
    folder.write("temporary/tapeflow-fetched-1/x/rows.jsonl", "of one that lives");
    let temporary = folder.path("temporary");
    let environment = [("TMPDIR", temporary.to_str().expect("text"))];
    let ended = folder.start(&["run", "flow.toml"], &environment).wait().fine();
    assert!(ended.stdout.contains("\"k\":\"A\""), "{}", ended.stdout);
    let left = std::fs::read_dir(&temporary).expect("a folder").flatten().map(|entry| entry.file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["tapeflow-fetched-1"]);
}
