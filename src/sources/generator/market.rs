//! The synthetic market behind the `generator` source: seeded, pure, the same on every worker.
//!
//! Every symbol has a random generator of its own, seeded by (seed, symbol index). Its ticks depend on the
//! [`MarketConfig`] alone: not on the shards, not on the other symbols' ticks, and not on how long a step is. Of the
//! operations that IEEE 754 leaves open it uses only `exp`, rounded to whole numbers at once, and the `exp` and `ln` in
//! the samplers' rare tails: the last bit of another machine's mathematics is as good as never seen in a tick.
//!
//! | What           | Model                                                                                      |
//! |----------------|--------------------------------------------------------------------------------------------|
//! | arrivals       | a Poisson process per symbol, its rate following the time of day ([`time_of_day`])         |
//! | activity       | Zipf-Mandelbrot: symbol `i` has a share of all ticks in proportion to `1 / (i + 3)`        |
//! | first price    | log-normal, median 100                                                                     |
//! | returns        | a random walk in event time, its variance a GARCH(1,1) in Nelson's continuous-time scaling |
//! | jumps          | Poisson, one a day and symbol, normal with a deviation of 3 %                              |
//! | sizes          | log-normal, median 100, in whole lots                                                      |

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::{Rng, RngCore, SeedableRng};
use rand_distr::{Exp1, StandardNormal};
use rand_xoshiro::{SplitMix64, Xoshiro256PlusPlus};
use serde::{Deserialize, Serialize};

/// Every price is a whole number of these, and at least one.
pub const TICK_SIZE: f64 = 1.0 / TICKS_PER_UNIT;
/// Every size is a whole number of these, and at least one.
pub const LOT_SIZE: f64 = 1.0;

const TICKS_PER_UNIT: f64 = 100.0;
/// Far above any market, far below where f64 can no longer hold every hundredth.
const HIGHEST_PRICE: f64 = 1e9;
/// In ticks.
const FIRST_PRICE: LogNormal = LogNormal { median: 10_000.0, sigma: 0.7 };
/// In lots.
const SIZE: LogNormal = LogNormal { median: 100.0, sigma: 1.2 };

const SECOND: f64 = 1e9;
const DAY: i64 = 86_400_000_000_000;

/// Standard deviation of a day's return in basis points: another for every symbol.
const DAILY_VOLATILITY: LogNormal = LogNormal { median: 300.0, sigma: 0.3 };
/// How long the variance remembers, in ns: a quarter of an hour, so that a short run already shows calm and busy
/// spells.
const MEMORY: f64 = 900.0 * SECOND;
/// How strongly returns stir the variance: 0 not at all; from 1 on its own variance would be infinite.
const REACTION: f64 = 0.7;

/// Mean ns between two jumps of a symbol.
const JUMP_GAP: f64 = DAY as f64;
/// Standard deviation of a jump.
const JUMP_SIZE: f64 = 0.03;

/// One tick a nanosecond: beyond that, times could not tell ticks apart.
const HIGHEST_RATE: f64 = 1e9;

/// What a market is made from; the same values give the same ticks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MarketConfig {
    /// Chooses one of 2^64 markets.
    pub seed: u64,
    /// Number of symbols, of all shards together.
    pub symbols: u32,
    /// Mean ticks a second of event time, of all symbols together. Not above 0: no ticks at all.
    pub rate: f64,
    /// Event time of the first step, in ns since 1970 UTC.
    pub start: i64,
    /// Event time a step covers, in ns.
    pub step: i64,
    /// Every symbol ticks exactly once in `symbols / rate` seconds, the symbols evenly spread over that interval,
    /// whatever the time of day; otherwise ticks come at random, and more often of the symbols with low indices.
    pub regular: bool,
}

/// Who crossed the spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// A buyer took an offer.
    Buy,
    /// A seller hit a bid.
    Sell,
}

