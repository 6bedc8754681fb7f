//! Sinks that tell a server of rows, against real little servers that fail as servers do.

mod email;
mod http;
mod secrets;
mod smtp;
mod webhook;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value as Json, json};

use crate::support::cluster::wait_until;
use crate::support::{Folder, Row, rows};

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// What a server encrypts with, and the certificate that vouches for it, as PEM.
fn tls() -> (Arc<ServerConfig>, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_string()]).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.expect("TLS").with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key.into()).expect("a certificate");
    (Arc::new(config), made.cert.pem())
}

fn encrypted(tls: &Arc<ServerConfig>, stream: TcpStream) -> Box<dyn Stream> {
    let connection = ServerConnection::new(Arc::clone(tls)).expect("TLS");
    Box::new(StreamOwned::new(connection, stream))
}

/// Trades of three symbols, by their numbers.
fn trade(n: usize) -> Json {
    let time = 1_700_000_000_000_i64 + n as i64;
    json!({ "n": n, "symbol": format!("S{}", n % 3), "time": time, "price": n as f64 / 4.0 })
}

/// A folder with so many trades and a dataflow whose sink `out` is as told.
fn folder(trades: usize, sink: &str) -> Folder {
    let folder = Folder::new();
    folder.write("trades.jsonl", (0..trades).map(|n| trade(n).to_string() + "\n").collect::<String>());
    folder.write("flow.toml", flow("", "", sink));
    folder
}

/// A dataflow over the trades with further keys of the job and of the source.
fn flow(job: &str, source: &str, sink: &str) -> String {
    format!(
        "version = 1\nname = \"told\"\n[job]\n{job}\n[sources.trades]\ntype = \"file\"\npath = \"trades.jsonl\"\n\
         schema = {{ n = \"bigint\", symbol = \"text\", time = \"timestamp_ms\", price = \"double\" }}\n\
         time = \"time\"\nkey = \"symbol\"\n{source}\n{sink}\n"
    )
}

/// An alert of each of the trades, and its sink `out`.
fn of_alerts(sink: &str) -> String {
    format!(
        "[operators.dear]\ntype = \"alert\"\ninput = \"trades\"\nwhen = \"price >= 0\"\nrepeat = true\n\
         message = \"{{symbol}} is at {{price}}\"\n[sinks.out]\ninput = \"dear\"\n{sink}"
    )
}

/// The dead letters of the job.
fn letters(folder: &Folder) -> Vec<Row> {
    rows(&folder.read_if_there("dead-letters/told.jsonl"))
}

/// The number of the trade that a row is.
fn number(row: &Json) -> usize {
    row["n"].as_u64().unwrap_or_else(|| panic!("{row}")) as usize
}

/// Rows of a symbol come in order: of each the numbers that are missing, come twice, or too early.
fn disorder(numbers: &[usize], trades: usize) -> Vec<usize> {
    let mut by_symbol: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    numbers.iter().for_each(|n| by_symbol.entry(n % 3).or_default().push(*n));
    let expected = |symbol: usize| (symbol..trades).step_by(3);
    let wrong = |symbol| {
        let found = by_symbol.get(&symbol).cloned().unwrap_or_default();
        let same = expected(symbol).eq(found.iter().copied());
        if same { Vec::new() } else { found }
    };
    (0..3).flat_map(wrong).collect()
}

/// Runs the dataflow with its state kept, kills it some times, and lets it come to its end.
fn killed_and_run_again(folder: &Folder, told: impl Fn() -> usize) {
    let mut resumed = 0;
    for run in 0..4 {
        let before = told();
        let running = folder.start(&["run", "flow.toml", "--state", "state", "--workers", "2"], &[]);
        if run < 3 {
            wait_until("some were told", || told() > before + 20 || running.has_ended());
            std::thread::sleep(Duration::from_millis(250));
            running.signal("KILL");
        }
        let ended = running.wait();
        resumed += usize::from(ended.stderr.contains("goes on from checkpoint"));
        assert!(run < 3 || ended.status.success(), "{}", ended.stderr);
    }
    assert!(resumed > 0, "it went on from a checkpoint {resumed} times");
}
