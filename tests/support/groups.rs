//! The groups of the main job, found by a plain loop over all trades. It shares no code with tapeflow.

use std::collections::BTreeMap;

use super::bars::{Table, Tick, Values};

/// How long trades count that are recent, and how far the watermark stays behind, in microseconds.
const RECENT: i64 = 150_000;
pub const LATENESS: i64 = 20_000;
/// A trade of more volume than this is a large one.
const LARGE: i64 = 500;

/// Of all trades of a symbol.
pub const TOTALS: [&str; 5] = ["trades", "volume", "high", "close", "turnover"];
/// Of its recent trades.
pub const RECENTLY: [&str; 4] = ["trades", "volume", "low", "spread"];
/// Of its large and of its small trades.
pub const SIZES: [&str; 4] = ["n_large", "mean_large", "n_small", "mean_small"];

/// The operators over the node `real`.
pub const OPERATORS: &str = r#"
        [operators.totals]
        type = "aggregate"
        input = "real"
        [operators.totals.columns]
        trades = "count(*)"
        volume = "sum(volume)"
        high = "max(price)"
        close = "last(price)"
        turnover = "sum(price * volume)"
        [operators.recent]
        type = "aggregate"
        input = "real"
        over = "150ms"
        [operators.recent.columns]
        trades = "count(*)"
        volume = "sum(volume)"
        low = "min(price)"
        spread = "stddev(price)"
        [operators.sizes]
        type = "pivot"
        input = "real"
        on = "case when volume > 500 then 'large' else 'small' end"
        values = ["large", "small"]
        columns = { n = "count(*)", mean = "mean(price)" }
"#;

/// What all trades of each symbol come to.
pub fn totals(ticks: &[Tick<'_>]) -> Table {
    table(by_symbol(ticks), |ticks| {
        let high = ticks.iter().map(|tick| tick.price).fold(f64::MIN, f64::max);
        let last = ticks.iter().max_by_key(|tick| (tick.time, tick.n)).expect("a trade");
        let turnover: f64 = ticks.iter().map(|tick| tick.price * tick.volume as f64).sum();
        [ticks.len() as f64, volume(ticks), high, last.price, turnover].map(Some).to_vec()
    })
}

/// What the trades of each symbol come to that are recent where event time has come to `passed`.
pub fn recent(ticks: &[Tick<'_>], passed: i64) -> Table {
    let recent: Vec<Tick<'_>> = ticks.iter().filter(|tick| tick.time > passed - RECENT).copied().collect();
    table(by_symbol(&recent), |ticks| {
        let low = ticks.iter().map(|tick| tick.price).fold(f64::MAX, f64::min);
        let mean = mean(ticks).expect("a trade");
        let squares: f64 = ticks.iter().map(|tick| (tick.price - mean).powi(2)).sum();
        let spread = (ticks.len() > 1).then(|| (squares / (ticks.len() - 1) as f64).sqrt());
        vec![Some(ticks.len() as f64), Some(volume(ticks)), Some(low), spread]
    })
}

/// What large and small trades of each symbol come to.
pub fn sizes(ticks: &[Tick<'_>]) -> Table {
    table(by_symbol(ticks), |ticks| {
        let (large, small): (Vec<Tick<'_>>, Vec<Tick<'_>>) = ticks.iter().partition(|tick| tick.volume > LARGE);
        let of = |ticks: &[Tick<'_>]| [Some(ticks.len() as f64), mean(ticks)];
        [of(&large), of(&small)].concat()
    })
}

fn by_symbol<'t>(ticks: &[Tick<'t>]) -> BTreeMap<&'t str, Vec<Tick<'t>>> {
    let mut symbols: BTreeMap<&str, Vec<Tick<'_>>> = BTreeMap::new();
    ticks.iter().for_each(|tick| symbols.entry(tick.symbol).or_default().push(*tick));
    symbols
}

fn table(symbols: BTreeMap<&str, Vec<Tick<'_>>>, values: impl Fn(&[Tick<'_>]) -> Values) -> Table {
    symbols.into_iter().map(|(symbol, ticks)| ((symbol.to_string(), 0), values(&ticks))).collect()
}

fn volume(ticks: &[Tick<'_>]) -> f64 {
    ticks.iter().map(|tick| tick.volume as f64).sum()
}

fn mean(ticks: &[Tick<'_>]) -> Option<f64> {
    (!ticks.is_empty()).then(|| ticks.iter().map(|tick| tick.price).sum::<f64>() / ticks.len() as f64)
}
