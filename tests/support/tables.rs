//! What the main job keeps by key, found by a plain loop over all trades: the newest trade of each symbol that has traded of
//! late, the dearest of these, and the trades that repeat none. It shares no code with tapeflow.

use std::collections::{BTreeMap, HashMap};

/// How far the watermark of a partition stays behind, after how long a symbol without trades is forgotten, and for how long
/// an id is known, in microseconds.
const LATENESS: i64 = 20_000;
const EXPIRE: i64 = 100_000;
const HORIZON: i64 = 500_000;
/// So many of the dearest are told.
const DEAREST: usize = 10;

/// A trade; `n` is where it stands in its partition.
#[derive(Clone, Copy)]
pub struct Tick<'a> {
    pub symbol: &'a str,
    pub n: i64,
    /// In microseconds.
    pub time: i64,
    pub price: f64,
    pub volume: i64,
}

/// All trades that have come.
#[derive(Default)]
pub struct Trades<'a> {
    /// Of each partition, how far event time has come, less the lateness.
    watermarks: HashMap<i32, i64>,
    /// The newest of each symbol, and how far event time had come with its trades.
    newest: BTreeMap<&'a str, (Tick<'a>, i64)>,
    /// When the first trade of an id has come.
    ids: HashMap<(&'a str, i64), i64>,
    /// The numbers of the trades that repeat none.
    pub once: Vec<i64>,
}

impl<'a> Trades<'a> {
    /// Takes the next trade of a partition.
    pub fn take(&mut self, partition: i32, tick: Tick<'a>) {
        let watermark = self.watermarks.entry(partition).or_insert(i64::MIN);
        let come = tick.time.max(*watermark);
        *watermark = (tick.time - LATENESS).max(*watermark);
        let (newest, heard) = self.newest.entry(tick.symbol).or_insert((tick, come));
        if (tick.time, tick.n) > (newest.time, newest.n) || come - *heard >= EXPIRE {
            *newest = tick;
        }
        *heard = come.max(*heard);
        let id = (tick.symbol, tick.volume % 50);
        if self.ids.get(&id).is_none_or(|first| come - first >= HORIZON) {
            self.ids.insert(id, come);
            self.once.push(tick.n);
        }
    }

    /// The newest trade of each symbol, where it has not been forgotten.
    fn standing(&self) -> impl Iterator<Item = &Tick<'a>> {
        let passed = self.watermarks.values().copied().min().unwrap_or(i64::MIN);
        self.newest.values().filter(move |(_, heard)| heard + EXPIRE > passed).map(|(tick, _)| tick)
    }

    /// Their numbers, by symbol.
    pub fn newest(&self) -> BTreeMap<String, i64> {
        self.standing().map(|tick| (tick.symbol.to_string(), tick.n)).collect()
    }

    /// The numbers of the dearest of them, by rank.
    pub fn dearest(&self) -> BTreeMap<i64, i64> {
        let mut all: Vec<&Tick<'a>> = self.standing().collect();
        all.sort_by(|one, other| other.price.total_cmp(&one.price).then_with(|| one.symbol.cmp(other.symbol)));
        (1..).zip(all.into_iter().take(DEAREST).map(|tick| tick.n)).collect()
    }
}
