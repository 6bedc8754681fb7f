//! The windows of the main job and what is computed from them, found by a plain loop over all trades. It shares no code with
//! tapeflow.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::running::Running;

/// How long a bar is, how far the watermark of a partition stays behind, and how long late trades revise, in microseconds.
pub const SIZE: i64 = 100_000;
pub const LATENESS: i64 = 20_000;
const REVISE_FOR: i64 = 150_000;
/// More volume than this in one bar is told of.
const SURGE: f64 = 3_000.0;

/// A symbol, and the start of an interval in ms.
pub type Key = (String, i64);

/// The columns of a row; a null where there is none.
pub type Values = Vec<Option<f64>>;

/// Rows by their key.
pub type Table = BTreeMap<Key, Values>;

/// What a bar has: the price of the first trade by event time, and so on.
pub const BAR: [&str; 6] = ["open", "high", "low", "close", "volume", "trades"];
/// The same, and how often it was corrected.
pub const REVISED: [&str; 7] = ["open", "high", "low", "close", "volume", "trades", "revision"];
/// What is computed from the bars of a symbol.
pub const TREND: [&str; 3] = ["sma_5", "rsi_14", "obv"];
/// Of a bar that is told of.
pub const SURGES: [&str; 1] = ["volume"];

/// A trade, as far as bars are made of it; `n` is where it stands in its partition.
#[derive(Clone, Copy)]
pub struct Tick<'a> {
    pub symbol: &'a str,
    pub n: i64,
    /// In microseconds.
    pub time: i64,
    pub price: f64,
    pub volume: i64,
}

#[derive(Clone)]
struct Bar {
    /// Event time and place, then the price.
    first: (i64, i64, f64),
    last: (i64, i64, f64),
    high: f64,
    low: f64,
    volume: i64,
    trades: i64,
    corrections: i64,
}

impl Bar {
    fn new(tick: Tick<'_>) -> Bar {
        let only = (tick.time, tick.n, tick.price);
        let (high, low) = (tick.price, tick.price);
        Bar { first: only, last: only, high, low, volume: 0, trades: 0, corrections: 0 }
    }

    fn take(&mut self, tick: Tick<'_>, is_late: bool) {
        let place = (tick.time, tick.n);
        if place < (self.first.0, self.first.1) {
            self.first = (tick.time, tick.n, tick.price);
        }
        if place > (self.last.0, self.last.1) {
            self.last = (tick.time, tick.n, tick.price);
        }
        (self.high, self.low) = (self.high.max(tick.price), self.low.min(tick.price));
        self.volume += tick.volume;
        self.trades += 1;
        self.corrections += i64::from(is_late);
    }

    fn values(&self) -> Values {
        let integers = [self.volume, self.trades, self.corrections].map(|integer| integer as f64);
        [self.first.2, self.high, self.low, self.last.2].into_iter().chain(integers).map(Some).collect()
    }
}

/// All bars.
#[derive(Default)]
pub struct Bars {
    /// Of each partition, how far event time has come, less the lateness.
    watermarks: HashMap<i32, i64>,
    /// By symbol and the start in microseconds: without trades that came too late, and with those that revise.
    in_time: BTreeMap<Key, Bar>,
    revised: BTreeMap<Key, Bar>,
    /// The trades that came too late for their bar, and those that came too late even to revise it.
    pub late: BTreeSet<i64>,
    pub lost: BTreeSet<i64>,
}

impl Bars {
    /// Takes the next trade of a partition.
    pub fn take(&mut self, partition: i32, tick: Tick<'_>) {
        let watermark = self.watermarks.entry(partition).or_insert(i64::MIN);
        let come = *watermark;
        *watermark = come.max(tick.time - LATENESS);
        let start = tick.time - tick.time.rem_euclid(SIZE);
        let (is_late, is_lost) = (come >= start + SIZE, come >= start + SIZE + REVISE_FOR);
        let key = (tick.symbol.to_string(), start);
        if is_lost {
            self.lost.insert(tick.n);
        } else {
            self.revised.entry(key.clone()).or_insert_with(|| Bar::new(tick)).take(tick, is_late);
        }
        if is_late {
            self.late.insert(tick.n);
        } else {
            self.in_time.entry(key).or_insert_with(|| Bar::new(tick)).take(tick, false);
        }
    }

    /// A partition that was idle was given up to this event time, in microseconds.
    pub fn give(&mut self, partition: i32, time: i64) {
        let watermark = self.watermarks.entry(partition).or_insert(i64::MIN);
        *watermark = time.max(*watermark);
    }

    /// How far event time has come in all partitions, in microseconds.
    pub fn passed(&self) -> i64 {
        self.watermarks.values().copied().min().unwrap_or(i64::MIN)
    }

