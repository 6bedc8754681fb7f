//! Keys that are forgotten, compared with a plain loop, however rows are cut, come, and are put back.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, TimestampMillisecondType};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::operators::testing::{Tick, mistakes, plan, run, ticks};

const MS: i64 = 1_000_000;
const EXPIRE: i64 = 200 * MS;

/// Symbol, event time in ms and, in millionths, the mean of three volumes.
type Row = (String, i64, Option<i64>);

/// What is told of each row: what has had no row for [`EXPIRE`] begins anew.
fn means(ticks: &[Tick]) -> (Vec<Row>, usize) {
    let mut all: BTreeMap<&str, (Vec<f64>, i64)> = BTreeMap::new();
    let (mut rows, mut back) = (Vec::new(), 0);
    for tick in ticks {
        let (volumes, heard) = all.entry(&tick.symbol).or_insert((Vec::new(), i64::MIN));
        if *heard > i64::MIN && *heard + EXPIRE <= tick.place {
            volumes.clear();
            back += 1;
        }
        *heard = tick.place.max(*heard);
        volumes.push(tick.volume as f64);
        let mean = volumes.last_chunk::<3>().map(|last| last.iter().sum::<f64>() / 3.0);
        rows.push((tick.symbol.clone(), tick.time / MS, mean.map(millionths)));
    }
    rows.sort();
    (rows, back)
}

fn millionths(value: f64) -> i64 {
    (value * 1e6).round() as i64
}

#[test]
fn keys_without_rows_are_forgotten_and_begin_anew() {
    let flow = "[operators.it]\ntype = \"indicators\"\ninput = \"ticks\"\nemit = \"all\"\nexpire = \"200ms\"\n\
                columns = { mean = \"sma(volume, 3)\" }\n";
    assert!(!plan(flow).nodes.is_empty());
    let mut all_back = 0;
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let ticks = ticks(&mut rng, 600);
        let mut told = Vec::new();
        run(flow, &ticks, &mut rng, |rows, _, _| {
            for data in rows.iter().map(|rows| &rows.data) {
                let column = |name: &str| data.column_by_name(name).expect("a column");
                let symbols = column("symbol").as_string::<i32>();
                let times = column("timestamp").as_primitive::<TimestampMillisecondType>();
                let means = column("mean").as_primitive::<Float64Type>();
                told.extend((0..data.num_rows()).map(|row| {
                    let mean = means.is_valid(row).then(|| millionths(means.value(row)));
                    (symbols.value(row).to_string(), times.value(row), mean)
                }));
            }
        });
        told.sort();
        let (expected, back) = means(&ticks);
        assert_eq!(told, expected, "seed {seed}");
        all_back += back;
    }
    assert!(all_back > 100, "keys came back {all_back} times");
}

#[test]
fn rows_that_may_be_revised_are_not_forgotten() {
    let bars = "[operators.bars]\ntype = \"window\"\ninput = \"ticks\"\ntumbling = \"100ms\"\nlate = \"revise\"\n\
                revise_for = \"1s\"\ncolumns = { close = \"last(price)\" }\n[operators.it]\ntype = \"indicators\"\n\
                input = \"bars\"\nexpire = \"1s\"\ncolumns = { mean = \"sma(close, 3)\" }\n";
    assert!(mistakes(bars).contains("`expire` goes with rows that are only appended"));
}