impl Side {
    /// `buy` or `sell`.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Buy => "buy",
            Side::Sell => "sell",
        }
    }
}

/// One trade.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tick {
    /// Index of the symbol; [`Market::symbol_name`] names it.
    pub symbol: u32,
    /// In ns since 1970 UTC.
    pub event_time: i64,
    /// A whole number of [`TICK_SIZE`], above 0.
    pub price: f64,
    /// A whole number of [`LOT_SIZE`], above 0.
    pub size: f64,
    /// Three of four trades are on the side that moves the price.
    pub side: Side,
}

/// The symbols of one shard, at the end of some step.
///
/// A snapshot goes on exactly where it was taken if its format keeps every bit of an f64.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Market {
    step: i64,
    watermark: i64,
    symbols: Vec<Symbol>,
    /// The next tick of every symbol: its time and its place in `symbols`, which are in the order of their indices.
    /// A step touches only the symbols that tick in it.
    arrivals: BinaryHeap<Reverse<(i64, u32)>>,
}

impl Market {
    /// The market of the symbols whose index modulo `shards` is `shard`, before its first step.
    pub fn new(config: &MarketConfig, shard: u32, shards: u32) -> Self {
        let symbols = if config.rate > 0.0 { config.symbols } else { 0 };
        let total = (0..symbols).map(weight).sum();
        let mut symbols: Vec<Symbol> = (0..symbols)
            .filter(|symbol| symbol % shards.max(1) == shard)
            .map(|symbol| Symbol::new(config, symbol, total))
            .collect();
        let arrivals =
            (0..).zip(&mut symbols).map(|(place, symbol)| Reverse((symbol.first_arrival(config), place))).collect();
        Market { step: config.step.max(1), watermark: config.start, symbols, arrivals }
    }

    /// Appends the ticks of the next step, in order of (event time, symbol).
    pub fn step(&mut self, into: &mut Vec<Tick>) {
        self.watermark = self.watermark.saturating_add(self.step);
        while let Some(mut next) = self.arrivals.peek_mut() {
            let Reverse((time, place)) = *next;
            if time >= self.watermark {
                break;
            }
            let Some(symbol) = self.symbols.get_mut(place as usize) else { break };
            into.push(symbol.tick(time));
            *next = Reverse((symbol.arrival_after(time), place));
        }
    }

    /// Where the next step begins, in ns since 1970 UTC: no tick to come is earlier.
    pub fn watermark(&self) -> i64 {
        self.watermark
    }

    /// The name of a symbol: an invented ticker for the first fifty, then `S00051`, `S00052` and so on. It does not
    /// depend on how many symbols there are.
    pub fn symbol_name(symbol: u32) -> String {
        match TICKERS.get(symbol as usize) {
            Some(ticker) => (*ticker).to_owned(),
            None => format!("S{:05}", u64::from(symbol) + 1),
        }
    }
}

/// How busy the market is at a time in ns since 1970 UTC: a factor on the rate, with mean 1 over a day.
///
/// `1.6 - 1.125 (1 - x^2)^2`, where x runs from -1 at 00:00 UTC to 1 at the next: a smooth U over a market that never
/// closes, 1.6 at midnight where one day's close is the next one's open, 0.475 at noon. The mean of `(1 - x^2)^2`
/// over [-1, 1] is 8/15, which makes the mean of the whole 1.6 - 0.6.
pub fn time_of_day(time: i64) -> f64 {
    let x = time.rem_euclid(DAY) as f64 * (2.0 / DAY as f64) - 1.0;
    let hump = 1.0 - x * x;
    BUSIEST - 1.125 * hump * hump
}

/// The greatest value of [`time_of_day`].
const BUSIEST: f64 = 1.6;

/// The activity of a symbol relative to the others: the law of Zipf and Mandelbrot, with an offset that keeps the
/// busiest of a thousand symbols at 6 % of all ticks.
fn weight(symbol: u32) -> f64 {
    1.0 / (f64::from(symbol) + 3.0)
}

