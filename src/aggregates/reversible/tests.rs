//! Rows that come and go in any order, compared with what a plain loop makes of those that are left.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::aggregates::{Accumulator, Entries, Place, Rows, find};

const SCALE: i8 = 4;

#[derive(Clone, Copy, Debug)]
struct Tick {
    time: i64,
    at: i64,
    price: f64,
    volume: i64,
}

/// A call and what it comes to, of rows in the order of their places.
type Case = (&'static str, &'static [f64], fn(&[Tick]) -> Option<f64>);

const CASES: &[Case] = &[
    ("count", &[], |rows| Some(rows.len() as f64)),
    ("sum", &[], |rows| (!rows.is_empty()).then(|| rows.iter().map(|row| row.price).sum())),
    ("mean", &[], mean),
    ("variance", &[], |rows| spread(rows, 1)),
    ("var_pop", &[], |rows| spread(rows, 0)),
    ("stddev", &[], |rows| spread(rows, 1).map(f64::sqrt)),
    ("stddev_pop", &[], |rows| spread(rows, 0).map(f64::sqrt)),
    ("min", &[], |rows| rows.iter().map(|row| row.price).min_by(f64::total_cmp)),
    ("max", &[], |rows| rows.iter().map(|row| row.price).max_by(f64::total_cmp)),
    ("count_distinct", &[], |rows| {
        Some(rows.iter().map(|row| row.price.to_bits()).collect::<BTreeSet<_>>().len() as f64)
    }),
    ("median", &[], |rows| quantile(rows, 0.5)),
    ("quantile", &[0.9], |rows| quantile(rows, 0.9)),
    ("first", &[], |rows| rows.first().map(|row| row.price)),
    ("last", &[], |rows| rows.last().map(|row| row.price)),
    ("arg_min", &[], |rows| best(rows, Ordering::Less)),
    ("arg_max", &[], |rows| best(rows, Ordering::Greater)),
];

fn mean(rows: &[Tick]) -> Option<f64> {
    (!rows.is_empty()).then(|| rows.iter().map(|row| row.price).sum::<f64>() / rows.len() as f64)
}

fn spread(rows: &[Tick], less: usize) -> Option<f64> {
    let mean = mean(rows)?;
    let divisor = rows.len().checked_sub(less).filter(|divisor| *divisor > 0)?;
    Some(rows.iter().map(|row| (row.price - mean).powi(2)).sum::<f64>() / divisor as f64)
}

fn quantile(rows: &[Tick], q: f64) -> Option<f64> {
    let mut prices: Vec<f64> = rows.iter().map(|row| row.price).collect();
    prices.sort_by(f64::total_cmp);
    let at = q * prices.len().checked_sub(1)? as f64;
    let (low, high) = (prices[at.floor() as usize], prices[at.ceil() as usize]);
    Some(low + (high - low) * at.fract())
}

/// The volume of the first row with the best price.
fn best(rows: &[Tick], better: Ordering) -> Option<f64> {
    let mut best = rows.first()?;
    for row in rows {
        if row.price.total_cmp(&best.price) == better {
            best = row;
        }
    }
    Some(best.volume as f64)
}

/// The arguments of a call.
fn arguments(name: &str, kinds: &[DataType], ticks: &[Tick]) -> Vec<ArrayRef> {
    let prices: ArrayRef = Arc::new(Float64Array::from_iter_values(ticks.iter().map(|tick| tick.price)));
    let volumes: ArrayRef = Arc::new(Int64Array::from_iter_values(ticks.iter().map(|tick| tick.volume)));
    let given = if name.starts_with("arg") { vec![volumes, prices] } else { vec![prices] };
    given.iter().zip(kinds).map(|(column, kind)| cast(column, kind).expect("a cast")).collect()
}

/// Takes the ticks, or takes them back, into one group.
fn take(accumulator: &mut dyn Accumulator, arguments: &[ArrayRef], ticks: &[Tick], back: bool) {
    let rows: Vec<u32> = (0..ticks.len() as u32).collect();
    let (slots, places) = (vec![1; ticks.len()], places(ticks));
    let entries = Entries { rows: &rows, slots: &slots, places: &places };
    if back { accumulator.take_back(entries, arguments) } else { accumulator.update(entries, arguments) }
}

fn places(ticks: &[Tick]) -> Vec<Place> {
    ticks.iter().map(|tick| Place { time: tick.time, source: 0, at: tick.at }).collect()
}

fn result(accumulator: &dyn Accumulator) -> Option<f64> {
    let result = accumulator.results(&[1]).expect("it fits");
    let floats = cast(&result, &DataType::Float64).expect("a number");
    let floats = floats.as_primitive::<arrow::datatypes::Float64Type>();
    (!floats.is_null(0)).then(|| floats.value(0))
}

