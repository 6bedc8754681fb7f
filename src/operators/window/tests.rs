//! Windows of random rows, compared with what a plain loop over all rows finds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
    TimestampNanosecondArray,
};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMillisecondType};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::batch::Rows;
use crate::operators::{BuildContext, Built, Operator, OperatorPlan, Output};
use crate::sources::lanes::Lanes;
use crate::sources::seq::SeqLayout;
use crate::spec::{DELETE, Edge, Files, INSERT, OP, Plan, REPLACE, REVISION, Role};
use crate::state::Snapshot;

const SECOND: i64 = 1_000_000_000;
const START: i64 = 1_700_000_000 * SECOND;

/// The window of a dataflow file.
struct Subject {
    plan: Plan,
    node: usize,
}

impl Subject {
    fn new(window: &str) -> Subject {
        let text = format!(
            r#"
            version = 1
            name = "t"
            [sources.ticks]
            type = "kafka"
            brokers = "b:1"
            topic = "t"
            schema = {{ symbol = "text", timestamp = "timestamp_ms", price = "double", volume = "bigint" }}
            time = "timestamp"
            key = "symbol"
            [operators.bars]
            type = "window"
            input = "ticks"
            {window}
            [operators.bars.columns]
            open = "first(price)"
            high = "max(price)"
            low = "min(price)"
            close = "last(price)"
            volume = "sum(volume)"
            n = "count(*)"
            different = "count(distinct volume)"
            middle = "median(price)"
            best = "arg_max(volume, price)"
            mean = "sum(price * volume) / sum(volume)"
            [sinks.out]
            type = "discard"
            input = "bars"
            "#
        );
        let (plan, ..) = Plan::of(Path::new("t.toml"), &text, &Files::default()).expect("a plan");
        let node = plan.position("bars").expect("the window");
        Subject { plan, node }
    }

    fn build(&self) -> Box<dyn Operator> {
        let Role::Operator(operator) = &self.plan.nodes[self.node].role else { panic!("an operator") };
        let operator: &Arc<dyn OperatorPlan> = operator;
        let context = BuildContext { node: self.node as u16, lanes: Arc::new(Lanes::of(&self.plan)) };
        match operator.build(&context).expect("built") {
            Built::Keyed(operator) => operator,
            Built::Stateless(_) | Built::Staged(_) => panic!("a window is one operator with state"),
        }
    }

    fn input(&self) -> &Edge {
        &self.plan.nodes[0].edge
    }

    fn output(&self) -> &Edge {
        &self.plan.nodes[self.node].edge
    }
}

/// A row of the input.
#[derive(Clone, Debug)]
struct Tick {
    symbol: &'static str,
    time: i64,
    price: f64,
    volume: i64,
    partition: u64,
    offset: u64,
    /// How far event time had come in its partition.
    place: i64,
}

fn batch(edge: &Edge, ticks: &[Tick]) -> Rows {
    let seq = |tick: &Tick| SeqLayout::topic(false).seq(tick.partition, tick.offset, 0).expect("it fits");
    let columns: Vec<ArrayRef> = edge
        .schema
        .fields()
        .iter()
        .map(|field| -> ArrayRef {
            match field.name().as_str() {
                "symbol" => Arc::new(StringArray::from_iter_values(ticks.iter().map(|tick| tick.symbol))),
                "timestamp" => {
                    let ms = ticks.iter().map(|tick| tick.time / 1_000_000);
                    Arc::new(TimestampMillisecondArray::from_iter_values(ms))
                }
                "price" => Arc::new(Float64Array::from_iter_values(ticks.iter().map(|tick| tick.price))),
                "volume" => Arc::new(Int64Array::from_iter_values(ticks.iter().map(|tick| tick.volume))),
                "seq" => Arc::new(Int64Array::from_iter_values(ticks.iter().map(seq))),
                "_time" => Arc::new(TimestampNanosecondArray::from_iter_values(ticks.iter().map(|tick| tick.time))),
                "_order" => Arc::new(TimestampNanosecondArray::from_iter_values(ticks.iter().map(|tick| tick.place))),
                other => panic!("a column `{other}`"),
            }
        })
        .collect();
    Rows { data: RecordBatch::try_new(Arc::clone(&edge.schema), columns).expect("rows"), source: 0 }
}

/// What a window came to.
#[derive(Clone, Debug, PartialEq)]
struct Bar {
    end: i64,
    floats: Vec<Option<f64>>,
    integers: Vec<Option<i64>>,
}

const FLOATS: [&str; 6] = ["open", "high", "low", "close", "middle", "mean"];
const INTEGERS: [&str; 4] = ["volume", "n", "different", "best"];

type Table = BTreeMap<(String, i64), Bar>;