/// When a symbol ticks.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Pace {
    /// A Poisson process; mean ns between two ticks at the busiest time of day.
    Random { gap: f64 },
    /// Once every so many ns.
    Regular { interval: i64 },
}

impl Pace {
    /// `total` is the sum of the weights of all symbols, so that their rates sum up to the one asked for.
    fn new(config: &MarketConfig, symbol: u32, total: f64) -> Self {
        let rate = config.rate.min(HIGHEST_RATE);
        if config.regular {
            Pace::Regular { interval: rounded(f64::from(config.symbols) / rate * SECOND).max(1) }
        } else {
            Pace::Random { gap: SECOND / (rate * weight(symbol) / total * BUSIEST) }
        }
    }
}

/// One symbol after its last tick.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Symbol {
    index: u32,
    pace: Pace,
    rng: Xoshiro256PlusPlus,
    /// Event time of the last tick, at first of the start.
    time: i64,
    /// The price before it is rounded to ticks, so that many small returns add up.
    price: f64,
    /// Long-run variance of a return over one ns.
    mean_variance: f64,
    /// The present variance relative to the long-run one; its mean is 1.
    variance: f64,
    next_jump: i64,
}

impl Symbol {
    fn new(config: &MarketConfig, index: u32, total: f64) -> Self {
        let mut rng = generator(config.seed, index);
        let daily = DAILY_VOLATILITY.sample(&mut rng) / 1e4;
        Symbol {
            index,
            pace: Pace::new(config, index, total),
            time: config.start,
            price: FIRST_PRICE.sample(&mut rng) / TICKS_PER_UNIT,
            mean_variance: daily * daily / DAY as f64,
            variance: 1.0,
            next_jump: after(config.start, JUMP_GAP, &mut rng),
            rng,
        }
    }

    fn first_arrival(&mut self, config: &MarketConfig) -> i64 {
        match self.pace {
            Pace::Random { .. } => self.arrival_after(config.start),
            Pace::Regular { interval } => {
                let phase = i128::from(interval) * i128::from(self.index) / i128::from(config.symbols.max(1));
                config.start.saturating_add(i64::try_from(phase).unwrap_or(i64::MAX))
            }
        }
    }

    /// The time of the tick after one at `time`.
    ///
    /// A Poisson process of varying rate, by thinning one of the highest rate (Lewis and Shedler, 1979): exact for
    /// any rate, also where a symbol ticks less than once a day.
    fn arrival_after(&mut self, mut time: i64) -> i64 {
        match self.pace {
            Pace::Regular { interval } => time.saturating_add(interval),
            Pace::Random { gap } => loop {
                time = after(time, gap, &mut self.rng);
                if time == i64::MAX || self.rng.random::<f64>() * BUSIEST < time_of_day(time) {
                    return time;
                }
            },
        }
    }

    fn tick(&mut self, time: i64) -> Tick {
        let shock = self.walk(time);
        while self.next_jump <= time {
            let jump: f64 = self.rng.sample(StandardNormal);
            self.price = moved(self.price, JUMP_SIZE * jump);
            self.next_jump = after(self.next_jump, JUMP_GAP, &mut self.rng);
        }
        Tick {
            symbol: self.index,
            event_time: time,
            price: rounded(self.price * TICKS_PER_UNIT) as f64 / TICKS_PER_UNIT,
            size: SIZE.sample(&mut self.rng) * LOT_SIZE,
            side: self.side(shock),
        }
    }