    /// The bars that had ended by `passed`, without what came too late.
    pub fn in_time(&self, passed: i64) -> Table {
        let told = ended(&self.in_time, passed);
        told.map(|(key, bar)| (key, bar.values()[..BAR.len()].to_vec())).collect()
    }

    /// Likewise, as late trades have revised them.
    pub fn revised(&self, passed: i64) -> Table {
        ended(&self.revised, passed).map(|(key, bar)| (key, bar.values())).collect()
    }
}

/// What comes of revised bars in the order of event time: the mean of five closes, RSI, and the volume on balance.
pub fn trend(revised: &Table) -> Table {
    let (mut symbols, mut trend) = (HashMap::<&str, Running>::new(), Table::new());
    for (key, bar) in revised {
        let values = symbols.entry(&key.0).or_default().next(close(bar), volume(bar));
        trend.insert(key.clone(), values.to_vec());
    }
    trend
}

/// Revised bars of great volume, of several in a row the first.
pub fn surges(revised: &Table) -> Table {
    let (mut active, mut surges) = (HashMap::<&str, bool>::new(), Table::new());
    for (key, bar) in revised {
        let is_great = volume(bar) > SURGE;
        let was_great = active.insert(&key.0, is_great).unwrap_or(false);
        if is_great && !was_great {
            surges.insert(key.clone(), vec![Some(volume(bar))]);
        }
    }
    surges
}

fn close(bar: &[Option<f64>]) -> f64 {
    bar[3].expect("a bar has a price")
}

fn volume(bar: &[Option<f64>]) -> f64 {
    bar[4].expect("a bar has a volume")
}

/// The bars that had ended by then, each symbol's by time; their starts in ms.
fn ended(bars: &BTreeMap<Key, Bar>, passed: i64) -> impl Iterator<Item = (Key, &Bar)> {
    let ended = bars.iter().filter(move |((_, start), _)| start + SIZE <= passed);
    ended.map(|((symbol, start), bar)| ((symbol.clone(), start / 1000), bar))
}

/// What is wrong with the rows of a table.
pub fn differences(what: &str, expected: &Table, found: &Table) -> Vec<String> {
    let wrong = |(key, wanted): (&Key, &Values)| match found.get(key) {
        Some(values) if same(wanted, values) => None,
        Some(values) => Some(format!("{what}: {key:?} is {values:?}, not {wanted:?}")),
        None => Some(format!("{what}: {key:?} is missing, {wanted:?}")),
    };
    let too_many = found.iter().filter(|(key, _)| !expected.contains_key(*key));
    let too_many = too_many.map(|(key, values)| format!("{what}: {key:?} is none, {values:?}"));
    expected.iter().filter_map(wrong).chain(too_many).collect()
}

/// The rows of an output that is only appended to, as a table; and what comes twice, or behind a later row of its symbol.
pub fn appended(what: &str, rows: Vec<(Key, Values)>) -> (Table, Vec<String>) {
    let (mut table, mut last, mut wrong) = (Table::new(), HashMap::new(), Vec::new());
    for (key, values) in rows {
        if last.insert(key.0.clone(), key.1).is_some_and(|last| last >= key.1) {
            wrong.push(format!("{what}: {key:?} comes late or again"));
        }
        table.insert(key, values);
    }
    (table, wrong)
}

fn same(one: &Values, other: &Values) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|columns| match columns {
            (Some(one), Some(other)) => (one - other).abs() <= 1e-9 * one.abs().max(1.0),
            (one, other) => one == other,
        })
}

#[test]
fn trades_that_come_late_revise_or_are_lost() {
    let mut bars = Bars::default();
    let mut take = |n, time, price| bars.take(0, Tick { symbol: "A", n, time, price, volume: 1 });
    // Late for the first bar from 120,000 on, lost from 270,000 on: by what came before.
    for (n, time) in [50_000, 119_999, 1_000, 120_000, 2_000, 269_999, 3_000, 270_000, 4_000].into_iter().enumerate() {
        take(n as i64, time, n as f64);
    }
    assert_eq!(bars.passed(), 250_000);
    assert_eq!((bars.late, bars.lost), ([4, 6, 8].into(), [8].into()));
    let first = |bars: &BTreeMap<Key, Bar>| bars[&("A".to_string(), 0)].values();
    let values = |values: [i32; 7]| values.map(|value| Some(f64::from(value))).to_vec();
    assert_eq!(first(&bars.in_time), values([2, 2, 0, 0, 2, 2, 0]));
    assert_eq!(first(&bars.revised), values([2, 6, 0, 0, 4, 4, 2]));
}
