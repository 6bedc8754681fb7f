//! The alerts of the market: `swings` of `market::OPERATORS`, found again trade by trade.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::market::Trade;
use crate::support::{naive, rows};

/// An alert fires, or is over, with a trade.
type Alert = (i64, &'static str, String);

/// How a symbol stands.
#[derive(Default)]
struct Symbol {
    prices: Vec<f64>,
    active: bool,
    alerted: Option<i64>,
    last: f64,
}

fn expected(trades: &[Trade]) -> BTreeSet<Alert> {
    let mut symbols: BTreeMap<&str, Symbol> = BTreeMap::new();
    let mut alerts = BTreeSet::new();
    for (n, Trade { symbol: name, time, price, .. }) in trades.iter().enumerate() {
        let symbol = symbols.entry(name).or_default();
        symbol.prices.push(*price);
        if symbol.prices.len() == 1 {
            symbol.last = *price;
        }
        let moved = (price / symbol.last - 1.0).abs() >= 0.02;
        let mean = naive::sma(&symbol.prices, 5);
        let said = format!("{name} moved {}", if *price > symbol.last { "up" } else { "down" });
        if symbol.active {
            if mean.is_some_and(|mean| (price / mean - 1.0).abs() < 0.002) {
                symbol.active = false;
                alerts.insert((n as i64, "resolved", said));
            }
        } else if moved && symbol.alerted.is_none_or(|alerted| time - alerted >= 50_000) {
            (symbol.active, symbol.alerted, symbol.last) = (true, Some(*time), *price);
            alerts.insert((n as i64, "firing", said));
        }
    }
    alerts
}

/// What is wrong with the alerts in the folder of a run: those that are missing, too many, or come twice.
pub fn differences(trades: &[Trade], folder: &Path) -> Vec<String> {
    let expected = expected(trades);
    assert!(expected.len() > 500, "{}", expected.len());
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for entry in std::fs::read_dir(folder.join("alerts")).expect("a folder").flatten() {
        for row in rows(&std::fs::read_to_string(entry.path()).expect("text")) {
            let status = if row["status"] == "firing" { "firing" } else { "resolved" };
            let alert =
                (row["n"].as_i64().expect("a number"), status, row["message"].as_str().expect("text").to_string());
            if !seen.insert(alert.clone()) {
                wrong.push(format!("alert {alert:?} comes twice"));
            }
        }
    }
    wrong.extend(expected.difference(&seen).map(|alert| format!("alert {alert:?} is missing")));
    wrong.extend(seen.difference(&expected).map(|alert| format!("alert {alert:?} is none")));
    wrong
}
