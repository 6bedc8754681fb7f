//! Trades that are cancelled and corrected by others, the bars of what is left of them and what goes on from trade to trade,
//! found by a plain loop. It shares no code with tapeflow.
//!
//! Any trade may be a message about another one: its volume says so.

use std::collections::{BTreeMap, HashMap};

use super::bars::{Table, Tick};
use super::running::Running;

/// How long a bar is, how far the watermark of a partition stays behind, and how far back trades are corrected, in
/// microseconds.
const SIZE: i64 = 100_000;
const LATENESS: i64 = 20_000;
const HORIZON: i64 = 300_000;

/// What [`Mended`] takes messages for, as a source says it.
pub const CORRECTIONS: &str = "corrections = { id = \"n\", refers_to = \"n - 1 - volume / 16 * 16\", horizon = \"300ms\", \
                               retract = \"volume % 16 = 3\", replace = \"volume % 16 = 5\" }";

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Trade,
    Cancel,
    Correct,
}

fn says(volume: i64) -> Says {
    match volume % 16 {
        3 => Says::Cancel,
        5 => Says::Correct,
        _ => Says::Trade,
    }
}

/// The number of the trade that the one with the number `n` is about, where it is about one.
pub fn about(n: i64, volume: i64) -> Option<i64> {
    (says(volume) != Says::Trade).then(|| n - 1 - volume / 16 * 16).filter(|about| *about >= 0)
}

/// What a bar has.
pub const BAR: [&str; 7] = ["open", "high", "low", "close", "volume", "trades", "revision"];
/// What is told of a trade,
pub const TRADE: [&str; 3] = ["price", "volume", "revision"];
/// and what is computed of it and those before it.
pub const STEP: [&str; 2] = ["price", "sma_5"];

struct Trade {
    symbol: String,
    /// Where it stands, and its number in the end.
    place: (i64, i64),
    n: i64,
    price: f64,
    volume: i64,
    is_late: bool,
    corrections: i64,
    is_there: bool,
}

/// All trades.
#[derive(Default)]
pub struct Mended {
    /// Of each partition, how far event time has come, less the lateness.
    watermarks: HashMap<i32, i64>,
    trades: Vec<Trade>,
    /// Which trade has, or had, a number; by symbol.
    numbers: HashMap<(String, i64), usize>,
    /// How many messages could not be followed.
    pub refused: usize,
    /// How many trades were cancelled or corrected when their bars had ended everywhere.
    pub corrected: usize,
}

impl Mended {
    /// Takes the next message of a partition.
    pub fn take(&mut self, partition: i32, tick: Tick<'_>) {
        let watermark = self.watermarks.entry(partition).or_insert(i64::MIN);
        let come = *watermark;
        *watermark = come.max(tick.time - LATENESS);
        let since = come.max(tick.time) - HORIZON;
        let own = (tick.symbol.to_string(), tick.n);
        if says(tick.volume) == Says::Trade {
            if tick.time < since {
                self.refused += 1;
                return;
            }
            self.numbers.insert(own, self.trades.len());
            let is_late = come >= tick.time - tick.time.rem_euclid(SIZE) + SIZE;
            let (place, n) = ((tick.time, tick.n), tick.n);
            let Tick { price, volume, .. } = tick;
            let symbol = tick.symbol.to_string();
            self.trades.push(Trade { symbol, place, n, price, volume, is_late, corrections: 0, is_there: true });
            return;
        }
        let about = (tick.symbol.to_string(), tick.n - 1 - tick.volume / 16 * 16);
        let found = self.numbers.get(&about).copied();
        let Some(at) = found.filter(|at| self.trades[*at].is_there && self.trades[*at].place.0 >= since) else {
            self.refused += 1;
            return;
        };
        let trade = &mut self.trades[at];
        trade.corrections += 1;
        self.corrected += usize::from(come >= trade.place.0 - trade.place.0.rem_euclid(SIZE) + SIZE);
        if says(tick.volume) == Says::Cancel {
            trade.is_there = false;
        } else {
            (trade.n, trade.price, trade.volume) = (tick.n, tick.price, tick.volume);
            self.numbers.insert(own, at);
        }
    }

