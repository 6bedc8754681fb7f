//! `email`: which rows a mail tells of, what is sent again, what becomes a dead letter, and that nobody can listen.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::smtp::{Act, Mail, Security, Server};
use super::{flow, folder, killed_and_run_again, letters, of_alerts};
use crate::support::{Folder, rows};

fn mail(server: &Server, more: &str) -> String {
    format!(
        "type = \"email\"\nserver = \"127.0.0.1:{}\"\nfrom = \"Market <market@example.com>\"\n\
         to = \"a@example.com\"\n{more}",
        server.port
    )
}

/// Without TLS.
fn plain(server: &Server, more: &str) -> String {
    of_alerts(&mail(server, &format!("tls = \"none\"\n{more}")))
}

fn right(_: usize, _: &str) -> Act {
    Act::Right
}

/// The numbers of the trades that mails tell of, where their text is `{n}`.
fn numbers(mails: &[Mail]) -> Vec<usize> {
    let lines = mails.iter().flat_map(Mail::lines);
    lines.map(|line| line.parse().unwrap_or_else(|_| panic!("{line}"))).collect()
}

#[test]
fn a_mail_tells_of_the_rows_that_come_together() {
    let server = Server::start(Security::None, right);
    folder(3, &plain(&server, "")).tapeflow(&["run", "flow.toml", "--workers", "2"]).fine();
    let [mail] = &server.mails()[..] else { panic!("{:?}", server.mails()) };
    assert_eq!((mail.from.as_str(), &mail.to[..]), ("market@example.com", &["a@example.com".to_string()][..]));
    assert_eq!(mail.header("From"), "Market <market@example.com>");
    assert_eq!(mail.header("Subject"), "[warning] S0 is at 0 (and 2 more)");
    assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
    assert!(mail.header("Message-ID").ends_with("@example.com>"), "{}", mail.header("Message-ID"));
    let lines = ["00Z S0 is at 0", "00.001Z S1 is at 0.25", "00.002Z S2 is at 0.5"];
    assert_eq!(mail.lines(), lines.map(|line| line.replacen("00", "2023-11-14T22:13:20", 1)));
}

#[test]
fn subject_text_and_readers_are_what_is_asked_for() {
    let server = Server::start(Security::None, right);
    let keys = "subject = \"{symbol}: über {price}\"\ntext = \"{n}\"\nmax_rows = 2\nmax_delay = \"0s\"";
    let sink = plain(&server, keys).replace("\"a@example.com\"", "[\"A <a@example.com>\", \"b@example.com\"]");
    folder(5, &sink).tapeflow(&["run", "flow.toml"]).fine();
    let mails = server.mails();
    assert_eq!((mails.len(), numbers(&mails)), (3, vec![0, 1, 2, 3, 4]));
    assert_eq!(mails[0].to, ["a@example.com", "b@example.com"]);
    // RFC 2047.
    assert!(mails[2].header("Subject").contains("=?utf-8?"), "{}", mails[2].header("Subject"));
    let ids: BTreeSet<String> = mails.iter().map(|mail| mail.header("Message-ID")).collect();
    assert_eq!(ids.len(), 3);
    // Rows that say nothing of themselves are told as they are.
    let of_rows =
        of_alerts("").replace("[sinks.out]\ninput = \"dear\"", "[sinks.other]\ntype = \"discard\"\ninput = \"dear\"");
    let sink = format!("{of_rows}[sinks.out]\ninput = \"trades\"\n{}", super::email::mail(&server, "tls = \"none\""));
    folder(1, &sink).tapeflow(&["run", "flow.toml"]).fine();
    let mail = server.mails().pop().expect("a mail");
    let expected = json!({ "n": 0, "symbol": "S0", "time": "2023-11-14T22:13:20Z", "price": 0.0, "seq": 0 });
    // A long line is folded.
    let row: Json =
        serde_json::from_str(&mail.lines().join("\n").replace("=\n", "").replace("=3D", "=")).expect("a row");
    assert_eq!((mail.header("Subject").as_str(), row), ("out", expected));
}

#[test]
fn rows_wait_for_others_but_not_beyond_the_end() {
    let server = Server::start(Security::None, right);
    let slow = |delay: &str| {
        let folder = folder(600, "");
        let sink = plain(&server, &format!("text = \"{{n}}\"\nmax_rows = 5000\nmax_delay = \"{delay}\""));
        folder.write("flow.toml", flow("epoch = \"10ms\"", "speed = 1", &sink));
        let before = server.mails().len();
        folder.tapeflow(&["run", "flow.toml"]).fine();
        server.mails()[before..].to_vec()
    };
    let together = slow("1h");
    assert_eq!((together.len(), numbers(&together)), (1, (0..600).collect()));
    let (now_and_then, at_once) = (slow("200ms"), slow("0s"));
    assert!((2..=4).contains(&now_and_then.len()), "{}", now_and_then.len());
    assert!(at_once.len() > 4, "{}", at_once.len());
    assert_eq!((numbers(&now_and_then), numbers(&at_once)), ((0..600).collect(), (0..600).collect()));
}