    /// Moves price and variance on to `time`, and returns the standard normal shock that moved them.
    ///
    /// GARCH(1,1) (Bollerslev, 1986), with h the variance relative to its mean and z the shock, is
    /// `h += a (1 - h) + b h (z^2 - 1)`. Ticks are not evenly spaced, so a grows with the time between them and b with
    /// its square root, as in the diffusion that GARCH tends to (Nelson, 1990): clusters last equally long however
    /// often a symbol ticks. Since `a + b <= 1`, h stays positive.
    fn walk(&mut self, time: i64) -> f64 {
        let elapsed = time.saturating_sub(self.time) as f64;
        let shock: f64 = self.rng.sample(StandardNormal);
        self.price = moved(self.price, (self.mean_variance * self.variance * elapsed).sqrt() * shock);
        let revert = elapsed / (elapsed + MEMORY);
        let react = REACTION * revert.sqrt() * (1.0 - revert);
        self.variance += revert * (1.0 - self.variance) + react * self.variance * (shock * shock - 1.0);
        self.time = time;
        shock
    }

    fn side(&mut self, shock: f64) -> Side {
        let follows = self.rng.next_u64() >> 62 != 0;
        if follows == (shock > 0.0) { Side::Buy } else { Side::Sell }
    }
}

/// A log-normal distribution over whole numbers from 1: its median, and the standard deviation of its logarithm.
struct LogNormal {
    median: f64,
    sigma: f64,
}

impl LogNormal {
    fn sample(&self, rng: &mut Xoshiro256PlusPlus) -> f64 {
        let z: f64 = rng.sample(StandardNormal);
        rounded(self.median * (self.sigma * z).exp()).max(1) as f64
    }
}

/// The random numbers of one symbol. The seed is mixed before the index comes in: neighbouring seeds would share
/// symbols otherwise.
fn generator(seed: u64, symbol: u32) -> Xoshiro256PlusPlus {
    let mixed = SplitMix64::seed_from_u64(seed).next_u64();
    Xoshiro256PlusPlus::seed_from_u64(mixed ^ u64::from(symbol))
}

/// `time` and an exponential wait of mean `gap` ns; `i64::MAX`, which no step reaches, stands for never.
fn after(time: i64, gap: f64, rng: &mut Xoshiro256PlusPlus) -> i64 {
    let wait: f64 = rng.sample(Exp1);
    time.saturating_add(rounded(wait * gap))
}

/// The nearest whole number to one not below 0; saturates.
fn rounded(x: f64) -> i64 {
    (x + 0.5) as i64
}

/// A price moved by a return: up by `1 + r`, down by `1 / (1 - r)`, so that no return takes it below 0 and ups and
/// downs of equal size cancel out.
fn moved(price: f64, r: f64) -> f64 {
    let moved = if r >= 0.0 { price * (1.0 + r) } else { price / (1.0 - r) };
    moved.clamp(TICK_SIZE, HIGHEST_PRICE)
}

