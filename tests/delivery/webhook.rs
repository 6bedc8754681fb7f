//! `webhook`: what is posted, what is tried again, what becomes a dead letter.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use super::http::{Answer, Request, Server};
use super::{disorder, flow, folder, killed_and_run_again, letters, number, of_alerts, tls, trade};
use crate::support::cluster::wait_until;
use crate::support::rows;

fn hook(url: &str, more: &str) -> String {
    format!("[sinks.out]\ntype = \"webhook\"\ninput = \"trades\"\nurl = \"{url}\"\n{more}\n")
}

fn numbers(requests: &[Request]) -> Vec<usize> {
    requests.iter().map(|request| number(&request.json())).collect()
}

#[test]
fn every_row_is_posted_once_and_those_of_a_key_in_order() {
    let server = Server::start(|_, _| Answer::status(200));
    let headers = "headers = { Authorization = \"Bearer ${file:token}\", X-Room = \"${ROOM}\" }";
    let folder = folder(300, &hook(&server.url("rows?room=1"), headers));
    folder.write("token", "hush-hush\n");
    let ended = folder.tapeflow_with(&["run", "flow.toml", "--workers", "3", "--json"], &[("ROOM", "seven")]).fine();
    let requests = server.requests();
    assert_eq!((requests.len(), disorder(&numbers(&requests), 300)), (300, vec![]));
    for request in &requests {
        let row = request.json();
        let mut expected = trade(number(&row));
        expected["time"] = row["time"].clone();
        expected["seq"] = row["seq"].clone();
        assert_eq!(row, expected);
        let said = ["content-type", "authorization", "x-room"].map(|name| request.headers[name].as_str());
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/rows?room=1"));
        assert_eq!(said, ["application/json", "Bearer hush-hush", "seven"]);
    }
    assert!(requests.iter().any(|request| request.json()["time"] == "2023-11-14T22:13:20.007Z"));
    let keys: BTreeSet<String> = requests.iter().map(Request::key).collect();
    assert_eq!(keys.len(), 300);
    let totals = &rows(&ended.stdout)[0]["totals"];
    assert_eq!((&totals["rows_out"], &totals["dead_letters"]), (&json!(300), &json!(0)));
}

#[test]
fn a_body_is_the_row_a_text_for_a_chat_or_what_a_table_says() {
    let server = Server::start(|_, _| Answer::status(204));
    let selected = hook(&server.url("row"), "select = { n = \"n\", twice = \"price * 2\" }\nbody = \"row\"");
    let posted = |folder: &crate::support::Folder| {
        let before = server.requests().len();
        folder.tapeflow(&["run", "flow.toml"]).fine();
        server.requests()[before..].iter().map(Request::json).collect::<Vec<_>>()
    };
    assert_eq!(posted(&folder(2, &selected)), [json!({ "n": 0, "twice": 0.0 }), json!({ "n": 1, "twice": 0.5 })]);
    let hook = |body: &str| of_alerts(&format!("type = \"webhook\"\nurl = \"{}\"\n{body}", server.url("x")));
    let texts = posted(&folder(2, &hook("body = \"text\"")));
    assert_eq!(texts, [json!({ "text": "S0 is at 0" }), json!({ "text": "S1 is at 0.25" })]);
    let table = "[sinks.out.body]\nrouting_key = \"${KEY:-k}\"\nlevel = 3\nratio = 0.5\nnotify = true\n\
                 payload = { source = '{symbol} \"quoted\"', tags = [\"{severity}\", \"{{n}}\"], at = \"{_time}\" }";
    let payload = json!({ "source": "S0 \"quoted\"", "tags": ["warning", "{n}"], "at": "2023-11-14T22:13:20Z" });
    let expected = json!({ "routing_key": "k", "level": 3, "ratio": 0.5, "notify": true, "payload": payload });
    assert_eq!(posted(&folder(1, &hook(table))), [expected]);
}

#[test]
fn two_rows_of_one_record_have_keys_of_their_own() {
    let server = Server::start(|_, _| Answer::status(200));
    let hook = format!("type = \"webhook\"\nurl = \"{}\"", server.url("x"));
    let both = of_alerts(&hook).replace("input = \"dear\"", "input = [\"dear\", \"cheap\"]");
    let cheap = "[operators.cheap]\ntype = \"alert\"\ninput = \"trades\"\nwhen = \"price < 9\"\nrepeat = true\n";
    let folder = folder(20, &format!("{cheap}{both}"));
    for _ in 0..2 {
        folder.tapeflow(&["run", "flow.toml", "--workers", "2"]).fine();
    }
    let keys: BTreeSet<String> = server.requests().iter().map(Request::key).collect();
    assert_eq!((server.requests().len(), keys.len()), (80, 40), "and the same when they come again");
}

