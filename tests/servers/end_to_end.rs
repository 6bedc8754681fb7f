//! The main job on real servers: ticks in Kafka, `dataflows/indicators.toml`, rows in Cassandra; every row is
//! compared with a recomputation from the whole history that shares no code with tapeflow.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::value::CqlTimestamp;

use crate::support::naive;

const SYMBOLS: usize = 40;
const TICKS: usize = 12_000;
const START: i64 = 1_700_000_000_000;

struct Tick {
    symbol: String,
    timestamp: i64,
    price: f64,
}

/// A random walk for each symbol, with stretches in which the price does not move.
fn ticks() -> Vec<Tick> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut prices = vec![100.0; SYMBOLS];
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let tick = |i: usize| {
        let random = next();
        let symbol = (random % SYMBOLS as u64) as usize;
        if symbol % 7 != 3 || (i / 1000).is_multiple_of(2) {
            prices[symbol] *= 1.0 + ((random >> 20) % 2001) as f64 / 1e5 - 0.01;
        }
        // As it is written in the message, so that both sides read the same number.
        let price: f64 = format!("{:.4}", prices[symbol]).parse().unwrap();
        Tick { symbol: format!("SYM{symbol:02}"), timestamp: START + i as i64 / 3, price }
    };
    (0..TICKS).map(tick).collect()
}

fn fill(brokers: &str, topic: &str, ticks: &[Tick]) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let topics = [NewTopic::new(topic, 8, TopicReplication::Fixed(1))];
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    runtime.block_on(admin.create_topics(&topics, &options)).unwrap()[0].as_ref().unwrap();
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("compression.type", "lz4")
        // A retry on a fresh topic must not bring ticks out of order.
        .set("enable.idempotence", "true")
        .create()
        .unwrap();
    for tick in ticks {
        let Tick { symbol, timestamp, price } = tick;
        let payload = format!(r#"{{"symbol":"{symbol}","timestamp":{timestamp},"price":{price:.4},"volume":5}}"#);
        producer.send(BaseRecord::to(topic).key(symbol).payload(&payload)).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

/// What the table must hold: a row for each tick whose indicators are all warm, in the order of its symbol.
fn expected(ticks: &[Tick]) -> HashMap<String, Vec<(i64, [f64; 7])>> {
    let mut prices: HashMap<&str, Vec<f64>> = HashMap::new();
    let mut rows: HashMap<String, Vec<(i64, [f64; 7])>> = HashMap::new();
    for tick in ticks {
        let history = prices.entry(&tick.symbol).or_default();
        history.push(tick.price);
        if let Some((macd, signal, histogram)) = naive::macd(history) {
            let (sma_5, sma_10) = (naive::sma(history, 5).unwrap(), naive::sma(history, 10).unwrap());
            let rsi = naive::rsi(history, 14).unwrap();
            let row = [tick.price, sma_5, sma_10, rsi, macd, signal, histogram];
            rows.entry(tick.symbol.clone()).or_default().push((tick.timestamp, row));
        }
    }
    rows
}

type Row = (String, CqlTimestamp, i64, f64, f64, f64, f64, f64, f64, f64);

async fn table(contact: &str, keyspace: &str) -> HashMap<String, Vec<(i64, i64, [f64; 7])>> {
    let session: Session = SessionBuilder::new().known_node(contact).build().await.unwrap();
    let query = format!(
        "SELECT symbol, timestamp, seq, price, sma_5, sma_10, rsi_14, macd, macd_signal, macd_histogram \
         FROM {keyspace}.indicators"
    );
    let pages = session.query_unpaged(query, ()).await.unwrap().into_rows_result().unwrap();
    let mut rows: HashMap<String, Vec<(i64, i64, [f64; 7])>> = HashMap::new();
    for row in pages.rows::<Row>().unwrap() {
        let (symbol, timestamp, seq, a, b, c, d, e, f, g) = row.unwrap();
        rows.entry(symbol).or_default().push((timestamp.0, seq, [a, b, c, d, e, f, g]));
    }
    rows.values_mut().for_each(|rows| rows.sort_by_key(|row| (row.0, row.1)));
    rows
}

/// Nine digits, or for what is next to zero nine digits of the price: differences of prices lose the others.
fn same(came: f64, wanted: f64, price: f64) -> bool {
    (came - wanted).abs() <= 1e-9 * wanted.abs().max(price * 1e-3)
}

#[test]
fn every_row_of_the_main_job_equals_a_recomputation() {
    let brokers = std::env::var("KAFKA_BROKERS").expect("KAFKA_BROKERS: see `cluster/servers env`");
    let contact = std::env::var("CASSANDRA").expect("CASSANDRA: see `cluster/servers env`");
    let folder = tempfile::tempdir().unwrap();
    let tag = format!("{:x}", std::process::id());
    let (topic, keyspace) = (format!("end-to-end-{tag}"), format!("end_to_end_{tag}"));
    let ticks = ticks();
    fill(&brokers, &topic, &ticks);

    let root = env!("CARGO_MANIFEST_DIR");
    let flow = std::fs::read_to_string(format!("{root}/dataflows/indicators.toml")).unwrap();
    let flow = flow
        .replacen("topic = \"ticks\"", &format!("topic = \"{topic}\"\nstop = \"end\""), 1)
        .replacen("keyspace = \"market\"", &format!("keyspace = \"{keyspace}\""), 1)
        .replacen("../schemas/", &format!("{root}/schemas/"), 1);
    let path = folder.path().join("indicators.toml");
    std::fs::write(&path, flow).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tapeflow")).arg("run").arg(&path).args(["--workers", "3"]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let came = runtime.block_on(table(&contact, &keyspace));
    let wanted = expected(&ticks);
    assert_eq!(came.len(), wanted.len());
    for (symbol, wanted) in &wanted {
        let came = &came[symbol];
        assert_eq!(came.len(), wanted.len(), "rows of {symbol}");
        for (came, wanted) in came.iter().zip(wanted) {
            assert_eq!(came.0, wanted.0, "{symbol}: order of the rows");
            for (column, (came, value)) in came.2.iter().zip(wanted.1).enumerate() {
                assert!(same(*came, value, wanted.1[0]), "{symbol}, column {column}: {came}, not {value}");
            }
        }
    }
}