#[test]
fn what_fails_for_a_while_is_sent_again_as_the_same_mail() {
    let late = Duration::from_secs(10);
    let server = Server::start(Security::None, move |connection, verb| match (connection, verb) {
        (1, "CONNECT") => Act::Say("421 too busy"),
        (2, "CONNECT") => Act::HangUp,
        (3, "RCPT") => Act::Say("450 mailbox is busy"),
        (4, ".") => Act::HangUp,
        (5, "DATA") => Act::Late(late),
        _ => Act::Right,
    });
    let folder = folder(3, &plain(&server, "text = \"{n}\"\ntimeout = \"1s\""));
    let ended = folder.tapeflow(&["run", "flow.toml"]).fine();
    assert_eq!((server.mails().len(), numbers(&server.mails()), letters(&folder)), (1, vec![0, 1, 2], vec![]));
    assert!(ended.stderr.contains("421") && ended.stderr.contains("tried again"), "{}", ended.stderr);
    let heard = server.heard();
    let ids: Vec<&str> = heard.lines().filter(|line| line.starts_with("Message-ID")).collect();
    assert!(ids.len() == 2 && ids[0] == ids[1], "{ids:?}");
}

#[test]
fn the_rows_of_a_mail_that_is_refused_become_dead_letters() {
    let server = Server::start(Security::None, |connection, verb| match (connection, verb) {
        (2, "RCPT") => Act::Say("550 no such user"),
        _ => Act::Right,
    });
    let folder = folder(6, &plain(&server, "text = \"{n}\"\nmax_rows = 2"));
    let ended = folder.tapeflow(&["run", "flow.toml", "--json"]).fine();
    let letters = letters(&folder);
    assert_eq!((numbers(&server.mails()), letters.len()), (vec![0, 1, 4, 5], 2));
    assert_eq!(rows(&ended.stdout)[0]["totals"]["dead_letters"], 2);
    assert!(letters[0]["reason"].as_str().is_some_and(|reason| reason.contains("550")), "{letters:?}");
    assert!(letters[0]["payload"]["text"].as_str().is_some_and(|row| row.starts_with("{\"n\":2,")), "{letters:?}");
}

/// A server's certificate beside the dataflow file, and its user's password.
fn secured(server: &Server, more: &str) -> Folder {
    let folder = folder(2, &of_alerts(&mail(server, &format!("ca = \"ca.pem\"\ntext = \"{{n}}\"\n{more}"))));
    folder.write("ca.pem", &server.certificate);
    folder.write("password", "hidden_value_1234\n");
    folder
}

const USER: &str = "user = \"market\"\npassword = \"${file:password}\"\n";

#[test]
fn connections_are_encrypted_before_anything_is_said() {
    for (security, tls) in [(Security::Starttls, "starttls"), (Security::Tls, "tls")] {
        let server = Server::start(security, right);
        let folder = secured(&server, &format!("{USER}tls = \"{tls}\""));
        folder.tapeflow(&["validate", "--connect", "flow.toml"]).fine();
        assert_eq!(server.mails(), []);
        folder.tapeflow(&["run", "flow.toml"]).fine();
        assert_eq!((numbers(&server.mails()), server.mails()[0].encrypted), (vec![0, 1], true));
        // "\0market\0hidden_value_1234" in base 64.
        assert!(server.heard().contains("AUTH PLAIN AG1hcmtldABoaWRkZW5fdmFsdWVfMTIzNA=="), "{}", server.heard());
    }
}

#[test]
fn a_server_that_cannot_encrypt_or_is_another_is_told_nothing() {
    let server = Server::start(Security::None, right);
    let folder = secured(&server, USER);
    folder.tapeflow(&["validate", "--connect", "flow.toml"]).with_code(4);
    folder.tapeflow(&["run", "flow.toml"]).fine();
    assert_eq!((letters(&folder).len(), server.mails()), (2, vec![]));
    let other = Server::start(Security::Tls, right);
    let folder = secured(&other, &format!("{USER}tls = \"tls\"\ngive_up_after = \"500ms\""));
    folder.write("ca.pem", &server.certificate);
    folder.tapeflow(&["run", "flow.toml"]).fine();
    let letters = letters(&folder);
    assert!(letters.len() == 2 && letters[0]["reason"].to_string().contains("certificate"), "{letters:?}");
    for server in [&server, &other] {
        assert!(!server.heard().contains("AUTH") && !server.heard().contains("MAIL"), "{}", server.heard());
    }
}

#[test]
fn a_password_is_shown_nowhere_also_where_it_is_wrong() {
    let server = Server::start(Security::Starttls, |_, verb| match verb {
        "AUTH" => Act::Say("535 not with hidden_value_1234"),
        _ => Act::Right,
    });
    let folder = secured(&server, USER);
    let mut told = String::new();
    for (command, code) in
        [(&["explain", "flow.toml"][..], 0), (&["validate", "--connect", "flow.toml"], 4), (&["run", "flow.toml"], 0)]
    {
        let ended = folder.tapeflow_with(command, &[("RUST_LOG", "debug")]).with_code(code);
        told += &(ended.stdout + &ended.stderr);
    }
    told += &folder.read("dead-letters/told.jsonl");
    assert!(told.contains("535") && letters(&folder).len() == 2, "{told}");
    assert!(!told.contains("hidden_value") && !told.contains("aGlkZGVu") && !told.contains("AG1hcmtld"), "{told}");
}

#[test]
fn killed_again_and_again_it_has_told_of_every_row() {
    const ROWS: usize = 3000;
    let server = Server::start(Security::None, right);
    let folder = folder(ROWS, "");
    let sink = plain(&server, "text = \"{n}\"\nmax_rows = 10\nmax_delay = \"50ms\"");
    folder.write("flow.toml", flow("checkpoint = \"100ms\"\nepoch = \"10ms\"", "speed = 1", &sink));
    killed_and_run_again(&folder, || 10 * server.mails().len());
    let told: BTreeSet<usize> = numbers(&server.mails()).into_iter().collect();
    assert_eq!(told, (0..ROWS).collect());
}