#[test]
fn what_fails_for_a_while_is_tried_again_in_order_and_with_the_same_key() {
    let server = Server::start(|request, before| {
        let again = Answer::Say(429, "retry-after: 2\r\n".to_string(), "slow down".to_string());
        match (number(&request.json()), before) {
            (3, 0) | (30, 0..3) => Answer::status(503),
            (4, 0) => again,
            (5, 0) => Answer::HangUp,
            (6, 0) => Answer::Late(Duration::from_secs(5)),
            (7, 0) => Answer::status(408),
            (8, 0..2) => Answer::status(500),
            _ => Answer::status(200),
        }
    });
    let folder = folder(40, &hook(&server.url("x"), "timeout = \"600ms\""));
    let ended = folder.tapeflow(&["run", "flow.toml", "--workers", "1"]).fine();
    assert_eq!((disorder(&numbers(&server.accepted()), 40), letters(&folder)), (vec![], vec![]));
    let mut attempts: BTreeMap<usize, Vec<Request>> = BTreeMap::new();
    for request in server.requests() {
        attempts.entry(number(&request.json())).or_default().push(request);
    }
    for (n, count) in [(3, 2), (4, 2), (5, 2), (6, 2), (7, 2), (8, 3), (30, 4), (9, 1)] {
        let attempts = &attempts[&n];
        let keys: BTreeSet<String> = attempts.iter().map(Request::key).collect();
        assert_eq!((attempts.len(), keys.len()), (count, 1), "row {n}");
    }
    let waited = |n: usize, attempt: usize| attempts[&n][attempt].at - attempts[&n][attempt - 1].at;
    assert!(waited(4, 1) >= Duration::from_secs(2), "the server asked for that: {:?}", waited(4, 1));
    assert!(waited(6, 1) >= Duration::from_millis(600) && waited(6, 1) < Duration::from_secs(5), "{:?}", waited(6, 1));
    assert!(waited(30, 3) > waited(30, 1), "waits grow: {:?}, {:?}", waited(30, 1), waited(30, 3));
    // Not all: they are told now and then.
    assert!(ended.stderr.contains("503") && ended.stderr.contains("tried again"), "{}", ended.stderr);
}

#[test]
fn what_is_refused_becomes_a_dead_letter_and_the_others_go_on() {
    let server = Server::start(|request, _| match number(&request.json()) {
        7 => Answer::Say(400, String::new(), "no\nsuch room".to_string()),
        8 => Answer::Say(302, "location: /elsewhere\r\n".to_string(), String::new()),
        n if n % 10 == 9 => Answer::status(404),
        _ => Answer::status(202),
    });
    let folder = folder(40, &hook(&server.url("x"), ""));
    let ended = folder.tapeflow(&["run", "flow.toml", "--json"]).fine();
    let (letters, requests) = (letters(&folder), server.requests());
    assert_eq!((letters.len(), requests.len(), server.accepted().len()), (6, 40, 34), "nothing is posted twice");
    assert_eq!(rows(&ended.stdout)[0]["totals"]["dead_letters"], 6);
    let letter = |n: usize| {
        let payload = |letter: &crate::support::Row| letter["payload"]["text"].as_str().expect("text").to_string();
        letters.iter().find(|letter| payload(letter).starts_with(&format!("{{\"n\":{n},"))).expect("a letter")
    };
    assert_eq!((&letter(7)["node"], &letter(7)["job"]), (&json!("out"), &json!("told")));
    let reason = format!("{} answers 400 Bad Request: no such room", server.url("").trim_end_matches('/'));
    assert_eq!(letter(7)["reason"], reason);
    assert!(letter(8)["reason"].as_str().is_some_and(|reason| reason.contains("302 Found")));
    assert!(letter(9)["reason"].as_str().is_some_and(|reason| reason.contains("404 Not Found")));
}

#[test]
fn it_is_given_up_where_that_is_asked_for() {
    let server = Server::start(|request, _| match number(&request.json()) {
        2 => Answer::status(503),
        _ => Answer::status(200),
    });
    let folder = folder(5, &hook(&server.url("x"), "give_up_after = \"1s\""));
    folder.tapeflow(&["run", "flow.toml"]).fine();
    let letters = letters(&folder);
    assert_eq!((letters.len(), server.accepted().len()), (1, 4));
    let reason = letters[0]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("given up: ") && reason.contains("503"), "{reason}");
}

