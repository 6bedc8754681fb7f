//! The scylla driver alone, in its best way: what the `cassandra` sink is measured against (`cassandra.sh`).
//!
//! `cassandra_bare backfill|live [SYMBOLS] [ROWS]`: ROWS rows of nine columns for each of SYMBOLS symbols, into
//! `bench.bare` at the server named by CASSANDRA, which is made anew with its keyspace; prints rows a second.
//!
//! - `nothing`: only that;
//! - `backfill`: unlogged batches of 50 rows of one partition, 64 in flight;
//! - `live`: a prepared insert for each row, symbol after symbol, 1024 in flight.

use std::error::Error;
use std::time::Instant;

use futures::{StreamExt, TryStreamExt, stream};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;

type Row<'a> = (&'a str, CqlTimestamp, i64, f64, f64, f64, f64, f64, f64);

const START: i64 = 1_767_623_400_000;
const BATCH: usize = 50;
const BATCHES_IN_FLIGHT: usize = 64;
const INSERTS_IN_FLIGHT: usize = 1024;

fn row(symbol: &str, seq: usize) -> Row<'_> {
    let price = 100.0 + (seq % 1000) as f64 / 7.0;
    let time = CqlTimestamp(START + seq as i64 * 100);
    (symbol, time, seq as i64, price, price + 0.1, price - 0.1, price * 1.001, price * 0.999, seq as f64)
}

async fn backfill(session: &Session, insert: &PreparedStatement, symbols: &[String], rows: usize) -> Outcome {
    let mut batch = Batch::new(BatchType::Unlogged);
    batch.set_is_idempotent(true);
    (0..BATCH).for_each(|_| batch.append_statement(insert.clone()));
    let batch = &batch;
    let parts = (0..rows / BATCH).flat_map(|part| symbols.iter().map(move |symbol| (symbol, part)));
    let requests = parts.map(|(symbol, part)| {
        let values: Vec<Row<'_>> = (part * BATCH..(part + 1) * BATCH).map(|seq| row(symbol, seq)).collect();
        async move { session.batch(batch, values).await.map(drop) }
    });
    Ok(stream::iter(requests).buffer_unordered(BATCHES_IN_FLIGHT).try_collect::<()>().await?)
}

async fn live(session: &Session, insert: &PreparedStatement, symbols: &[String], rows: usize) -> Outcome {
    let each = (0..rows).flat_map(|seq| symbols.iter().map(move |symbol| row(symbol, seq)));
    let requests = each.map(|row| async move { session.execute_unpaged(insert, row).await.map(drop) });
    Ok(stream::iter(requests).buffer_unordered(INSERTS_IN_FLIGHT).try_collect::<()>().await?)
}

type Outcome = Result<(), Box<dyn Error>>;

#[expect(clippy::print_stdout, reason = "the result")]
async fn run() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let mode = arguments.first().map_or("backfill", String::as_str);
    let number = |at: usize, default: usize| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let (symbols, rows) = match mode {
        "live" => (number(1, 1000)?, number(2, 200)?),
        _ => (number(1, 100)?, number(2, 3000)?),
    };
    let symbols: Vec<String> = (0..symbols).map(|at| format!("S{at:04}")).collect();
    let server = std::env::var("CASSANDRA").unwrap_or_else(|_| "127.0.0.1:9042".to_string());
    let session = SessionBuilder::new().known_node(server).build().await?;
    if mode == "count" {
        for at in 0..100 {
            let q = format!(
                "SELECT count(*) FROM bench.backfill WHERE symbol = '{}'",
                arguments[1].replace("%", &format!("{at:05}"))
            );
            let rows = session.query_unpaged(q, &[]).await?.into_rows_result()?;
            println!("{at} {:?}", rows.single_row::<(i64,)>()?);
        }
        let rows = session
            .query_unpaged("SELECT DISTINCT symbol FROM bench.backfill LIMIT 3", &[])
            .await?
            .into_rows_result()?;
        for r in rows.rows::<(String,)>()? {
            println!("{:?}", r?);
        }
        return Ok(());
    }
    for cql in [
        "DROP KEYSPACE IF EXISTS bench",
        "CREATE KEYSPACE bench WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE bench.bare (symbol text, timestamp timestamp, seq bigint, a double, b double, c double, \
         d double, e double, f double, PRIMARY KEY ((symbol), timestamp, seq))",
    ] {
        session.query_unpaged(cql, &[]).await?;
    }
    let cql = "INSERT INTO bench.bare (symbol, timestamp, seq, a, b, c, d, e, f) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let mut insert = session.prepare(cql).await?;
    insert.set_is_idempotent(true);
    let began = Instant::now();
    match mode {
        "nothing" => return Ok(()),
        "live" => live(&session, &insert, &symbols, rows).await?,
        _ => backfill(&session, &insert, &symbols, rows).await?,
    }
    println!("{:.0}", (symbols.len() * rows) as f64 / began.elapsed().as_secs_f64());
    Ok(())
}

fn main() -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run())
}
