//! Files as strangers write them: every record becomes a row or a dead letter, and no column is lost.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, DictionaryArray, Float64Array, LargeStringArray, RecordBatch, TimestampMicrosecondArray,
    UInt16Array, UInt64Array,
};
use arrow::datatypes::{Field, Int32Type, Schema};
use parquet::arrow::ArrowWriter;
use serde_json::{Value as Json, json};

use crate::support::{Folder, Row, rows};

/// Runs a file source with these keys into `out.jsonl`, and returns the rows and the reasons of the dead letters.
#[track_caller]
fn read(folder: &Folder, source: &str) -> (Vec<Row>, Vec<String>) {
    folder.write("flow.toml", flow(source));
    folder.tapeflow(&["run", "flow.toml", "--workers", "2"]).fine();
    let letters = rows(&folder.read_if_there("dead-letters/odd.jsonl"));
    let reason = |letter: &Row| letter["reason"].as_str().expect("a reason").to_string();
    (rows(&folder.read("out.jsonl")), letters.iter().map(reason).collect())
}

fn flow(source: &str) -> String {
    format!(
        "version = 1\nname = \"odd\"\n[sources.s]\ntype = \"file\"\n{source}\n\
         [sinks.o]\ntype = \"file\"\ninput = \"s\"\npath = \"out.jsonl\"\n"
    )
}

fn column(rows: &[Row], name: &str) -> Vec<Json> {
    rows.iter().map(|row| row[name].clone()).collect()
}

const KEYS: &str = "time = \"t\"\nkey = \"s\"";

#[test]
fn windows_line_ends_a_byte_order_mark_and_no_line_end_at_the_end() {
    let folder = Folder::new();
    folder.write("x.csv", "\u{feff}s,t,p\r\nA,2024-01-01T00:00:00Z,1\r\n\r\nB,2024-01-01T00:00:01Z,2.5");
    let (read_rows, letters) = read(&folder, &format!("path = \"x.csv\"\n{KEYS}"));
    assert_eq!((column(&read_rows, "p"), letters.len()), (vec![json!(1.0), json!(2.5)], 0));
    folder.write(
        "x.jsonl",
        "\u{feff}{\"s\":\"A\",\"t\":1704067200000,\"p\":1}\r\n\r\n{\"s\":\"B\",\"t\":1704067200001,\"p\":2.5}",
    );
    let (read_rows, letters) = read(&folder, &format!("path = \"x.jsonl\"\n{KEYS}"));
    assert_eq!((column(&read_rows, "p"), letters.len()), (vec![json!(1.0), json!(2.5)], 0));
}

#[test]
fn quoted_fields_hold_line_ends() {
    let folder = Folder::new();
    let text = "s,t,p,\"a\nnote\"\n\"A\",2024-01-01T00:00:00Z,1,\"x\ny, \"\"z\"\"\"\r\nB,2024-01-01T00:00:01Z,2,\"stray\nC,2024-01-01T00:00:02Z,3,plain\n";
    folder.write("x.csv", text);
    let (read_rows, letters) = read(&folder, &format!("path = \"x.csv\"\n{KEYS}"));
    assert_eq!(column(&read_rows, "a\nnote"), [json!("x\ny, \"z\""), json!("plain")]);
    assert_eq!(letters, ["a quote is not closed"]);
}

#[test]
fn quoted_line_ends_at_the_borders_of_splits() {
    let folder = Folder::new();
    // Some 10 MB: three splits. The notes are made of lines that look like records.
    let lookalike = "A,2024-01-01T00:00:00Z,9999,x\n".repeat(100);
    let mut text = "s,t,p,note\n".to_string();
    for i in 0..3000 {
        text.push_str(&format!("A,2024-01-01T00:00:00Z,{i},\"{lookalike}\"\n"));
    }
    folder.write("x.csv", &text);
    let select = "select = { s = \"s\", t = \"t\", p = \"p\", n = \"length(note)\" }";
    let (read_rows, letters) = read(&folder, &format!("path = \"x.csv\"\n{KEYS}\n{select}"));
    assert_eq!(letters.len(), 0);
    assert_eq!(column(&read_rows, "p"), (0..3000).map(Json::from).collect::<Vec<_>>());
    assert!(read_rows.iter().all(|row| row["n"] == json!(lookalike.len())));
}

