//! Compares what came out with what must have come out: rows that are missing, come twice, have other values or another
//! order.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::consumer::BaseConsumer;

use super::flow::{symbol, trade};
use crate::recovery::market::{Values, line, same};

/// So many differences of an output are told.
const TOLD: usize = 10;
/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is expected.
pub struct Check<'a> {
    pub seed: u64,
    /// Of each trade.
    pub expected: &'a [Values],
}

impl Check<'_> {
    /// What is wrong with the rows of an output, a line each; `in_order`: those of a symbol come in the order of the trades.
    pub fn rows(&self, output: &str, in_order: bool, rows: &[(i64, Values)]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut seen = vec![0u8; self.expected.len()];
        let mut last: HashMap<u64, i64> = HashMap::new();
        for (n, values) in rows {
            match self.expected.get(*n as usize) {
                Some(wanted) if same(wanted, values) => {}
                wanted => wrong.push(format!("{output}: row {n} is {values:?}, not {wanted:?}")),
            }
            if let Some(count) = seen.get_mut(*n as usize) {
                *count = count.saturating_add(1);
            }
            let before = last.insert(symbol(self.seed, *n as u64), *n).filter(|before| before > n);
            if let Some(before) = before.filter(|_| in_order) {
                wrong.push(format!("{output}: row {n} comes after row {before} of the same symbol"));
            }
        }
        for (n, count) in seen.iter().enumerate().filter(|(_, count)| **count != 1) {
            wrong.push(match count {
                0 => format!("{output}: row {n} is missing"),
                count => format!("{output}: row {n} comes {count} times"),
            });
        }
        shortened(output, wrong)
    }

    /// What is wrong with the input: whether the topic holds the trades that were meant.
    pub fn input(&self, topic: &BaseConsumer) -> Vec<String> {
        let (mut last, mut count, mut wrong) = (HashMap::new(), 0, Vec::new());
        let began = Instant::now();
        while count < self.expected.len() && began.elapsed() < PATIENCE {
            let Some(Ok(message)) = topic.poll(Duration::from_secs(1)) else { continue };
            let text = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
            let n = text.strip_prefix("{\"n\":").and_then(|text| text.split(',').next()).and_then(|n| n.parse().ok());
            let n: u64 = n.unwrap_or(u64::MAX);
            if n >= self.expected.len() as u64 || text != line(n as i64, &trade(self.seed, n)) {
                wrong.push(format!("the input: '{text}' is no trade"));
            }
            if last.insert(message.partition(), n).is_some_and(|last| last >= n) {
                wrong.push(format!("the input: trade {n} comes late or again"));
            }
            count += 1;
        }
        if count < self.expected.len() {
            wrong.push(format!("the input: {count} trades of {}", self.expected.len()));
        }
        shortened("the input", wrong)
    }
}

/// The first of many differences, and how many there are.
pub fn shortened(output: &str, mut wrong: Vec<String>) -> Vec<String> {
    let all = wrong.len();
    wrong.truncate(TOLD);
    if all > TOLD {
        wrong.push(format!("{output}: {all} differences in all"));
    }
    wrong
}

#[test]
fn a_difference_is_seen() {
    let expected = super::flow::expected(1, 1000);
    let check = Check { seed: 1, expected: &expected };
    let right: Vec<(i64, Values)> = expected.iter().enumerate().map(|(n, values)| (n as i64, *values)).collect();
    let wrong = |rows: &[(i64, Values)]| check.rows("it", true, rows);
    assert_eq!(wrong(&right), Vec::<String>::new());
    assert_eq!(wrong(&right[1..]), ["it: row 0 is missing"]);
    assert_eq!(wrong(&[&right[..], &right[..1]].concat()).len(), 2, "a repeat, late");
    let mut other = right.clone();
    other[900].1[2] = other[900].1[2].map(|volume| volume + 1.0);
    assert_eq!(wrong(&other).len(), 1, "another value");
    let mut swapped = right.clone();
    let next = (1..).find(|n| symbol(1, *n) == symbol(1, 0)).expect("another of the same symbol");
    swapped.swap(0, next as usize);
    assert_eq!(wrong(&swapped).len(), 1, "another order");
    assert!(!wrong(&[&right[..], &[(1000, right[0].1)]].concat()).is_empty(), "a row of nothing");
}