    /// How far event time has come in all partitions, in microseconds.
    fn passed(&self) -> i64 {
        self.watermarks.values().copied().min().unwrap_or(i64::MIN)
    }

    /// The bars of trades that came in time; those that have ended where not `all` have.
    pub fn bars(&self, all: bool) -> Table {
        let mut bars: BTreeMap<(&str, i64), Vec<&Trade>> = BTreeMap::new();
        let passed = if all { i64::MAX } else { self.passed() };
        for trade in self.trades.iter().filter(|trade| !trade.is_late) {
            let start = trade.place.0 - trade.place.0.rem_euclid(SIZE);
            bars.entry((&trade.symbol, start)).or_default().push(trade);
        }
        let ended = bars.into_iter().filter(|((_, start), _)| start + SIZE <= passed);
        ended.filter_map(|((symbol, start), trades)| Some(((symbol.to_string(), start / 1000), bar(trades)?))).collect()
    }

    /// The trades that are left, by their number.
    pub fn trades(&self) -> Table {
        let there = self.trades.iter().filter(|trade| trade.is_there);
        let values = |trade: &Trade| [trade.price, trade.volume as f64, trade.corrections as f64].map(Some).to_vec();
        there.map(|trade| ((trade.symbol.clone(), trade.n), values(trade))).collect()
    }

    /// What is computed from one of them to the next.
    pub fn steps(&self) -> Table {
        let mut there: Vec<&Trade> = self.trades.iter().filter(|trade| trade.is_there).collect();
        there.sort_by_key(|trade| trade.place);
        let (mut symbols, mut steps) = (HashMap::<&str, Running>::new(), Table::new());
        for trade in there {
            let [mean, ..] = symbols.entry(&trade.symbol).or_default().next(trade.price, trade.volume as f64);
            steps.insert((trade.symbol.clone(), trade.n), vec![Some(trade.price), mean]);
        }
        steps
    }
}

/// The bar of these trades, where any are left.
fn bar(trades: Vec<&Trade>) -> Option<Vec<Option<f64>>> {
    let corrections: i64 = trades.iter().map(|trade| trade.corrections).sum();
    let mut left: Vec<&Trade> = trades.into_iter().filter(|trade| trade.is_there).collect();
    left.sort_by_key(|trade| trade.place);
    let (first, last) = (left.first()?.price, left.last()?.price);
    let prices = || left.iter().map(|trade| trade.price);
    let (high, low) = (prices().fold(f64::MIN, f64::max), prices().fold(f64::MAX, f64::min));
    let volume: i64 = left.iter().map(|trade| trade.volume).sum();
    let integers = [volume, left.len() as i64, corrections].map(|integer| integer as f64);
    Some([first, high, low, last].into_iter().chain(integers).map(Some).collect())
}

#[test]
fn a_trade_is_cancelled_and_another_one_corrected_twice() {
    let mut mended = Mended::default();
    let mut take = |n, time, price, volume| mended.take(0, Tick { symbol: "A", n, time, price, volume });
    take(0, 10_000, 1.0, 1);
    take(1, 20_000, 2.0, 2);
    take(17, 30_000, 3.0, 16 + 5); // about the first
    take(18, 31_000, 0.0, 16 + 3); // about the second,
    take(34, 32_000, 0.0, 32 + 3); // and again
    take(50, 130_000, 4.0, 32 + 5); // about the third, which stands for the first
    take(66, 500_000, 5.0, 48 + 3); // too late for that
    let values = |values: &[f64]| values.iter().copied().map(Some).collect::<Vec<_>>();
    let key = |n| ("A".to_string(), n);
    assert_eq!((mended.refused, mended.corrected), (2, 0), "none came when the bar had ended");
    assert_eq!(mended.trades(), [(key(50), values(&[4.0, 37.0, 2.0]))].into());
    assert_eq!(mended.bars(true), [(key(0), values(&[4.0, 4.0, 4.0, 4.0, 37.0, 1.0, 3.0]))].into());
    assert_eq!(mended.steps().len(), 1);
}