#[test]
fn the_delimiter_of_tsv_is_a_tab_and_the_last_column_may_lack_a_name() {
    let folder = Folder::new();
    folder.write("x.tsv", "s\tt\tp\t\nA\t2024-01-01T00:00:00Z\t1\t9\nB\t2024-01-01T00:00:00Z\t2\t\n");
    let (read_rows, letters) = read(&folder, &format!("path = \"x.tsv\"\n{KEYS}"));
    assert_eq!((column(&read_rows, "p"), letters.len()), (vec![json!(1), json!(2)], 0));
}

#[test]
fn an_empty_file_among_others_tells_nothing() {
    let folder = Folder::new();
    folder.write("in/a.csv", "");
    folder.write("in/b.csv", "s,t,p\n");
    folder.write("in/c.csv", "s,t,p\nA,2024-01-01T00:00:00Z,1\n");
    folder.write("in/d.csv", "p,other,t,s\n2,x,2024-01-01T00:00:00Z,B\n");
    // Only the second file tells types, and it holds no row: everything would be text.
    let schema = "schema = { s = \"text\", t = \"timestamp\", p = \"double\" }";
    let (read_rows, letters) = read(&folder, &format!("path = \"in/\"\nformat = \"csv\"\n{KEYS}\n{schema}"));
    assert_eq!((column(&read_rows, "p"), letters.len()), (vec![json!(1.0), json!(2.0)], 0));
    std::fs::remove_file(folder.path("in/b.csv")).expect("removed");
    let (read_rows, letters) = read(&folder, &format!("path = \"in/*.csv\"\n{KEYS}"));
    assert_eq!((column(&read_rows, "p"), letters.len()), (vec![json!(1), json!(2)], 0));
}

#[test]
fn a_thousand_files() {
    let folder = Folder::new();
    for i in 0..1000 {
        folder.write(&format!("in/{i:04}.csv"), format!("s,t,p\nA,2024-01-01T00:00:00Z,{i}\n"));
    }
    let (read_rows, letters) = read(&folder, &format!("path = \"in/\"\n{KEYS}"));
    assert_eq!((column(&read_rows, "p"), letters.len()), ((0..1000).map(Json::from).collect(), 0));
}

#[test]
fn hive_partitions_are_decoded_and_go_before_columns_of_the_files() {
    let folder = Folder::new();
    folder.write("in/s=BRK%2FB/p=7/x.csv", "t,p\n2024-01-01T00:00:00Z,1\n");
    folder.write("in/s=__HIVE_DEFAULT_PARTITION__/p=8/x.csv", "t,p\n2024-01-01T00:00:00Z,1\n");
    let (read_rows, letters) = read(&folder, &format!("path = \"in\"\n{KEYS}"));
    assert_eq!((column(&read_rows, "s"), column(&read_rows, "p")), (vec![json!("BRK/B")], vec![json!("7")]));
    assert_eq!(letters, ["it has no key"]);
}

/// What is wrong with a flow that reads so.
#[track_caller]
fn refused(folder: &Folder, source: &str) -> String {
    folder.write("flow.toml", flow(source));
    let stderr = folder.tapeflow(&["run", "flow.toml"]).with_code(3).stderr;
    stderr.lines().next().unwrap_or_default().to_string()
}

#[test]
fn what_cannot_be_read_is_said_at_once() {
    let folder = Folder::new();
    folder.write("empty.csv", "");
    folder.write("twice.csv", "a,a,t\n1,2,2024-01-01T00:00:00Z\n");
    folder.write("x.csv", "s,t,p\nA,2024-01-01T00:00:00Z,1\n");
    folder.write("x.parquet", "hello");
    folder.write("x.dat", "hello");
    for (source, expected) in [
        ("path = \"empty.csv\"\ntime = \"t\"", "error: flow.toml:5:8: empty.csv: the file is empty"),
        ("path = \"twice.csv\"\ntime = \"t\"", "error: flow.toml:5:8: twice.csv: \"a\" stands twice in the header"),
        ("path = \"none.*\"\ntime = \"t\"", "error: flow.toml:5:8: there is no file none.*, and no `schema` either"),
        ("path = \"x.dat\"\ntime = \"t\"", "error: flow.toml:5:8: write `format`: the name x.dat does not tell it"),
        (
            "path = \"x.parquet\"\ntime = \"t\"",
            "error: flow.toml:5:8: x.parquet: EOF: Parquet file too small. Size is 5 but need 8",
        ),
        (
            "path = \"x.csv\"\ntime = \"t\"\nselect = { t = \"t\", seq = \"p\" }",
            "error: flow.toml:7:10: `seq` is built in and cannot be a column of the row",
        ),
        ("path = \"x.csv\"\ntime = \"t\"\nselect = [\"t\", \"p\", \"p\"]", "error: flow.toml:7:21: `p` stands twice"),
        ("path = \"x.csv\"\ntime = \"t\"\ndelimiter = \"::\"", "error: flow.toml:7:13: a delimiter is one character"),
    ] {
        assert_eq!(refused(&folder, source), expected);
    }
}

