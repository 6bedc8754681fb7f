//! Servers that are not there: at the start, in between, for good.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use tapeflow::runtime::run_local;

use super::support::{Keyspace, server};

const COLUMNS: &str = r#"k = "text", t = "timestamp_ms", price = "double""#;
const TICKS: &str = "table = \"ticks\"\ncreate = true\npartition_key = \"k\"\nclustering_key = [\"t\", \"seq\"]";
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// A way to the server that can be cut.
struct Way {
    address: String,
    open: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Way {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let way = Way { address, open: Arc::new(AtomicBool::new(true)), streams: Arc::default() };
        let (open, streams) = (Arc::clone(&way.open), Arc::clone(&way.streams));
        spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if open.load(Ordering::SeqCst) {
                    let server = TcpStream::connect(server()).expect("the server");
                    let both = [stream, server];
                    for (from, to) in [(0, 1), (1, 0)] {
                        let (from, to) =
                            (both[from].try_clone().expect("a socket"), both[to].try_clone().expect("a socket"));
                        spawn(move || copy(from, to));
                    }
                    streams.lock().expect("streams").extend(both);
                }
            }
        });
        way
    }

    fn cut(&self) {
        self.open.store(false, Ordering::SeqCst);
        self.streams.lock().expect("streams").drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }

    fn mend(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 1 << 14];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// A source that goes on for as long as a test needs it.
fn endless(flow: &str) -> String {
    flow.replace("type = \"file\"\npath = \"rows.jsonl\"", "type = \"generator\"\nsymbols = 20\nrate = 2000").replace(
        &format!("schema = {{ {COLUMNS} }}"),
        "select = { k = \"symbol\", t = \"timestamp\", price = \"price\" }",
    )
}

fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < LONG, "{what}");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let keyspace = Keyspace::new("nobody");
    keyspace.input("{\"k\": \"A\", \"t\": 1, \"price\": 1}\n");
    let nobody =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").to_string();
    let told =
        keyspace.run(&keyspace.flow_at(&nobody, COLUMNS, "time = \"t\"\nkey = \"k\"", TICKS), 1).with_code(4).stderr;
    assert!(told.contains(&format!("cannot connect to Cassandra at {nobody}: ")), "{}", told);
}

#[test]
fn a_server_that_does_not_answer_is_named() {
    let keyspace = Keyspace::new("mute");
    keyspace.input("{\"k\": \"A\", \"t\": 1, \"price\": 1}\n");
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = mute.local_addr().expect("an address").to_string();
    let sink = format!("{TICKS}\ntimeout = \"500ms\"");
    let told =
        keyspace.run(&keyspace.flow_at(&address, COLUMNS, "time = \"t\"\nkey = \"k\"", &sink), 1).with_code(4).stderr;
    assert!(told.contains(&format!("cannot connect to Cassandra at {address}: ")), "{}", told);
}

#[test]
fn a_job_waits_for_a_server_that_is_away_and_loses_nothing() {
    let keyspace = Keyspace::new("away");
    let way = Way::new();
    let sink = format!("{TICKS}\ntimeout = \"1s\"");
    let flow = endless(&keyspace.flow_at(&way.address, COLUMNS, "time = \"t\"\nkey = \"k\"", &sink));
    let prepared = keyspace.prepare(&flow, tapeflow::runtime::start());
    let job = Arc::clone(&prepared.job);
    let running = run_local(vec![prepared], 1).expect("it starts");
    until("rows are written", || job.total("out", |meter| meter.rows_out.get()) > 1000);
    way.cut();
    until("writes fail", || job.total("out", |meter| meter.write_errors.get()) > 10);
    assert!(job.failure().is_none());
    way.mend();
    let before = keyspace.count("ticks");
    until("rows are written again", || keyspace.count("ticks") > before);
    running.stop();
    running.join().expect("it ends well");
    assert_eq!(keyspace.count("ticks") as u64, job.total("rows", |meter| meter.rows_out.get()));
}

#[test]
fn a_table_that_is_dropped_ends_the_job() {
    let keyspace = Keyspace::new("dropped");
    let flow = endless(&keyspace.flow(COLUMNS, "time = \"t\"\nkey = \"k\"", TICKS));
    let prepared = keyspace.prepare(&flow, tapeflow::runtime::start());
    let job = Arc::clone(&prepared.job);
    let running = run_local(vec![prepared], 1).expect("it starts");
    until("rows are written", || job.total("out", |meter| meter.rows_out.get()) > 0);
    keyspace.cql("DROP TABLE KS.ticks");
    let error = running.join().expect_err("it fails");
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains(&format!("table {}.ticks: ", keyspace.name)), "{error}");
}
