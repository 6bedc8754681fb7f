//! Rolling quantile.

use std::{cmp::Ordering, collections::BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Argument, Function, Indicator, Span, States, parts::Window};

/// `quantile(x, q, span)`
pub const FUNCTION: Function = Function {
    name: "quantile",
    summary: "Rolling quantile: the value that a share `q` of the window lies below, 0.5 being the median.",
    formula: "The value at q * (n - 1) of the n sorted values, between two by linear interpolation. numpy.quantile, \
              pandas x.rolling(span).quantile(q).",
    arguments: &[
        Argument::series("x", "what to rank"),
        Argument::number("q", (0.0, 1.0), None, "the share below, from 0 to 1"),
        Argument::window(),
    ],
    outputs: &[""],
    dialects: "",
    warm_up: |arguments| arguments.span(1).and_then(Span::warm_up),
    build: |arguments| {
        let span = arguments.span(1).unwrap_or(Span::Rows(1));
        States::boxed(Quantile::new(arguments.number(0), span))
    },
};

/// The rolling quantile of one key, in the units of its input, in logarithmic time.
///
/// The window is split at the quantile into two sorted halves, so that the answer lies between the last of the one
/// and the first of the other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Quantile {
    q: f64,
    window: Window<Item>,
    below: BTreeSet<Item>,
    above: BTreeSet<Item>,
    rows: u64,
}

impl Quantile {
    /// The quantile `q`, 0 to 1, over a span of rows or time.
    pub fn new(q: f64, span: Span) -> Self {
        Self { q, window: Window::new(span), below: BTreeSet::new(), above: BTreeSet::new(), rows: 0 }
    }

    fn insert(&mut self, item: Item) {
        if self.above.first().is_some_and(|first| item > *first) {
            self.above.insert(item);
        } else {
            self.below.insert(item);
        }
    }

    fn remove(&mut self, item: Item) {
        if !self.below.remove(&item) {
            self.above.remove(&item);
        }
    }

    fn balance(&mut self, count: usize) {
        while self.below.len() > count {
            self.above.extend(self.below.pop_last());
        }
        while self.below.len() < count && !self.above.is_empty() {
            self.below.extend(self.above.pop_first());
        }
    }
}

impl Indicator<1, 1> for Quantile {
    fn feed(&mut self, time: i64, [x]: [f64; 1]) -> [f64; 1] {
        let item = Item(x, self.rows);
        self.rows += 1;
        self.window.push(time, item);
        while let Some(old) = self.window.pop() {
            self.remove(old);
        }
        self.insert(item);
        let position = self.q * (self.window.len() - 1) as f64;
        self.balance(position as usize + 1);
        let (Some(Item(below, _)), true) = (self.below.last(), self.window.is_warm()) else {
            return [f64::NAN];
        };
        let above = self.above.first().map_or(*below, |Item(above, _)| *above);
        [below + (above - below) * position.fract()]
    }

    fn heap_bytes(&self) -> usize {
        // A B-tree is two thirds full on average.
        self.window.heap_bytes() + self.window.len() * size_of::<Item>() * 3 / 2
    }
}

/// A value and the number of its row, which tells equal values apart.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Item(f64, u64);

impl Ord for Item {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Item {}

#[cfg(test)]
mod tests {
    use crate::indicators::{Compat, testing};

    fn quantile(mut x: Vec<f64>, q: f64) -> Vec<f64> {
        x.sort_by(f64::total_cmp);
        let position = q * (x.len() - 1) as f64;
        let (low, high) = (position.floor(), position.ceil());
        let weight = position - low;
        vec![x[low as usize] * (1.0 - weight) + x[high as usize] * weight]
    }

    #[test]
    fn equals_its_definition() {
        for q in [0.0, 0.1, 0.5, 0.99, 1.0] {
            testing::by_definition(&format!("quantile(x, {q}, 12)"), Compat::Talib, |rows| {
                testing::last(rows, 12).map_or(vec![f64::NAN], |x| quantile(x, q))
            });
            testing::by_definition(&format!("quantile(x, {q}, '45s')"), Compat::Talib, |rows| {
                quantile(testing::first(&testing::within(rows, 45)), q)
            });
        }
    }
}