/// Writes a Parquet file of these columns.
fn write_parquet(folder: &Folder, name: &str, columns: Vec<(&str, ArrayRef)>) {
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let data = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch");
    let file = std::fs::File::create(folder.path(name)).expect("a file");
    let mut writer = ArrowWriter::try_new(file, data.schema(), None).expect("a writer");
    writer.write(&data).expect("rows");
    writer.close().expect("a footer");
}

fn times() -> ArrayRef {
    let times = TimestampMicrosecondArray::from(vec![1_704_067_200_000_000, 1_704_067_201_000_000]);
    Arc::new(times.with_timezone("America/New_York"))
}

#[test]
fn parquet_columns_of_every_name_and_of_types_that_are_not_ours() {
    let folder = Folder::new();
    let dictionary: DictionaryArray<Int32Type> = vec![Some("A"), Some("B")].into_iter().collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("t", times()),
        ("s", Arc::new(dictionary)),
        ("a.b", Arc::new(Float64Array::from(vec![1.5, 2.5]))),
        ("1. open", Arc::new(UInt16Array::from(vec![7, 8]))),
        ("order", Arc::new(LargeStringArray::from(vec!["x", "y"]))),
    ];
    write_parquet(&folder, "x.parquet", columns);
    let (read_rows, letters) =
        read(&folder, "path = \"x.parquet\"\ntime = \"t\"\nkey = [\"s\", \"1. open\", \"order\"]");
    let expected = rows(
        r#"{"t":"2024-01-01T00:00:00Z","s":"A","a.b":1.5,"1. open":7,"order":"x","seq":0}
           {"t":"2024-01-01T00:00:01Z","s":"B","a.b":2.5,"1. open":8,"order":"y","seq":1}"#,
    );
    assert_eq!((read_rows, letters.len()), (expected, 0));
}

#[test]
fn a_memory_budget_smaller_than_an_epoch_delays_and_does_not_stop() {
    let folder = Folder::new();
    let line = |i: usize| format!("{{\"s\":\"S{}\",\"t\":{},\"p\":{i}}}\n", i % 7, 1_704_067_200_000_u64 + i as u64);
    folder.write("x.jsonl", (0..150_000).map(line).collect::<String>());
    for workers in ["1", "2"] {
        folder.write("flow.toml", format!("{}[job]\nmemory = \"1MB\"\n", flow(&format!("path = \"x.jsonl\"\n{KEYS}"))));
        folder.tapeflow(&["run", "flow.toml", "--workers", workers]).fine();
        assert_eq!(folder.read("out.jsonl").lines().count(), 150_000);
    }
}