/// Applies rows to a table; what they say they do must fit what is there.
fn apply(edge: &Edge, rows: &[Rows], table: &mut Table, revisions: &mut BTreeMap<(String, i64), i64>) {
    for Rows { data, .. } in rows {
        let column = |name: &str| data.column(edge.position(name).expect(name));
        let (symbols, starts) = (column("symbol").as_string::<i32>(), column("start"));
        let starts = starts.as_primitive::<TimestampMillisecondType>();
        let ends = column("end").as_primitive::<TimestampMillisecondType>();
        for row in 0..data.num_rows() {
            let key = (symbols.value(row).to_string(), starts.value(row) * 1_000_000);
            let float = |name: &&str| column(name).as_primitive::<Float64Type>().iter().nth(row).flatten();
            let integer = |name: &&str| column(name).as_primitive::<Int64Type>().iter().nth(row).flatten();
            let bar = Bar {
                end: ends.value(row) * 1_000_000,
                floats: FLOATS.iter().map(float).collect(),
                integers: INTEGERS.iter().map(integer).collect(),
            };
            let op = edge.position(OP).map_or(INSERT, |at| match data.column(at).as_string::<i32>().value(row) {
                "insert" => INSERT,
                "replace" => REPLACE,
                _ => DELETE,
            });
            if let Some(at) = edge.position(REVISION) {
                let revision = data.column(at).as_primitive::<Int64Type>().value(row);
                assert!(revisions.insert(key.clone(), revision).is_none_or(|last| last <= revision), "{key:?}");
            }
            let was = if op == DELETE { table.remove(&key) } else { table.insert(key.clone(), bar) };
            assert_eq!(was.is_some(), op != INSERT, "{op} of {key:?}");
        }
    }
}

/// Runs `epochs` through the window, in batches, with what had passed of event time behind each; at some of them
/// everything is put into a snapshot and goes on in an operator that was built anew.
fn run(subject: &Subject, epochs: &[(Vec<Tick>, i64)], rng: &mut StdRng) -> (Table, Vec<Tick>) {
    let (mut operator, mut table, mut revisions) = (subject.build(), Table::new(), BTreeMap::new());
    let (mut late, mut passed) = (Vec::new(), i64::MIN);
    let mut kept: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (number, (ticks, watermark)) in epochs.iter().enumerate() {
        let mut out = Output::default();
        let middle = rng.random_range(0..=ticks.len());
        for part in [&ticks[..middle], &ticks[middle..]].into_iter().filter(|part| !part.is_empty()) {
            operator.rows(batch(subject.input(), part), &mut out).expect("rows");
        }
        if *watermark > passed {
            passed = *watermark;
            operator.watermark(passed, &mut out).expect("a watermark");
        }
        operator.end_of_epoch(&mut out).expect("the end of an epoch");
        assert!(out.refused.is_empty(), "{:?}", out.refused);
        apply(subject.output(), &out.rows, &mut table, &mut revisions);
        for (_, Rows { data, .. }) in &out.further {
            let seq = data.column(data.schema().index_of("seq").expect("seq")).as_primitive::<Int64Type>().clone();
            let layout = SeqLayout::topic(false);
            let all = epochs.iter().flat_map(|(ticks, _)| ticks);
            let find = |seq: i64| all.clone().find(|tick| layout.seq(tick.partition, tick.offset, 0) == Some(seq));
            late.extend(seq.values().iter().map(|seq| find(*seq).expect("a row").clone()));
        }
        if rng.random_ratio(1, 4) {
            operator.begin_snapshot(rng.random());
            // The next epoch comes meanwhile, and is not part of it; it comes once more behind the restart.
            if let Some((ticks, watermark)) = epochs.get(number + 1) {
                let mut lost = Output::default();
                if !ticks.is_empty() {
                    operator.rows(batch(subject.input(), ticks), &mut lost).expect("rows");
                }
                operator.watermark(passed.max(*watermark), &mut lost).expect("a watermark");
                operator.end_of_epoch(&mut lost).expect("the end of an epoch");
            }
            let draft = loop {
                if let Some(draft) = operator.snapshot(1).expect("state") {
                    break draft;
                }
            };
            let snapshot = Snapshot::decode(&draft.encode("window", 1)).expect("read");
            for entry in snapshot.groups.into_values().flatten() {
                match entry.value {
                    Some(value) => kept.insert(entry.key, value),
                    None => kept.remove(&entry.key),
                };
            }
            operator = subject.build();
            kept.iter().for_each(|(key, value)| operator.restore(key, value).expect("a state"));
            // Sources tell of their watermarks again.
            if passed > i64::MIN {
                operator.watermark(passed, &mut Output::default()).expect("a watermark");
            }
        }
    }
    (table, late)
}

