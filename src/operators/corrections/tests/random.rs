//! Random trades, cancels and corrections, and what is computed of them, compared with what a plain loop finds over the
//! trades as they should have been.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::*;

const SYMBOLS: [&str; 3] = ["A", "B", "C"];
const SIZE: i64 = 10 * SECOND;
const LATENESS: i64 = 3 * SECOND;
const HORIZON: i64 = 40 * SECOND;
const CORRECTIONS: &str = "id = \"id\"\nrefers_to = \"about\"\nretract = \"kind = 'cancel'\"\nreplace = \"kind = 'correct'\"\nhorizon = \"40s\"";

/// The messages of each symbol, in a partition of its own.
fn market(random: &mut StdRng) -> Vec<Vec<Message>> {
    let of_symbol = |(partition, symbol): (usize, &'static str)| {
        let (mut watermark, mut messages, mut ids) = (i64::MIN, Vec::new(), 0);
        for offset in 0..random.random_range(20..120u64) {
            let now = START + offset as i64 * random.random_range(900..1100) * 1_000_000;
            let late = if random.random_bool(0.2) { random.random_range(0..60) * SECOND / 4 } else { 0 };
            let about = format!("x{}", random.random_range(0..=ids) as i64 - random.random_range(0..3));
            let kind = ["cancel", "correct", "", "", "", ""][random.random_range(0..6)];
            // An id may come twice.
            ids += u64::from(random.random_bool(0.9));
            let time = (now - late) / 1_000_000 * 1_000_000;
            messages.push(Message {
                symbol,
                kind,
                id: format!("x{ids}"),
                about: if kind.is_empty() { String::new() } else { about },
                time,
                price: random.random_range(90..110) as f64,
                volume: random.random_range(1..9),
                partition: partition as u64,
                offset,
                place: watermark,
            });
            watermark = watermark.max(time - LATENESS);
        }
        messages
    };
    SYMBOLS.into_iter().enumerate().map(of_symbol).collect()
}

/// A trade as it is in the end, or as it was when it was cancelled.
#[derive(Clone)]
struct Trade {
    ids: Vec<String>,
    seq: i64,
    time: i64,
    price: f64,
    volume: f64,
    is_late: bool,
    corrections: i64,
    is_there: bool,
}

/// The trades of a symbol, in the order in which they came, and how many messages could not be followed.
fn trades(messages: &[Message]) -> (Vec<Trade>, usize) {
    let (mut trades, mut refused): (Vec<Trade>, usize) = (Vec::new(), 0);
    for message in messages {
        let come = message.place.max(message.time);
        let find = |id: &str| {
            trades.iter().rposition(|trade| trade.time + HORIZON >= come && trade.ids.iter().any(|own| own == id))
        };
        let (own, other) = (find(&message.id), find(&message.about));
        match (message.kind, other) {
            ("", _) if own.is_none() && message.time + HORIZON >= come => {
                let end = message.time - message.time.rem_euclid(SIZE) + SIZE;
                trades.push(Trade {
                    ids: vec![message.id.clone()],
                    seq: message.seq(),
                    time: message.time,
                    price: message.price,
                    volume: message.volume as f64,
                    is_late: message.place >= end,
                    corrections: 0,
                    is_there: true,
                });
            }
            ("cancel", Some(at)) if trades[at].is_there => {
                (trades[at].is_there, trades[at].corrections) = (false, trades[at].corrections + 1);
            }
            ("correct", Some(at)) if trades[at].is_there && (own.is_none() || message.id == message.about) => {
                let trade = &mut trades[at];
                (trade.price, trade.volume) = (message.price, message.volume as f64);
                trade.corrections += 1;
                trade.ids.push(message.id.clone());
            }
            _ => refused += 1,
        }
    }
    (trades, refused)
}

const BAR: [&str; 6] = ["open", "high", "close", "n", "vwap", "revision"];

