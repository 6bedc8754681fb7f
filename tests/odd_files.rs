//! Files as strangers write them: every record becomes a row or a dead letter, and no column is lost.

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
    folder.write("x.jsonl", "\u{feff}{\"s\":\"A\",\"t\":1704067200000,\"p\":1}\r\n\r\n{\"s\":\"B\",\"t\":1704067200001,\"p\":2.5}");
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