/// Random trades of three partitions, some of them late; in epochs, with the least watermark behind each.
fn trades(rng: &mut StdRng, count: usize, lateness: i64) -> Vec<(Vec<Tick>, i64)> {
    let mut shown = [i64::MIN; 3];
    let (mut now, mut epochs, mut offset) = (START, Vec::new(), [0; 3]);
    let mut left = count;
    while left > 0 {
        let mut ticks = Vec::new();
        for _ in 0..rng.random_range(0..12).min(left) {
            left -= 1;
            now += if rng.random_ratio(1, 30) { rng.random_range(0..90 * SECOND) } else { rng.random_range(0..SECOND) };
            let partition = rng.random_range(0..3usize);
            let behind = if rng.random_ratio(1, 8) {
                rng.random_range(0..120 * SECOND)
            } else {
                rng.random_range(0..5 * SECOND)
            };
            let time = (now - behind) / 1_000_000 * 1_000_000;
            ticks.push(Tick {
                symbol: ["A", "B", "C"][partition],
                time,
                price: f64::from(rng.random_range(90..110)) / 4.0,
                volume: rng.random_range(1..5),
                partition: partition as u64,
                offset: offset[partition],
                place: time.max(shown[partition]),
            });
            offset[partition] += 1;
            shown[partition] = shown[partition].max(time - lateness);
        }
        epochs.push((ticks, shown.into_iter().min().expect("partitions")));
    }
    // The end of all, as the driver tells of it.
    epochs.push((Vec::new(), shown.into_iter().max().expect("partitions")));
    epochs.push((Vec::new(), i64::MAX));
    epochs
}

/// The bar of these trades: `[start, end)`.
fn bar(ticks: &[&Tick], end: i64) -> Bar {
    let mut by_place: Vec<&&Tick> = ticks.iter().collect();
    by_place.sort_by_key(|tick| (tick.time, tick.partition, tick.offset));
    let mut prices: Vec<f64> = ticks.iter().map(|tick| tick.price).collect();
    prices.sort_by(f64::total_cmp);
    let (low, high) = (prices[0], prices[prices.len() - 1]);
    let middle = (prices[(prices.len() - 1) / 2] + prices[prices.len() / 2]) / 2.0;
    let volume: i64 = ticks.iter().map(|tick| tick.volume).sum();
    let traded: f64 = ticks.iter().map(|tick| tick.price * tick.volume as f64).sum();
    let best = by_place.iter().find(|tick| tick.price == high).expect("the highest").volume;
    let volumes: BTreeSet<i64> = ticks.iter().map(|tick| tick.volume).collect();
    let (open, close) = (by_place[0].price, by_place[by_place.len() - 1].price);
    Bar {
        end,
        floats: [open, high, low, close, middle, traded / volume as f64].map(Some).to_vec(),
        integers: [volume, ticks.len() as i64, volumes.len() as i64, best].map(Some).to_vec(),
    }
}

/// All windows of `size` every `slide` over the trades that came within `reach` behind their end; and the other trades.
fn expected(epochs: &[(Vec<Tick>, i64)], size: i64, slide: i64, reach: i64) -> (Table, usize) {
    let mut rows: BTreeMap<(String, i64), Vec<&Tick>> = BTreeMap::new();
    let mut late = 0;
    for tick in epochs.iter().flat_map(|(ticks, _)| ticks) {
        let first = (tick.time - size).div_euclid(slide) * slide;
        let starts = (0..).map(|i| first + i * slide).take_while(|start| *start <= tick.time);
        let in_time = |start: &i64| tick.time < start + size && start + size + reach > tick.place;
        let starts: Vec<i64> = starts.filter(in_time).collect();
        late += usize::from(starts.is_empty());
        for start in starts {
            rows.entry((tick.symbol.to_string(), start)).or_default().push(tick);
        }
    }
    (rows.into_iter().map(|((symbol, start), ticks)| ((symbol, start), bar(&ticks, start + size))).collect(), late)
}

fn assert_same(table: &Table, expected: &Table) {
    let close = |one: &Option<f64>, other: &Option<f64>| match (one, other) {
        (Some(one), Some(other)) => (one - other).abs() <= 1e-9 * one.abs().max(other.abs()),
        (one, other) => one == other,
    };
    for (key, wanted) in expected {
        let found = table.get(key).unwrap_or_else(|| panic!("no {key:?}, which is {wanted:?}"));
        assert_eq!((found.end, &found.integers), (wanted.end, &wanted.integers), "{key:?}");
        assert!(
            found.floats.iter().zip(&wanted.floats).all(|(one, other)| close(one, other)),
            "{key:?}: {found:?} {wanted:?}"
        );
    }
    let more: Vec<_> = table.iter().filter(|(key, _)| !expected.contains_key(*key)).collect();
    assert!(more.is_empty(), "not expected: {more:?}");
}