#[test]
fn a_row_on_which_an_expression_fails_costs_no_other() {
    let folder = Folder::new();
    let lines = [r#""t":1704067200000,"p":1,"z":0"#, r#""t":null,"p":6,"z":2"#, r#""t":1704067200000,"p":8,"z":2"#];
    folder.write("x.jsonl", lines.map(|line| format!("{{\"s\":\"A\",{line}}}\n")).concat());
    let select = "select = { s = \"s\", t = \"t\", q = \"p / z\" }";
    let (read_rows, letters) = read(&folder, &format!("path = \"x.jsonl\"\n{KEYS}\n{select}"));
    assert_eq!(column(&read_rows, "q"), [json!(4)]);
    assert_eq!(letters, ["Arrow error: Divide by zero error", "it has no event time, or one that is out of range"]);
}

#[test]
fn times_in_a_wrong_unit_fail_and_name_the_right_one() {
    let folder = Folder::new();
    folder.write("x.jsonl", "{\"s\":\"A\",\"t\":null}\n{\"s\":\"A\",\"t\":1704067200000000000}\n");
    folder.write("flow.toml", flow(&format!("path = \"x.jsonl\"\n{KEYS}")));
    let stderr = folder.tapeflow(&["run", "flow.toml"]).with_code(1).stderr;
    assert!(stderr.ends_with("taken in ms (the default); write time_unit = \"ns\"\n"), "{stderr}");
}

#[test]
fn parquet_values_that_do_not_fit_are_dead_letters() {
    let folder = Folder::new();
    let numbers = UInt64Array::from(vec![u64::MAX, 7]);
    write_parquet(&folder, "x.parquet", vec![("t", times()), ("n", Arc::new(numbers))]);
    let (read_rows, letters) = read(&folder, "path = \"x.parquet\"\ntime = \"t\"");
    assert_eq!(column(&read_rows, "n"), [json!(7)]);
    assert_eq!(letters, ["column `n`: Cast error: Can't cast value 18446744073709551615 to type Int64"]);
}

#[test]
fn times_beyond_the_calendar_are_null_in_texts() {
    let folder = Folder::new();
    let never = TimestampMicrosecondArray::from(vec![i64::MAX, 0]);
    let day = Date32Array::from(vec![0, i32::MAX]);
    write_parquet(&folder, "x.parquet", vec![("t", times()), ("never", Arc::new(never)), ("day", Arc::new(day))]);
    let (read_rows, _) = read(&folder, "path = \"x.parquet\"\ntime = \"t\"");
    assert_eq!(column(&read_rows, "never"), [Json::Null, json!("1970-01-01T00:00:00Z")]);
    assert_eq!(column(&read_rows, "day"), [json!("1970-01-01"), Json::Null]);
}

#[test]
fn an_input_is_not_overwritten_and_no_file_written_twice() {
    let folder = Folder::new();
    let line = "{\"s\":\"A\",\"t\":1704067200000}\n";
    folder.write("out.jsonl", line);
    assert_eq!(
        refused(&folder, &format!("path = \"*.jsonl\"\n{KEYS}")),
        "error: flow.toml:8:8: `o` would overwrite what `s` reads"
    );
    assert_eq!(folder.read("out.jsonl"), line);
    folder.write("x.csv", "s,t\nA,2024-01-01T00:00:00Z\n");
    let second = "[sinks.p]\ntype = \"file\"\ninput = \"s\"\npath = \"out.jsonl\"";
    assert_eq!(
        refused(&folder, &format!("path = \"x.csv\"\n{KEYS}\n{second}")),
        "error: flow.toml:12:8: `o` and `p` would write to the same file"
    );
}

#[test]
fn csv_without_rows_has_a_header() {
    let folder = Folder::new();
    folder.write("x.csv", "s,t\nA,2024-01-01T00:00:00Z\n");
    let flow = flow(&format!("path = \"x.csv\"\n{KEYS}")).replace("out.jsonl", "out.csv");
    let none = "[operators.none]\ntype = \"filter\"\ninput = \"s\"\nwhen = \"s = 'B'\"\n";
    folder.write("flow.toml", flow.replace("input = \"s\"", "input = \"none\"") + none);
    folder.tapeflow(&["run", "flow.toml"]).fine();
    assert_eq!(folder.read("out.csv"), "s,t,seq\n");
}

#[test]
fn a_line_that_is_too_long_is_a_dead_letter_and_no_half_row() {
    let folder = Folder::new();
    let long = "y".repeat(66 << 20);
    folder.write("x.csv", format!("s,t,x\nA,2024-01-01T00:00:00Z,{long}\nB,2024-01-01T00:00:00Z,z\n"));
    folder.write(
        "x.jsonl",
        format!("{{\"s\":\"A\",\"t\":1704067200000,\"x\":\"{long}\"}}\n{{\"s\":\"B\",\"t\":1704067200000}}\n"),
    );
    let schema = "schema = { s = \"text\", t = \"timestamp_ms\", x = \"text\" }";
    for name in ["x.csv", "x.jsonl"] {
        let (read_rows, letters) = read(&folder, &format!("path = \"{name}\"\n{KEYS}\n{schema}"));
        assert_eq!(column(&read_rows, "s"), [json!("B")], "{name}");
        assert_eq!(letters[0], "a line of 64 MB or more", "{name}");
        std::fs::remove_dir_all(folder.path("dead-letters")).expect("removed");
    }
}

#[test]
fn a_declared_column_that_the_file_lacks_is_warned_of() {
    let folder = Folder::new();
    folder.write("x.csv", "s,t,price\nA,2024-01-01T00:00:00Z,1\n");
    let schema = "schema = { s = \"text\", t = \"timestamp\", pirce = \"double\" }";
    folder.write("flow.toml", flow(&format!("path = \"x.csv\"\n{KEYS}\n{schema}")));
    let told = folder.tapeflow(&["validate", "flow.toml"]).fine().stderr;
    assert!(told.starts_with("warning: flow.toml:8:10: x.csv has no column `pirce`; did you mean `price`?"), "{told}");
}