/// Invented; a name given once stays.
#[rustfmt::skip]
const TICKERS: [&str; 50] = [
    "QVO", "ZUQ", "XEJ", "JYX", "VQE", "ZORV", "BRYQ", "KELQ", "MUVO", "NYXA",
    "TAQU", "VOXI", "WEZO", "DRUQ", "FYNQ", "GAVU", "HEXU", "IRQO", "JUVA", "LYQO",
    "OZEK", "PIXQ", "QELM", "RUVI", "SYQA", "TOVQ", "UXEL", "VEQA", "WUZI", "XANQ",
    "YOVE", "ZEPQ", "AVUQ", "BOXU", "CYVA", "DEQO", "EZUR", "FOQA", "GYXO", "HUVE",
    "IXQA", "JEQO", "KUVQ", "LOXQ", "MYZE", "NUQA", "OVYX", "PUZQ", "QIRA", "ZYVO",
];

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_700_006_400_000_000_000; // midnight, 15 November 2023
    const SECOND: i64 = 1_000_000_000;

    fn config(symbols: u32, rate: f64) -> MarketConfig {
        MarketConfig { seed: 42, symbols, rate, start: START, step: SECOND / 10, regular: false }
    }

    fn ticks_of_shard(config: &MarketConfig, shard: u32, shards: u32, until: i64) -> Vec<Tick> {
        let mut market = Market::new(config, shard, shards);
        let mut ticks = Vec::new();
        while market.watermark() < until {
            market.step(&mut ticks);
        }
        ticks
    }

    fn ticks(config: &MarketConfig, seconds: i64) -> Vec<Tick> {
        ticks_of_shard(config, 0, 1, config.start + seconds * SECOND)
    }

    fn order(tick: &Tick) -> (i64, u32) {
        (tick.event_time, tick.symbol)
    }

    /// A failure here means that every user's seed now stands for another market.
    #[test]
    fn a_seed_gives_the_same_ticks_in_every_release() {
        let ticks = ticks(&config(3, 10.0), 1000);
        let seen = [0, 1, 100, 10_000].map(|n| {
            let t = ticks[n];
            (t.symbol, t.event_time - START, t.price, t.size, t.side)
        });
        let expected = [
            (1, 90_856_686, 156.3, 53.0, Side::Buy),
            (1, 165_596_888, 156.3, 52.0, Side::Buy),
            (1, 5_729_996_014, 156.31, 49.0, Side::Buy),
            (2, 623_665_859_476, 65.11, 30.0, Side::Buy),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn another_seed_is_another_market() {
        let other = MarketConfig { seed: 43, ..config(20, 1000.0) };
        let (a, b) = (ticks(&config(20, 1000.0), 5), ticks(&other, 5));
        assert!(!a.iter().any(|tick| b.contains(tick)));
    }

    #[test]
    fn shards_and_steps_do_not_change_the_ticks() {
        let whole = ticks(&config(20, 1000.0), 30);
        assert!(whole.is_sorted_by_key(order));
        let longer = MarketConfig { step: 3 * SECOND, ..config(20, 1000.0) };
        let mut parts: Vec<Tick> =
            (0..3).flat_map(|shard| ticks_of_shard(&longer, shard, 3, START + 30 * SECOND)).collect();
        parts.sort_by_key(order);
        assert_eq!(parts, whole);
    }

    #[test]
    fn a_step_stays_within_its_time() {
        let mut market = Market::new(&config(20, 1000.0), 0, 1);
        for _ in 0..100 {
            let (mut ticks, from) = (Vec::new(), market.watermark());
            market.step(&mut ticks);
            let times = from..market.watermark();
            assert!(!ticks.is_empty() && ticks.iter().all(|tick| times.contains(&tick.event_time)));
        }
    }

    #[test]
    fn a_restored_market_goes_on_where_it_was() -> serde_json::Result<()> {
        let mut market = Market::new(&config(20, 1000.0), 0, 1);
        market.step(&mut Vec::new());
        let snapshot = serde_json::to_string(&market)?;
        let mut restored: Market = serde_json::from_str(&snapshot)?;
        let (mut expected, mut seen) = (Vec::new(), Vec::new());
        for _ in 0..100 {
            market.step(&mut expected);
            restored.step(&mut seen);
        }
        assert_eq!(seen, expected);
        Ok(())
    }

    #[test]
    fn ten_million_prices_and_sizes_are_positive_and_whole() {
        let mut market = Market::new(&config(1000, 1e6), 0, 1);
        let (mut step, mut seen) = (Vec::new(), 0);
        while seen < 10_000_000 {
            step.clear();
            market.step(&mut step);
            seen += step.len();
            for tick in &step {
                let cents = (tick.price * TICKS_PER_UNIT).round();
                assert!(tick.price > 0.0 && tick.price == cents / TICKS_PER_UNIT, "{tick:?}");
                assert!(tick.size >= LOT_SIZE && (tick.size / LOT_SIZE).fract() == 0.0, "{tick:?}");
            }
        }
    }

    #[test]
    fn a_day_has_the_rate_asked_for() {
        let config = MarketConfig { step: 60 * SECOND, ..config(1000, 10.0) };
        let (whole, shard) = (ticks(&config, 86_400), ticks_of_shard(&config, 1, 3, START + DAY));
        assert!((whole.len() as f64 / 864_000.0 - 1.0).abs() < 0.01, "{}", whole.len());
        assert!(shard.len() < whole.len() / 2);
    }

    #[test]
    fn the_day_is_busier_at_its_ends_than_at_noon() {
        let mean = (0..1440).map(|minute| time_of_day(minute * DAY / 1440)).sum::<f64>() / 1440.0;
        assert!((mean - 1.0).abs() < 1e-5, "{mean}");
        let mut hours = [0.0; 24];
        for tick in ticks(&MarketConfig { step: 60 * SECOND, ..config(5, 2.0) }, 86_400) {
            hours[((tick.event_time - START) / (3600 * SECOND)) as usize] += 1.0;
        }
        assert!(hours[0] > 2.5 * hours[12] && hours[23] > 2.5 * hours[11], "{hours:?}");
    }

    #[test]
    fn low_indices_tick_more_often() {
        let ticks = ticks(&config(1000, 1000.0), 200);
        let count = |symbol| ticks.iter().filter(|tick| tick.symbol == symbol).count();
        assert!(count(0) > 5 * count(20) && count(20) > 5 * count(500) && count(500) > 0);
    }

    #[test]
    fn a_regular_symbol_ticks_once_an_interval() {
        let config = MarketConfig { regular: true, ..config(1000, 1000.0) };
        let ticks = ticks(&config, 20);
        assert_eq!(ticks.len(), 20_000);
        for (n, tick) in (0..).zip(&ticks) {
            assert_eq!((tick.symbol, tick.event_time), ((n % 1000) as u32, START + n * SECOND / 1000));
        }
    }

    #[test]
    fn volatility_clusters() {
        let config = MarketConfig { step: 60 * SECOND, regular: true, ..config(50, 50.0) };
        let mut minutes = vec![Vec::new(); 50];
        for tick in ticks(&config, 86_400).iter().filter(|tick| (tick.event_time - START) % (60 * SECOND) < SECOND) {
            minutes[tick.symbol as usize].push(tick.price.ln());
        }
        let mean = minutes.iter().map(|prices| autocorrelation_of_moves(prices)).sum::<f64>() / 50.0;
        assert!(mean > 0.05, "{mean}");
    }

    /// Of the absolute returns, from one to the next; capped, so that a jump does not hide all else.
    fn autocorrelation_of_moves(prices: &[f64]) -> f64 {
        let moves: Vec<f64> = prices.windows(2).map(|pair| (pair[1] - pair[0]).abs().min(0.01)).collect();
        let mean = moves.iter().sum::<f64>() / moves.len() as f64;
        let both: f64 = moves.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
        both / moves.iter().map(|m| (m - mean) * (m - mean)).sum::<f64>()
    }

    #[test]
    fn odd_configs_give_no_ticks_rather_than_trouble() {
        for rate in [0.0, -1.0, f64::NAN] {
            assert_eq!(ticks(&config(10, rate), 1), []);
        }
        assert_eq!(ticks(&config(0, 1.0), 1), []);
        assert_eq!(ticks_of_shard(&config(10, 100.0), 3, 3, START + SECOND), []);
        let end_of_time = MarketConfig { start: i64::MAX - SECOND, ..config(10, 100.0) };
        assert!(!ticks_of_shard(&end_of_time, 0, 1, i64::MAX).is_empty());
    }

    #[test]
    fn names_are_unique_and_stay() {
        let names: std::collections::BTreeSet<_> = (0..100_000).map(Market::symbol_name).collect();
        assert_eq!(names.len(), 100_000);
        let some = [0, 49, 50, 99_999].map(Market::symbol_name);
        assert_eq!(some, ["QVO", "ZYVO", "S00051", "S100000"]);
    }
}