#[test]
fn windows_hold_what_came_in_time_whatever_the_order() {
    for (window, size, slide) in [
        ("tumbling = \"10s\"", 10 * SECOND, 10 * SECOND),
        ("hopping = { size = \"25s\", slide = \"10s\" }", 25 * SECOND, 10 * SECOND),
    ] {
        for seed in 0..20 {
            let mut rng = StdRng::seed_from_u64(seed);
            let epochs = trades(&mut rng, 400, 4 * SECOND);
            let subject = Subject::new(&format!("{window}\nlate = \"side_output\""));
            let (table, late) = run(&subject, &epochs, &mut rng);
            let (expected, expected_late) = expected(&epochs, size, slide, 0);
            assert_same(&table, &expected);
            assert_eq!(late.len(), expected_late, "seed {seed}");
            assert!(seed > 0 || expected_late > 0);
        }
    }
}

#[test]
fn late_rows_revise_as_far_back_as_they_may() {
    for emit in ["final", "updates"] {
        for seed in 0..20 {
            let mut rng = StdRng::seed_from_u64(100 + seed);
            let epochs = trades(&mut rng, 400, 2 * SECOND);
            let window = format!("tumbling = \"10s\"\nlate = \"revise\"\nrevise_for = \"40s\"\nemit = \"{emit}\"");
            let (table, _) = run(&Subject::new(&window), &epochs, &mut rng);
            assert_same(&table, &expected(&epochs, 10 * SECOND, 10 * SECOND, 40 * SECOND).0);
        }
    }
}

#[test]
fn rows_less_than_a_gap_apart_make_a_session() {
    let gap = 6 * SECOND;
    for seed in 0..20 {
        let mut rng = StdRng::seed_from_u64(200 + seed);
        // Nothing is late.
        let epochs = trades(&mut rng, 300, 1000 * SECOND);
        let (table, _) = run(&Subject::new("session = \"6s\""), &epochs, &mut rng);
        let mut expected = Table::new();
        for symbol in ["A", "B", "C"] {
            let mut ticks: Vec<&Tick> =
                epochs.iter().flat_map(|(ticks, _)| ticks).filter(|t| t.symbol == symbol).collect();
            ticks.sort_by_key(|tick| tick.time);
            for session in ticks.chunk_by(|one, next| next.time < one.time + gap) {
                let (first, last) = (session[0].time, session[session.len() - 1].time);
                expected.insert((symbol.to_string(), first), bar(session, last + gap));
            }
        }
        assert_same(&table, &expected);
    }
}

#[test]
fn an_empty_interval_goes_on_with_the_last_values() {
    for revises in [false, true] {
        let window = "tumbling = \"10s\"\nempty = \"carry\"\nfill_for = \"1m\"";
        let window =
            if revises { format!("{window}\nlate = \"revise\"\nrevise_for = \"10m\"") } else { window.to_string() };
        for seed in 0..20 {
            let mut rng = StdRng::seed_from_u64(300 + seed);
            let epochs = trades(&mut rng, 200, 1000 * SECOND * i64::from(!revises) + SECOND);
            let (table, _) = run(&Subject::new(&window), &epochs, &mut rng);
            let reach = if revises { 600 * SECOND } else { 0 };
            let (bars, _) = expected(&epochs, 10 * SECOND, 10 * SECOND, reach);
            let mut filled = Table::new();
            for ((symbol, start), bar) in &bars {
                filled.insert((symbol.clone(), *start), bar.clone());
                let next = bars.range((symbol.clone(), start + 1)..).next().filter(|((other, _), _)| other == symbol);
                let passed = epochs[epochs.len() - 2].1;
                // Behind the last bar of a key as far as event time has come; and nowhere for more than a minute.
                let until = next.map_or(passed.saturating_sub(10 * SECOND - 1), |((_, start), _)| *start);
                let until = until.min(start + 70 * SECOND);
                let (close, mut at) = (bar.floats[3], start + 10 * SECOND);
                while at < until {
                    let empty = Bar {
                        end: at + 10 * SECOND,
                        floats: vec![close, close, close, close, close, None],
                        integers: vec![Some(0), Some(0), Some(0), None],
                    };
                    filled.insert((symbol.clone(), at), empty);
                    at += 10 * SECOND;
                }
            }
            // `best` goes on with the last volume.
            let mut table = table;
            table.values_mut().filter(|bar| bar.integers[1] == Some(0)).for_each(|bar| bar.integers[3] = None);
            assert_same(&table, &filled);
        }
    }
}