fn ticks(random: &mut StdRng, count: i64) -> Vec<Tick> {
    let tick = |at| Tick {
        time: random.random_range(0..count / 3),
        at,
        price: f64::from(random.random_range(-300..300)) / 4.0,
        volume: random.random_range(1..100),
    };
    (0..count).map(tick).collect()
}

fn check(case: &Case, seed: u64) {
    let (name, numbers, expected) = case;
    let mut random = StdRng::seed_from_u64(seed);
    let kinds: &[DataType] =
        if name.starts_with("arg") { &[DataType::Int64, DataType::Float64] } else { &[DataType::Float64] };
    let planned = find(name).expect("it is there").plan_for(Rows::ComeAndGo(SCALE), kinds, numbers).expect("planned");
    let mut accumulator = (planned.build)();
    assert!(accumulator.is_reversible(), "{name}");
    accumulator.clear(1);
    let all = ticks(&mut random, 60);
    let is_gone: Vec<bool> = all.iter().map(|_| random.random_bool(0.5)).collect();
    // Nothing before it goes after the first part.
    let settled = 8;
    let (mut early, mut later) = (Vec::new(), Vec::new());
    for at in 0..all.len() {
        let steps = if all[at].time < settled { &mut early } else { &mut later };
        steps.push((at, false));
        steps.extend(is_gone[at].then_some((at, true)));
    }
    for (steps, end) in [(early, settled), (later, i64::MAX)] {
        let mut steps = steps;
        steps.shuffle(&mut random);
        for (at, back) in steps {
            let tick = &all[at..=at];
            take(accumulator.as_mut(), &arguments(name, &planned.arguments, tick), tick, back);
        }
        let mut left: Vec<Tick> =
            all.iter().zip(&is_gone).filter(|(tick, gone)| !**gone && tick.time < end).map(|(tick, _)| *tick).collect();
        left.sort_by_key(|tick| (tick.time, tick.at));
        accumulator.settle(1, settled);
        let mut bytes = Vec::new();
        accumulator.write(1, &mut bytes);
        accumulator = (planned.build)();
        assert!(accumulator.read(1, &bytes).expect("read").is_empty());
        match (result(accumulator.as_ref()), expected(&left)) {
            (Some(found), Some(expected)) if (found - expected).abs() <= 1e-9 * expected.abs().max(1.0) => {}
            (None, None) => {}
            (found, expected) => panic!("{name}, seed {seed}: {found:?}, and not {expected:?}"),
        }
    }
}

#[test]
fn what_is_left_counts_in_whatever_order_rows_come_and_go() {
    for case in CASES {
        (0..40).for_each(|seed| check(case, seed));
    }
}

#[test]
fn nothing_is_left_of_what_was_taken_back() {
    let mut random = StdRng::seed_from_u64(7);
    let ticks: Vec<Tick> =
        ticks(&mut random, 40).into_iter().map(|tick| Tick { price: tick.price * 1e7, ..tick }).collect();
    let planned =
        find("variance").expect("there").plan_for(Rows::ComeAndGo(12), &[DataType::Float64], &[]).expect("planned");
    let mut accumulator = (planned.build)();
    accumulator.clear(1);
    let exact = Tick { price: 0.25, ..ticks[0] };
    let kept = [exact, Tick { price: 0.75, ..exact }];
    for (ticks, back) in [(&ticks[..], false), (&kept[..], false), (&ticks[..], true)] {
        take(accumulator.as_mut(), &arguments("variance", &planned.arguments, ticks), ticks, back);
    }
    assert_eq!(result(accumulator.as_ref()), Some(0.125), "to the last bit");
}

#[test]
fn a_sum_that_fits_no_decimal_is_said_to_be_too_great() {
    let kind = DataType::Decimal128(38, 0);
    let planned =
        find("sum").expect("there").plan_for(Rows::ComeAndGo(0), std::slice::from_ref(&kind), &[]).expect("planned");
    let mut accumulator = (planned.build)();
    accumulator.clear(1);
    let greatest = Decimal128Array::from(vec![10_i128.pow(38) - 1]).with_data_type(kind);
    let (column, tick): (Vec<ArrayRef>, _) = (vec![Arc::new(greatest)], ticks(&mut StdRng::seed_from_u64(1), 3));
    take(accumulator.as_mut(), &column, &tick[..1], false);
    take(accumulator.as_mut(), &column, &tick[..1], false);
    assert!(accumulator.results(&[1]).is_err());
    take(accumulator.as_mut(), &column, &tick[..1], true);
    assert!(accumulator.results(&[1]).is_ok(), "and it fits again when half of it is gone");
}