/// The bars of trades that came in time, and how often they were corrected.
fn bars(symbol: &str, trades: &[Trade]) -> Table {
    let mut bars: BTreeMap<i64, Vec<&Trade>> = BTreeMap::new();
    for trade in trades.iter().filter(|trade| !trade.is_late) {
        bars.entry(trade.time - trade.time.rem_euclid(SIZE)).or_default().push(trade);
    }
    let mut table = Table::new();
    for (start, mut all) in bars {
        let corrections: i64 = all.iter().map(|trade| trade.corrections).sum();
        all.retain(|trade| trade.is_there);
        all.sort_by_key(|trade| (trade.time, trade.seq));
        let (Some(first), Some(last)) = (all.first(), all.last()) else { continue };
        let volume: f64 = all.iter().map(|trade| trade.volume).sum();
        let paid: f64 = all.iter().map(|trade| trade.price * trade.volume).sum();
        let high = all.iter().map(|trade| trade.price).fold(f64::MIN, f64::max);
        let values = [first.price, high, last.price, all.len() as f64, paid / volume, corrections as f64];
        table.insert((symbol.to_string(), start / 1_000_000), values.into_iter().map(Some).collect());
    }
    table
}

/// The mean of three prices behind each trade, late ones in their place.
fn means(symbol: &str, trades: &[Trade]) -> Table {
    let mut there: Vec<&Trade> = trades.iter().filter(|trade| trade.is_there).collect();
    there.sort_by_key(|trade| (trade.time, trade.seq));
    let mean =
        |at: usize| at.checked_sub(2).map(|first| there[first..=at].iter().map(|trade| trade.price).sum::<f64>() / 3.0);
    (0..there.len()).map(|at| ((symbol.to_string(), there[at].seq), vec![Some(there[at].price), mean(at)])).collect()
}

/// The messages in one of the orders in which they may come: those of a symbol stay in theirs.
fn shuffled(random: &mut StdRng, market: &[Vec<Message>]) -> Vec<Message> {
    let mut symbols: Vec<usize> =
        market.iter().enumerate().flat_map(|(at, messages)| vec![at; messages.len()]).collect();
    symbols.shuffle(random);
    let mut next = vec![0; market.len()];
    let take = |at: usize| {
        next[at] += 1;
        market[at][next[at] - 1].clone()
    };
    symbols.into_iter().map(take).collect()
}

/// The watermark, where partitions have shown these times.
fn watermark(shown: &BTreeMap<u64, i64>) -> i64 {
    let least = shown.values().min().filter(|_| shown.len() == SYMBOLS.len());
    least.map_or(i64::MIN, |time| time - LATENESS)
}

/// The operators, and what has come of them.
struct Chain<'s> {
    subject: &'s Subject,
    operators: [Box<dyn Operator>; 3],
    stores: [Store; 3],
    bars: Table,
    means: Table,
    refused: usize,
}

impl<'s> Chain<'s> {
    fn build(subject: &'s Subject) -> [Box<dyn Operator>; 3] {
        [subject.build(), subject.operator("bars"), subject.operator("means")]
    }

    fn new(subject: &'s Subject) -> Self {
        let (bars, means, refused) = (Table::new(), Table::new(), 0);
        Chain { operators: Self::build(subject), subject, stores: Default::default(), bars, means, refused }
    }

    /// Takes an epoch.
    fn epoch(&mut self, batches: &[&[Message]], watermark: i64) {
        let [stage, window, indicators] = &mut self.operators;
        let (mut of_bars, mut of_means) = (Output::default(), Output::default());
        for messages in batches {
            let mut out = Output::default();
            stage.rows(self.subject.rows(messages), &mut out).expect("followed");
            self.refused += out.refused.len();
            for rows in out.rows {
                window.rows(rows.clone(), &mut of_bars).expect("rows");
                indicators.rows(rows, &mut of_means).expect("rows");
            }
        }
        if watermark > i64::MIN {
            stage.watermark(watermark, &mut Output::default()).expect("watermark");
            window.watermark(watermark, &mut of_bars).expect("watermark");
            indicators.watermark(watermark, &mut of_means).expect("watermark");
        }
        window.end_of_epoch(&mut of_bars).expect("an epoch");
        indicators.end_of_epoch(&mut of_means).expect("an epoch");
        apply(&mut self.bars, &of_bars, "start", &BAR);
        apply(&mut self.means, &of_means, "seq", &["price", "sma"]);
    }

