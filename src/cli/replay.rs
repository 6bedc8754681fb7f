//! `tapeflow replay`: a file into a topic, in order, as fast as it happened or faster.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDateTime};
use clap::Args;
use serde_json::json;

use super::brokers::BrokersArgs;
use super::print::{say, tell};
use super::records::{field, open};
use crate::error::{Error, Result};
use crate::kafka::{CreateTopic, Inspector, Outbox, Outgoing, create_topic};

/// How long the brokers may take for the last messages.
const LAST: Duration = Duration::from_secs(60);

/// `tapeflow replay FILE`
#[derive(Args)]
pub struct ReplayArgs {
    /// The file: .csv, .tsv, .jsonl or .parquet.
    file: PathBuf,
    /// The topic.
    #[arg(long)]
    topic: String,
    /// The column that becomes the Kafka key.
    #[arg(long, value_name = "COLUMN")]
    key: Option<String>,
    /// The column of event time, where a speed is given.
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// 1 is real time, 10 ten times as fast, max as fast as possible.
    #[arg(long, default_value = "max")]
    speed: Speed,
    /// Make the topic, where it is missing, with so many partitions.
    #[arg(long, value_name = "N")]
    partitions: Option<u16>,
    #[command(flatten)]
    brokers: BrokersArgs,
    /// Print what was done as JSON on stdout.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy)]
enum Speed {
    Max,
    Times(f64),
}

impl std::str::FromStr for Speed {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "max" => Ok(Speed::Max),
            Ok(times) if times > 0.0 => Ok(Speed::Times(times)),
            _ => Err("a number above 0, or max".to_string()),
        }
    }
}

/// Sends every row; waits until the brokers have the last one.
pub fn replay(args: &ReplayArgs) -> Result<()> {
    let mut pace = Pace::new(args)?;
    let records = open(&args.file)?;
    let outbox = connect(args)?;
    let (began, mut sent) = (Instant::now(), 0u64);
    for record in records {
        let record = record?;
        let place = |error: Error| Error::run(format!("{}, row {}: {error}", args.file.display(), sent + 1));
        pace.wait(&record).map_err(place)?;
        let key = args.key.as_ref().map_or(Ok(None), |column| field(&record, column)).map_err(place)?;
        outbox.send(Outgoing {
            topic: &args.topic,
            key: key.as_ref().map(String::as_bytes),
            payload: Some(record.as_bytes()),
            headers: None,
        })?;
        sent += 1;
    }
    outbox.flush(LAST)?;
    let took = began.elapsed();
    tell(format!("{sent} messages sent to {} in {took:.2?}", args.topic));
    if args.json {
        say(&format!("{}\n", json!({ "sent": sent, "topic": args.topic, "seconds": took.as_secs_f64() })))?;
    }
    Ok(())
}

fn connect(args: &ReplayArgs) -> Result<Outbox> {
    let connection = args.brokers.connection()?;
    let inspector = Inspector::new(&connection, "replay")?;
    if let Some(partitions) = args.partitions {
        let how = CreateTopic { partitions: Some(partitions), replication: None };
        create_topic(&connection, "replay", &args.topic, how, &[])?;
        inspector.partitions_of_new(&args.topic)?;
    } else {
        inspector.partitions(&args.topic)?;
    }
    Outbox::new(&connection, "replay")
}

/// Holds rows until it is their time.
struct Pace {
    speed: f64,
    column: Option<String>,
    began: Option<(Instant, i64)>,
}

impl Pace {
    fn new(args: &ReplayArgs) -> Result<Self> {
        let (speed, column) = match (args.speed, &args.time) {
            (Speed::Max, _) => (1.0, None),
            (Speed::Times(times), Some(column)) => (times, Some(column.clone())),
            (Speed::Times(_), None) => return Err(Error::Usage("--speed needs --time COLUMN".to_string())),
        };
        Ok(Pace { speed, column, began: None })
    }

    fn wait(&mut self, record: &str) -> Result<()> {
        let Some(column) = &self.column else { return Ok(()) };
        let text = field(record, column)?.unwrap_or_default();
        let time = instant(&text).ok_or_else(|| Error::run(format!("`{column}` is no time: {text:?}")))?;
        let (began, first) = *self.began.get_or_insert_with(|| (Instant::now(), time));
        let due = Duration::from_nanos((time.saturating_sub(first).max(0) as f64 / self.speed) as u64);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        Ok(())
    }
}

/// ns since 1970 UTC. The size of a number tells its unit: times of our days have 10, 13, 16 or 19 digits.
fn instant(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<f64>() {
        let nanoseconds = match number.abs() {
            seconds if seconds < 1e11 => seconds * 1e9,
            milliseconds if milliseconds < 1e14 => milliseconds * 1e6,
            microseconds if microseconds < 1e17 => microseconds * 1e3,
            nanoseconds => nanoseconds,
        };
        return Some(nanoseconds as i64);
    }
    let text = text.replacen(' ', "T", 1);
    let zoned = DateTime::parse_from_rfc3339(&text).ok().and_then(|time| time.timestamp_nanos_opt());
    let naive = || text.parse::<NaiveDateTime>().ok().and_then(|time| time.and_utc().timestamp_nanos_opt());
    zoned.or_else(naive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_however_they_are_written() {
        const TIME: i64 = 1_328_054_400_000_000_000;
        for text in [
            "2012-02-01T00:00:00Z",
            "2012-02-01 00:00:00+00:00",
            "2012-02-01 00:00:00",
            "1328054400",
            "1328054400000",
            "1328054400000000",
            "1328054400000000000",
        ] {
            assert_eq!(instant(text), Some(TIME), "{text}");
        }
        assert_eq!(instant("yesterday"), None);
    }
}