/// How many rows have come to the sink, as the program says.
fn rows_in(port: u16) -> u64 {
    use std::io::{Read, Write};
    let ask = || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map(|_| text)
    };
    let text = ask().unwrap_or_default();
    let of_sink = |line: &&str| line.starts_with("tapeflow_records_in_total{") && line.contains("operator=\"out\"");
    text.lines().filter(of_sink).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn a_server_that_stands_still_holds_the_job_back_and_loses_nothing() {
    const ROWS: usize = 10_000;
    let open = Arc::new(AtomicBool::new(false));
    let is_open = Arc::clone(&open);
    let server = Server::start(move |_, _| {
        while !is_open.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Answer::status(200)
    });
    let folder = folder(0, "");
    let flow = flow("memory = \"1MB\"", "", &hook(&server.url("x"), "timeout = \"1m\""));
    folder.write("flow.toml", flow.replace("price = \"double\"", "note = \"text\""));
    // Large, so that they come in several epochs.
    let large =
        |n: usize| format!("{},\"note\":\"{}\"}}\n", trade(n).to_string().trim_end_matches('}'), "x".repeat(5000));
    folder.write("trades.jsonl", (0..ROWS).map(large).collect::<String>());
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let http = format!("127.0.0.1:{port}");
    let running = folder.start(&["run", "flow.toml", "--workers", "2", "--http", &http], &[]);
    wait_until("rows have come", || rows_in(port) > 100);
    std::thread::sleep(Duration::from_secs(1));
    let held = rows_in(port);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(rows_in(port), held, "no more are read than there is room for");
    assert!((held as usize) < ROWS / 2, "{held}");
    open.store(true, Ordering::Relaxed);
    running.wait().fine();
    assert!(disorder(&numbers(&server.accepted()), ROWS).is_empty());
}

#[test]
fn killed_again_and_again_it_has_told_of_every_row() {
    const ROWS: usize = 3000;
    let server = Server::start(|_, _| Answer::status(200));
    let folder = folder(ROWS, "");
    let hook = hook(&server.url("x"), "");
    folder.write("flow.toml", flow("checkpoint = \"100ms\"\nepoch = \"10ms\"", "speed = 1", &hook));
    killed_and_run_again(&folder, || server.requests().len());
    let mut seen: BTreeMap<usize, BTreeSet<(String, String)>> = BTreeMap::new();
    for request in server.accepted() {
        seen.entry(number(&request.json())).or_default().insert((request.key(), request.body));
    }
    assert_eq!(seen.len(), ROWS, "all were told");
    assert!(seen.values().all(|told| told.len() == 1), "again with the same key and body");
    assert!(server.accepted().len() < 2 * ROWS, "and not all of them twice");
}

#[test]
fn a_server_is_believed_where_its_certificate_is_vouched_for() {
    let (config, certificate) = tls();
    let server = Server::encrypted(config, |_, _| Answer::status(200));
    let url = server.url("x").replace("http:", "https:");
    for (ca, told) in [("ca = \"ca.pem\"", 2), ("", 0)] {
        let folder = folder(2, &hook(&url, &format!("{ca}\ngive_up_after = \"10ms\"")));
        folder.write("ca.pem", &certificate);
        folder.tapeflow(&["validate", "--connect", "flow.toml"]).with_code(if told > 0 { 0 } else { 4 });
        let before = server.accepted().len();
        folder.tapeflow(&["run", "flow.toml"]).fine();
        let posted = server.accepted()[before..].iter().filter(|request| request.method == "POST").count();
        let reasons: Vec<String> = letters(&folder).iter().map(|letter| letter["reason"].to_string()).collect();
        assert_eq!((posted, reasons.len()), (told, 2 - told));
        assert!(reasons.iter().all(|reason| reason.contains("certificate")), "{reasons:?}");
    }
}

#[test]
fn its_url_and_headers_are_shown_nowhere() {
    const SECRET: &str = "T0/B0/hidden_value_1234";
    let server = Server::start(|request, _| match request.method == "POST" && request.json()["n"] == 1 {
        true => Answer::Say(400, String::new(), format!("not at {} with {:?}", request.path, request.headers)),
        false => Answer::status(200),
    });
    let unused = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let environment = [("HIDDEN", "hidden_header_9"), ("RUST_LOG", "debug")];
    for (port, code) in [(server.port, 0), (unused, 4)] {
        let headers = "headers = { Authorization = \"Bearer ${HIDDEN}\" }\ngive_up_after = \"10ms\"";
        let folder = folder(3, &hook("${file:url}", headers));
        folder.write("url", format!("http://127.0.0.1:{port}/{SECRET}\n"));
        let mut told = String::new();
        for (command, code) in [
            (&["explain", "flow.toml"][..], 0),
            (&["explain", "flow.toml", "--format", "json"], 0),
            (&["validate", "--connect", "flow.toml"], code),
            (&["run", "flow.toml", "--json"], 0),
        ] {
            let ended = folder.tapeflow_with(command, &environment).with_code(code);
            told += &(ended.stdout + &ended.stderr);
        }
        told += &folder.read("dead-letters/told.jsonl");
        assert!(!told.contains("hidden_"), "{told}");
        assert!(
            told.contains("POST to ${file:url}: each row") && told.contains(&format!("127.0.0.1:{port}")),
            "{told}"
        );
    }
    assert!(server.requests().iter().any(|request| request.path.contains(SECRET)));
    assert!(server.requests().iter().all(|request| request.method != "HEAD" || request.body.is_empty()));
    let folder = folder(1, &hook("${file:url}", ""));
    folder.write("url", "hooks.example/hidden_value");
    let told = folder.tapeflow(&["validate", "flow.toml"]).with_code(3).stderr;
    assert!(told.contains("flow.toml:15:7: this is no URL") && !told.contains("hidden"), "{told}");
}