    fn save(&mut self, full: bool) {
        self.operators
            .iter_mut()
            .zip(&mut self.stores)
            .for_each(|(operator, store)| save(operator.as_mut(), store, full));
    }

    /// Begins again with what was saved last, when event time had come to `watermark`.
    fn begin_again(&mut self, watermark: i64) {
        self.operators = Self::build(self.subject);
        self.operators.iter_mut().zip(&self.stores).for_each(|(operator, store)| restore(operator.as_mut(), store));
        if watermark > i64::MIN {
            for operator in &mut self.operators {
                let mut out = Output::default();
                operator.watermark(watermark, &mut out).expect("watermark");
                assert!(out.rows.is_empty(), "it was told before");
            }
        }
    }
}

#[track_caller]
fn same(what: &str, found: &Table, expected: &Table) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{what}");
    let close = |one: &Option<f64>, other: &Option<f64>| match (one, other) {
        (Some(one), Some(other)) => (one - other).abs() < 1e-9,
        (one, other) => one == other,
    };
    for (key, values) in found {
        let is_same = values.iter().zip(&expected[key]).all(|(one, other)| close(one, other));
        assert!(is_same, "{what}: {key:?} is {values:?}, not {:?}", expected[key]);
    }
}

#[test]
fn what_comes_out_is_as_if_the_wrong_trades_had_never_been() {
    let subject = Subject::new(CORRECTIONS);
    let mut corrected = 0;
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        let market = market(&mut random);
        let (mut expected_bars, mut expected_means, mut expected_refused) = (Table::new(), Table::new(), 0);
        for (symbol, messages) in SYMBOLS.iter().zip(&market) {
            let (trades, refused) = trades(messages);
            corrected += trades.iter().filter(|trade| trade.corrections > 0).count();
            expected_bars.extend(bars(symbol, &trades));
            expected_means.extend(means(symbol, &trades));
            expected_refused += refused;
        }
        for arrival in 0..3 {
            let messages = shuffled(&mut random, &market);
            let mut chain = Chain::new(&subject);
            let (mut at, mut shown, mut saved) = (0, BTreeMap::new(), None);
            while at < messages.len() {
                let now = &messages[at..(at + random.random_range(1..=30)).min(messages.len())];
                at += now.len();
                for message in now {
                    let latest = shown.entry(message.partition).or_insert(i64::MIN);
                    *latest = message.time.max(*latest);
                }
                let batches: Vec<&[Message]> = now.chunks(random.random_range(1..=now.len())).collect();
                chain.epoch(&batches, watermark(&shown));
                if random.random_bool(0.2) {
                    chain.save(random.random_bool(0.2));
                    saved = Some((at, shown.clone(), chain.refused));
                }
                // What came since then comes again, in other epochs.
                if let Some((before, then, refused)) = saved.as_ref().filter(|_| random.random_bool(0.1)) {
                    (at, shown, chain.refused) = (*before, then.clone(), *refused);
                    chain.begin_again(watermark(&shown));
                }
            }
            chain.epoch(&[], i64::MAX);
            let what = format!("seed {seed}, arrival {arrival}");
            assert_eq!(chain.refused, expected_refused, "{what}: refused");
            same(&format!("{what}, bars"), &chain.bars, &expected_bars);
            same(&format!("{what}, means"), &chain.means, &expected_means);
        }
    }
    assert!(corrected > 500, "{corrected} corrected trades tell little");
}
