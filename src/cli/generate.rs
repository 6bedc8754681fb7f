//! `tapeflow generate`: synthetic ticks into a topic.

use std::path::Path;
use std::sync::Arc;

use chrono::{SecondsFormat, Utc};
use clap::Args;
use toml::{Table, Value};

use super::brokers::{BrokersArgs, literal};
use super::run::run_jobs;
use super::signals::Signals;
use crate::error::{Error, Result};
use crate::runtime::{Prepare, Prepared, start};
use crate::spec::{Files, Plan};

/// `tapeflow generate`
#[derive(Args)]
pub struct GenerateArgs {
    /// The topic.
    #[arg(long, default_value = "ticks")]
    topic: String,
    /// Ticks a second, all symbols together.
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
    /// How many symbols.
    #[arg(long, default_value_t = 50)]
    symbols: u32,
    /// The same seed gives the same ticks.
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// End after so many ticks.
    #[arg(long)]
    count: Option<u32>,
    /// End after so much event time, like 10s or 1h.
    #[arg(long)]
    duration: Option<String>,
    /// 1 is real time, 10 ten times as fast, max as fast as possible.
    #[arg(long, default_value = "1")]
    speed: String,
    /// Event time of the first tick, like 2026-01-05T14:30:00Z; now by default.
    #[arg(long)]
    start: Option<String>,
    /// Make the topic, where it is missing, with so many partitions.
    #[arg(long, value_name = "N")]
    partitions: Option<u16>,
    #[command(flatten)]
    brokers: BrokersArgs,
    /// Print what was done as JSON on stdout.
    #[arg(long)]
    json: bool,
}

/// Generates ticks until they end or a signal comes.
pub fn generate(args: &GenerateArgs) -> Result<()> {
    let file = dataflow(args)?;
    let (plan, _, _) = Plan::of(Path::new("generate"), &file, &Files::default())?;
    let prepare = Prepare::new(&plan, 0..1, 1);
    run_jobs(vec![Arc::new(Prepared::new(plan, &prepare, start())?)], 1, args.json, &Signals::watch()?)
}

/// The dataflow file that does it.
fn dataflow(args: &GenerateArgs) -> Result<String> {
    let speed = match args.speed.as_str() {
        "max" => Value::from("max"),
        number => Value::from(
            number.parse::<f64>().map_err(|_| Error::Usage(format!("--speed {number}: not a number or max")))?,
        ),
    };
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    let mut source = table([
        ("type", Value::from("generator")),
        ("rate", Value::from(args.rate)),
        ("symbols", Value::from(args.symbols)),
        ("seed", Value::from(args.seed)),
        ("speed", speed),
        ("start", literal(args.start.as_deref().unwrap_or(&now))),
    ]);
    source.extend(args.count.map(|count| ("count".to_string(), Value::from(count))));
    source.extend(args.duration.as_deref().map(|duration| ("duration".to_string(), literal(duration))));
    let columns = ["symbol", "timestamp", "price", "volume", "side"].map(Value::from);
    let mut sink = table([
        ("type", Value::from("kafka")),
        ("input", Value::from("ticks")),
        ("topic", literal(&args.topic)),
        ("times", Value::from("ms")),
        ("select", Value::from(columns.to_vec())),
    ]);
    let create = |partitions| Value::from(table([("partitions", Value::from(u32::from(partitions)))]));
    sink.extend(args.partitions.map(|partitions| ("create".to_string(), create(partitions))));
    let file = table([
        ("version", Value::from(1)),
        ("name", Value::from("generate")),
        // Ticks of an epoch leave together: short epochs make an even stream.
        ("job", Value::from(table([("epoch", Value::from("10ms"))]))),
        ("kafka", Value::from(args.brokers.section()?)),
        ("sources", Value::from(table([("ticks", Value::from(source))]))),
        ("sinks", Value::from(table([("topic", Value::from(sink))]))),
    ]);
    toml::to_string(&file).map_err(Error::run)
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
}
