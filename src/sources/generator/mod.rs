//! `generator`: a seeded synthetic market.

mod market;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;

use super::seq::SeqLayout;
use super::shape::{ShapePlan, ShapeSpec, Shaper};
use super::{Cut, PreparedSource, Read, Reader, ReaderContext, SourcePlan, SourceSpec};
use crate::batch::{Epoch, Mark, Origin};
use crate::error::Result;
use crate::formats::{ColumnType, MessageField, MessageSchema, json_line};
use crate::operators::watermarks::origin;
use crate::runtime::Prepare;
use crate::sinks::dead_letters::{Place, Refusals};
use crate::sources::file::Speed;
use crate::spec::{At, Check, Edge, Fields, nanoseconds};
use crate::state::Entry;
use arrow::array::{Float64Array, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{Schema, TimeUnit};
use market::{Market, MarketConfig, Side, Tick};

/// `seq` counts the ticks of a symbol; the symbol stands in its low bits.
const LAYOUT: SeqLayout = SeqLayout::Messages { partition: 17, row: 0 };
/// Event time that a step covers where nothing paces it.
const FREE_RUNNING_TICKS: f64 = 8192.0;

struct GeneratorSpec {
    symbols: At<u64>,
    rate: At<f64>,
    seed: u64,
    start: At<String>,
    duration: Option<Duration>,
    count: Option<u64>,
    regular: bool,
    speed: Speed,
    shape: ShapeSpec,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn SourceSpec> {
    let span = fields.span().clone();
    let or = |text: &str| At::new(text.to_string(), span.clone());
    let symbols = fields.get("symbols", "how many symbols: 1 to 100,000; 50 by default").optional();
    let rate = fields.get("rate", "ticks a second of event time, all symbols together; 1000 by default").optional();
    Box::new(GeneratorSpec {
        symbols: symbols.unwrap_or(At::new(50, span.clone())),
        rate: rate.unwrap_or(At::new(1000.0, span.clone())),
        seed: fields.get("seed", "the same seed gives the same ticks").or(1),
        start: fields
            .get("start", "event time of the first tick")
            .optional()
            .unwrap_or_else(|| or("2026-01-05T14:30:00Z")),
        duration: fields
            .get("duration", "how much event time there is; for ever by default")
            .optional()
            .map(|at| at.value),
        count: fields
            .get("count", "how many ticks there are, all symbols together; for ever by default")
            .optional()
            .map(|at| at.value),
        regular: fields.get("regular", "every symbol ticks at the same, steady rate").or(false),
        speed: fields
            .get("speed", "1 is real time (the default), 10 ten times as fast; `max`: as fast as possible")
            .or(Speed::Times(1.0)),
        shape: ShapeSpec::read(fields, Some("timestamp"), Some("symbol")),
    })
}

fn columns() -> MessageSchema {
    let field = |name: &str, kind| MessageField::new(name, kind);
    MessageSchema {
        fields: vec![
            field("symbol", ColumnType::Text),
            field("timestamp", ColumnType::Timestamp(TimeUnit::Nanosecond)),
            field("price", ColumnType::Double),
            field("volume", ColumnType::Double),
            field("side", ColumnType::Text),
        ],
    }
}

impl SourceSpec for GeneratorSpec {
    fn plan(&self, _name: &At<String>, check: &Check<'_>) -> Option<(Edge, Arc<dyn SourcePlan>)> {
        let findings = check.findings;
        if !(1..=100_000).contains(&self.symbols.value) {
            findings.mistake(&self.symbols.span, "there can be 1 to 100000 symbols");
        }
        if !(self.rate.value > 0.0 && self.rate.value <= 1e9) {
            findings.mistake(&self.rate.span, "a rate is above 0 and at most 1e9 ticks a second");
        }
        let start =
            chrono::DateTime::parse_from_rfc3339(&self.start).ok().and_then(|start| start.timestamp_nanos_opt());
        if start.is_none() {
            findings.mistake(&self.start.span, "`start` is a time like 2026-01-05T14:30:00Z");
        }
        let messages = columns();
        let (edge, shape) = self.shape.plan(messages.arrow_fields(), LAYOUT, check)?;
        // A paced market steps with the epochs of the job, a free-running one by rows.
        let step = match self.speed {
            Speed::Times(times) => check.job.epoch.as_secs_f64() * times,
            Speed::Max => FREE_RUNNING_TICKS / self.rate.value.max(1e-9),
        };
        let config = MarketConfig {
            seed: self.seed,
            symbols: self.symbols.value as u32,
            rate: self.rate.value,
            start: start?,
            step: ((step * 1e9) as i64).max(1),
            regular: self.regular,
        };
        let end = self.duration.map(|duration| config.start.saturating_add(nanoseconds(duration)));
        let (speed, epoch, count) = (self.speed, check.job.epoch, self.count);
        Some((edge, Arc::new(GeneratorPlan { config, end, count, last: None, speed, epoch, shape, messages })))
    }
}

#[derive(Clone)]
struct GeneratorPlan {
    config: MarketConfig,
    /// Event time at which it ends.
    end: Option<i64>,
    count: Option<u64>,
    /// Time and symbol of the last tick, where they are counted.
    last: Option<(i64, u32)>,
    speed: Speed,
    epoch: Duration,
    shape: Arc<ShapePlan>,
    messages: MessageSchema,
}

impl GeneratorPlan {
    /// Finds the last tick by going through the whole market once: then any number of workers agree on it.
    fn counted(&self) -> Self {
        let Some(count) = self.count else { return self.clone() };
        let mut market = Market::new(&self.config, 0, 1);
        let (mut ticks, mut before, mut last) = (Vec::new(), 0, (i64::MIN, 0));
        while before < count && self.end.is_none_or(|end| market.watermark() < end) {
            ticks.clear();
            market.step(&mut ticks);
            let within = (count - before).min(ticks.len() as u64) as usize;
            last = ticks[..within].last().map_or(last, |tick| (tick.event_time, tick.symbol));
            before += ticks.len() as u64;
        }
        let end = self.end.map_or(market.watermark(), |end| end.min(market.watermark()));
        GeneratorPlan { end: Some(end), last: Some(last), ..self.clone() }
    }
}

impl SourcePlan for GeneratorPlan {
    fn prepare(&self, _prepare: &Prepare) -> Result<Arc<dyn PreparedSource>> {
        Ok(Arc::new(self.counted()))
    }

    fn shape(&self) -> &Arc<ShapePlan> {
        &self.shape
    }

    fn messages(&self) -> &MessageSchema {
        &self.messages
    }

    fn what(&self) -> String {
        let MarketConfig { seed, symbols, rate, start, step, regular } = &self.config;
        let kind = if *regular { "regular" } else { "random" };
        format!("a {kind} market of seed {seed}, {symbols} symbols, {rate} ticks/s from {start} in steps of {step} ns")
    }

    fn details(&self) -> Vec<String> {
        vec![format!("{} symbols, {} ticks/s, seed {}", self.config.symbols, self.config.rate, self.config.seed)]
    }
}

impl PreparedSource for GeneratorPlan {
    fn reader(&self, context: ReaderContext) -> Box<dyn Reader> {
        let (worker, workers) = (context.worker as u32, context.workers as u32);
        let mut reader = GeneratorReader {
            market: Market::new(&self.config, worker, workers),
            counts: vec![0; self.config.symbols as usize],
            names: (0..self.config.symbols).map(Market::symbol_name).collect(),
            shaper: Shaper::new(Arc::clone(&self.shape)),
            plan: self.clone(),
            origin: origin(context.node, context.worker),
            start: context.start,
            began: Instant::now(),
            step: 0,
            first: 0,
            ticks: Vec::new(),
            share: self.config.step as u64 / context.workers as u64,
            watermark: None,
            refusals: context.refusals,
        };
        reader.skip_to(context.from);
        Box::new(reader)
    }

    fn extent(&self) -> Option<u64> {
        // In ns of event time, of which each worker covers a share.
        self.end.map(|end| (end - self.config.start) as u64)
    }
}

struct GeneratorReader {
    market: Market,
    counts: Vec<u64>,
    names: Vec<String>,
    shaper: Shaper,
    plan: GeneratorPlan,
    origin: Origin,
    start: Epoch,
    began: Instant,
    step: u64,
    /// The step that it began with.
    first: u64,
    ticks: Vec<Tick>,
    /// What a step adds to the extent.
    share: u64,
    watermark: Option<i64>,
    refusals: Refusals,
}

impl GeneratorReader {
    /// Epochs follow from the step alone, so that the same seed makes the same epochs.
    fn epoch(&self, step: u64) -> Epoch {
        match self.plan.speed {
            Speed::Times(_) => self.start + step * self.plan.epoch.as_micros() as u64,
            Speed::Max => self.start + step,
        }
    }

    /// Goes through the steps before `from` once more: the same seed makes the same market.
    fn skip_to(&mut self, from: Epoch) {
        while self.epoch(self.step) < from && !self.is_over() {
            self.ticks.clear();
            self.market.step(&mut self.ticks);
            self.ticks.iter().for_each(|tick| self.counts[tick.symbol as usize] += 1);
            self.step += 1;
            self.watermark = Some(self.passed());
        }
        self.first = self.step;
    }

    fn is_over(&self) -> bool {
        self.plan.end.is_some_and(|end| self.market.watermark() >= end)
    }

    fn passed(&self) -> i64 {
        self.market.watermark().saturating_sub(self.shaper.plan().lateness)
    }

    fn rows(&mut self) -> Result<RecordBatch> {
        let mut seqs = Vec::with_capacity(self.ticks.len());
        for tick in &self.ticks {
            let count = &mut self.counts[tick.symbol as usize];
            seqs.extend(LAYOUT.seq(u64::from(tick.symbol), *count, 0));
            *count += 1;
        }
        let ticks = &self.ticks;
        let schema = Arc::new(Schema::new(self.plan.messages.arrow_fields()));
        let symbols = StringArray::from_iter_values(ticks.iter().map(|tick| self.names[tick.symbol as usize].as_str()));
        let sides = StringArray::from_iter_values(ticks.iter().map(|tick| Side::as_str(tick.side)));
        let messages = RecordBatch::try_new(
            schema,
            vec![
                Arc::new(symbols),
                Arc::new(TimestampNanosecondArray::from_iter_values(ticks.iter().map(|tick| tick.event_time))),
                Arc::new(Float64Array::from_iter_values(ticks.iter().map(|tick| tick.price))),
                Arc::new(Float64Array::from_iter_values(ticks.iter().map(|tick| tick.size))),
                Arc::new(sides),
            ],
        )?;
        let numbers = seqs.clone();
        let shaped = self.shaper.shape(messages.clone(), seqs)?;
        for (row, reason) in &shaped.refused {
            let (partition, offset) = (LAYOUT.partition_of(numbers[*row]), LAYOUT.offset_of(numbers[*row]));
            let place = Place { topic: &self.refusals.node, partition, offset, timestamp: None };
            self.refusals.refuse(&place, None, Some(json_line(&messages, *row).as_bytes()), reason)?;
        }
        Ok(shaped.data)
    }
}

impl Reader for GeneratorReader {
    fn cut(&self) -> Cut {
        Cut::Rows
    }

    fn origins(&self) -> Vec<Origin> {
        vec![self.origin]
    }

    fn position(&self) -> Result<Vec<Entry>> {
        Ok(Vec::new())
    }

    fn read(&mut self) -> Result<Read> {
        if let Some(time) = self.watermark.take() {
            return Ok(Read::Mark(Mark::Watermark { origin: self.origin, time }));
        }
        if self.is_over() {
            return Ok(Read::End);
        }
        if let Speed::Times(_) = self.plan.speed {
            // The ticks of a step are sent when the step is over.
            let due = self.plan.epoch * ((self.step - self.first) as u32 + 1);
            if let Some(wait) = due.checked_sub(self.began.elapsed()).filter(|wait| !wait.is_zero()) {
                return Ok(Read::Idle(Some(wait)));
            }
        }
        let epoch = self.epoch(self.step);
        self.step += 1;
        self.ticks.clear();
        self.market.step(&mut self.ticks);
        if let Some(end) = self.plan.end {
            self.ticks.retain(|tick| tick.event_time < end);
        }
        if let Some(last) = self.plan.last {
            self.ticks.retain(|tick| (tick.event_time, tick.symbol) <= last);
        }
        self.watermark = Some(self.passed());
        if self.ticks.is_empty() {
            return Ok(Read::Advance(epoch));
        }
        let data = self.rows()?;
        let bytes = data.get_array_memory_size();
        Ok(Read::Rows { epoch: Some(epoch), data, bytes, extent: self.share })
    }
}
