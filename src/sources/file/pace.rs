//! Replays a file at the pace of its event times.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampNanosecondType;
use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use super::Read;
use crate::batch::Epoch;
use crate::sources::TIME;
use crate::spec::{Findings, FromToml, expected};

/// How fast event time goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// As fast as possible.
    Max,
    /// So many times as fast as it did; 1 is real time.
    Times(f64),
}

impl FromToml for Speed {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        if value.get_ref().as_str() == Some("max") {
            return Some(Speed::Max);
        }
        match value.get_ref() {
            DeValue::Integer(_) | DeValue::Float(_) => {
                let times = f64::from_toml(value, findings)?;
                if times > 0.0 { Some(Speed::Times(times)) } else { expected(value, findings, "a speed above 0") }
            }
            _ => expected(value, findings, "a number, or \"max\""),
        }
    }
    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "number", "exclusiveMinimum": 0 }, { "const": "max" }] })
    }
}

/// Holds rows until it is their time. Epochs follow from event time, not from the clock: the same file makes
/// the same epochs.
pub struct Pace {
    speed: f64,
    start: Epoch,
    /// Rows of epochs before this one were read before a restart.
    from: Epoch,
    epoch: u64,
    began: Option<(Instant, i64)>,
    held: VecDeque<(RecordBatch, u64)>,
    named: Epoch,
}

impl Pace {
    /// Nothing held yet.
    pub fn new(speed: Speed, start: Epoch, from: Epoch, epoch: Duration) -> Self {
        let speed = if let Speed::Times(times) = speed { times } else { 1.0 };
        Pace { speed, start, from, epoch: epoch.as_micros() as u64, began: None, held: VecDeque::new(), named: start }
    }

    /// Holds rows; `extent` is counted when the last of them leave.
    pub fn hold(&mut self, data: RecordBatch, extent: u64) {
        if data.num_rows() > 0 {
            self.held.push_back((data, extent));
        }
    }

    /// The rows whose time has come and the greatest of their times, or how long it is until then; `None` where
    /// nothing is held.
    pub fn next(&mut self) -> Option<(Read, Option<i64>)> {
        let (data, extent) = self.held.front()?;
        let times = data.column_by_name(TIME)?.as_primitive::<TimestampNanosecondType>().values().clone();
        // A message that corrects may have no time.
        let first = || times.iter().copied().find(|time| *time > i64::MIN).unwrap_or(0);
        let (instant, first) = *self.began.get_or_insert_with(|| (Instant::now(), first()));
        let before = Duration::from_micros(self.from - self.start);
        let passed = (before + instant.elapsed()).as_nanos() as f64 * self.speed;
        let after = |time: i64| time.saturating_sub(first) as f64;
        let epoch_of = |time: i64| {
            let microseconds = (after(time) / self.speed / 1e3).max(0.0) as u64;
            self.start + microseconds - microseconds % self.epoch
        };
        if after(times[0]) > passed {
            let wait = Duration::from_nanos(((after(times[0]) - passed) / self.speed) as u64);
            return Some((Read::Idle(Some(wait.min(Duration::from_secs(1)))), None));
        }
        // Rows of one epoch that are due leave together.
        let epoch = epoch_of(times[0]).max(self.named);
        let due = times
            .iter()
            .take_while(|time| after(**time) <= passed && epoch_of(**time).max(self.named) == epoch)
            .count();
        self.named = epoch;
        let (out, all) = (data.slice(0, due), due == data.num_rows());
        let extent = if all { *extent } else { 0 };
        let rest = data.slice(due, data.num_rows() - due);
        match self.held.front_mut() {
            Some(front) if !all => front.0 = rest,
            _ => drop(self.held.pop_front()),
        }
        if epoch < self.from {
            let data = out.slice(0, 0);
            let latest = times[..due].iter().copied().max();
            return Some((Read::Rows { epoch: None, data, bytes: 0, extent }, latest));
        }
        let bytes = out.get_array_memory_size() * out.num_rows() / (out.num_rows() + rest_rows(&self.held)).max(1);
        Some((Read::Rows { epoch: Some(epoch), data: out, bytes, extent }, times[..due].iter().copied().max()))
    }
}

fn rest_rows(held: &VecDeque<(RecordBatch, u64)>) -> usize {
    held.front().map_or(0, |(data, _)| data.num_rows())
}
