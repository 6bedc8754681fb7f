//! An alert gives the same rows however they are cut into batches, and whatever snapshot it goes on from; and they are
//! those that a recomputation row by row finds.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray, new_null_array,
};
use arrow::datatypes::{Float64Type, Int64Type, SchemaRef};

use crate::batch::Rows;
use crate::operators::{BuildContext, Built, Operator, Output};
use crate::sources::{SEQ, TIME};
use crate::spec::{Files, Plan, Role};
use crate::state::Snapshot;

/// An alert with these keys over rows of `symbol`, `time`, `price` (double) and `size` (bigint).
fn alert(keys: &str) -> (Box<dyn Operator>, SchemaRef) {
    let text = format!(
        "version = 1\nname = \"j\"\n[sources.ticks]\ntype = \"file\"\npath = \"ticks.jsonl\"\ntime = \"time\"\n\
         key = \"symbol\"\n\
         schema = {{ symbol = \"text\", time = \"timestamp_ms\", price = \"double\", size = \"bigint\" }}\n\
         [operators.it]\ntype = \"alert\"\ninput = \"ticks\"\n{keys}\n[sinks.out]\ntype = \"discard\"\ninput = \"it\"\n"
    );
    let (plan, ..) = Plan::of("f.toml".as_ref(), &text, &Files::default()).expect("a plan");
    let schema = Arc::clone(&plan.nodes[0].edge.schema);
    let Role::Operator(operator) = &plan.nodes[1].role else { panic!("an operator") };
    let Built::Keyed(operator) = operator.build(&BuildContext::default()).expect("built") else {
        panic!("it has state")
    };
    (operator, schema)
}

#[derive(Clone, Debug)]
struct Tick {
    symbol: String,
    /// In seconds.
    time: i64,
    price: Option<f64>,
    size: i64,
}

/// Some of three symbols, an hour long; some without a price, some late.
fn ticks(seed: u64) -> Vec<Tick> {
    let mut state = seed;
    let mut next = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let tick = |row: i64| Tick {
        symbol: format!("S{}", next(3)),
        time: row * 9 - next(30) as i64,
        price: (next(10) > 0).then(|| 80.0 + next(400) as f64 / 10.0),
        size: next(8) as i64,
    };
    (0..400).map(tick).collect()
}

fn batch(schema: &SchemaRef, first: usize, ticks: &[Tick]) -> Rows {
    let column = |name: &str| -> ArrayRef {
        let times = ticks.iter().map(|tick| tick.time * 1_000_000_000);
        match name {
            "symbol" => Arc::new(StringArray::from_iter_values(ticks.iter().map(|tick| &tick.symbol))),
            "price" => Arc::new(Float64Array::from_iter(ticks.iter().map(|tick| tick.price))),
            "size" => Arc::new(Int64Array::from_iter_values(ticks.iter().map(|tick| tick.size))),
            SEQ => Arc::new(Int64Array::from_iter_values((first..first + ticks.len()).map(|row| row as i64))),
            TIME => Arc::new(TimestampNanosecondArray::from_iter_values(times)),
            other => new_null_array(schema.field_with_name(other).expect("a column").data_type(), ticks.len()),
        }
    };
    let columns = schema.fields().iter().map(|field| column(field.name())).collect();
    Rows { data: RecordBatch::try_new(Arc::clone(schema), columns).expect("rows"), source: 0 }
}

/// What came of some rows, by their numbers: `F` and the message, `R`, or `!` where an expression failed.
type Found = Vec<(i64, String)>;

fn found(out: &Output) -> Found {
    let mut found = Found::new();
    let mut add = |data: &RecordBatch, what: &dyn Fn(usize) -> String| {
        let seqs = data.column_by_name(SEQ).expect("seq").as_primitive::<Int64Type>();
        found.extend(seqs.values().iter().enumerate().map(|(row, seq)| (*seq, what(row))));
    };
    for rows in &out.rows {
        let messages = rows.data.column_by_name("message").expect("a message").as_string::<i32>();
        add(&rows.data, &|row| format!("F {}", messages.value(row)));
    }
    out.further.iter().for_each(|(_, rows)| add(&rows.data, &|_| "R".to_string()));
    out.refused.iter().for_each(|refused| add(&refused.data, &|_| "!".to_string()));
    found.sort();
    found
}

/// What the alert makes of `ticks` in batches of these lengths, over and over. From every fourth on it goes on as
/// another that has read the snapshots.
fn run(keys: &str, ticks: &[Tick], lengths: &[usize], snapshots: bool) -> Found {
    let (mut operator, schema) = alert(keys);
    let (mut out, mut at, mut kept) = (Output::default(), 0, BTreeMap::new());
    for (number, length) in lengths.iter().cycle().enumerate() {
        if at == ticks.len() {
            break;
        }
        let end = (at + length).min(ticks.len());
        operator.rows(batch(&schema, at, &ticks[at..end]), &mut out).expect("rows");
        at = end;
        if snapshots && number % 4 == 3 {
            operator.begin_snapshot(false);
            let draft = operator.snapshot(usize::MAX).expect("a snapshot").expect("whole");
            let snapshot = Snapshot::decode(&draft.encode("alert", 1)).expect("read");
            let entries = snapshot.groups.into_values().flatten();
            kept.extend(entries.map(|entry| (entry.key, entry.value.expect("there"))));
            operator = alert(keys).0;
            kept.iter().for_each(|(key, value)| operator.restore(key, value).expect("a state"));
        }
    }
    found(&out)
}

/// The history of a symbol, and how it stands with an alert.
#[derive(Default)]
struct Naive {
    rows: Vec<Tick>,
    active: bool,
    alerted: Option<i64>,
    last: Option<f64>,
}

/// What `row` tells of a tick and the history before it: whether `when` is true, whether `resolve` is, and the message.
fn naive(
    ticks: &[Tick],
    cooldown: i64,
    repeat: bool,
    row: impl Fn(&Tick, &Naive) -> Option<(bool, bool, String)>,
) -> Found {
    let (mut symbols, mut found) = (BTreeMap::<String, Naive>::new(), Found::new());
    for (seq, tick) in ticks.iter().enumerate() {
        let symbol = symbols.entry(tick.symbol.clone()).or_default();
        let said = row(tick, symbol);
        if said.is_some() && symbol.last.is_none() {
            symbol.last = tick.price;
        }
        match said {
            None => found.push((seq as i64, "!".to_string())),
            Some((_, true, _)) if symbol.active && !repeat => {
                symbol.active = false;
                found.push((seq as i64, "R".to_string()));
            }
            Some((true, _, message))
                if (repeat || !symbol.active)
                    && symbol.alerted.is_none_or(|alerted| tick.time - alerted >= cooldown) =>
            {
                (symbol.active, symbol.alerted, symbol.last) = (true, Some(tick.time), tick.price.or(symbol.last));
                found.push((seq as i64, format!("F {message}")));
            }
            Some(_) => {}
        }
        symbol.rows.push(tick.clone());
    }
    found
}

/// The same however the rows are cut, and as the recomputation finds it.
fn same(keys: &str, ticks: &[Tick], expected: &Found) {
    assert!(expected.len() > 10, "{keys}: {expected:?}");
    for lengths in [&[400][..], &[1], &[7, 1, 50], &[33]] {
        for snapshots in [false, true] {
            let found = run(keys, ticks, lengths, snapshots);
            for (found, expected) in found.iter().zip(expected) {
                assert_eq!(found, expected, "{keys}, {lengths:?}, {snapshots}");
            }
            assert_eq!(found.len(), expected.len(), "{keys}, {lengths:?}, {snapshots}");
        }
    }
}

fn last_price(symbol: &Naive, count: usize) -> Option<f64> {
    let mut prices = symbol.rows.iter().rev().filter_map(|tick| tick.price);
    prices.nth(count - 1)
}

#[test]
fn a_threshold_with_hysteresis_and_cooldown() {
    let ticks = ticks(1);
    let expected = naive(&ticks, 90, false, |tick, _| {
        let price = tick.price.unwrap_or(f64::NAN);
        Some((price > 115.0, price < 90.0, format!("{} at {price}", tick.symbol)))
    });
    let keys =
        "when = \"price > 115\"\nresolve = \"price < 90\"\ncooldown = \"90s\"\nmessage = \"{symbol} at {price}\"";
    same(keys, &ticks, &expected);
}

#[test]
fn an_indicator_of_an_indicator() {
    let ticks = ticks(2);
    let change = |tick: &Tick, symbol: &Naive| Some(tick.price? - last_price(symbol, 1)?);
    let before = |symbol: &Naive| Some(last_price(symbol, 1)? - last_price(symbol, 2)?);
    let expected = naive(&ticks, 0, false, |tick, symbol| {
        // Whether the price now rises and fell before.
        let turns = change(tick, symbol).zip(before(symbol)).is_some_and(|(now, was)| now > 20.0 && was <= 20.0);
        Some((turns, !turns, tick.symbol.clone()))
    });
    let keys = "when = \"crosses_above(price - lag(price, 1), 20)\"\nmessage = \"{symbol}\"";
    same(keys, &ticks, &expected);
}

#[test]
fn so_much_since_the_last_alert() {
    let ticks = ticks(3);
    let expected = naive(&ticks, 20, true, |tick, symbol| {
        let last = symbol.last.or(tick.price);
        let moved = tick.price.zip(last).is_some_and(|(price, last)| (price / last - 1.0).abs() >= 0.15);
        Some((moved, false, format!("from {}", last.map_or("null".to_string(), |last| last.to_string()))))
    });
    let keys = "when = \"abs(price / last_alert(price) - 1) >= 0.15\"\nrepeat = true\ncooldown = \"20s\"\n\
                message = \"from {last_alert(price)}\"";
    same(keys, &ticks, &expected);
}

#[test]
fn rows_on_which_an_expression_fails_are_refused_and_the_others_go_on() {
    let ticks = ticks(4);
    let expected = naive(&ticks, 0, false, |tick, symbol| {
        let last = symbol.last.or(tick.price);
        if tick.size == 3 {
            return None;
        }
        let moved = tick.price.zip(last).is_some_and(|(price, last)| (price / last - 1.0).abs() >= 0.15);
        let when = moved && 10 / (tick.size - 3) != 2;
        Some((when, !when, "it".to_string()))
    });
    let keys = "when = \"10 / (size - 3) <> 2 and abs(price / last_alert(price) - 1) >= 0.15\"\nmessage = \"it\"";
    same(keys, &ticks, &expected);
}

#[test]
fn a_message_that_fails_is_a_refused_row() {
    let (mut operator, schema) = alert("when = \"price > 1\"\nmessage = \"{1 / size}\"\nrepeat = true");
    let tick = |size| Tick { symbol: "A".to_string(), time: 0, price: Some(2.0), size };
    let mut out = Output::default();
    operator.rows(batch(&schema, 0, &[tick(1), tick(0), tick(2)]), &mut out).expect("rows");
    assert_eq!(found(&out), [(0, "F 1".to_string()), (1, "!".to_string()), (2, "F 0".to_string())]);
    assert_eq!(out.refused[0].data.schema(), schema, "as its reader knows it");
    let prices = out.rows[0].data.column_by_name("price").expect("price").as_primitive::<Float64Type>();
    assert_eq!(prices.values()[..], [2.0, 2.0]);
}

#[test]
fn a_key_that_has_not_changed_is_not_told_again() {
    let (mut operator, schema) = alert("when = \"price > 115\"\nresolve = \"price < 90\"");
    let told = |operator: &mut dyn Operator| {
        operator.begin_snapshot(false);
        let draft = operator.snapshot(usize::MAX).expect("a snapshot").expect("whole");
        Snapshot::decode(&draft.encode("alert", 1)).expect("read").groups.into_values().flatten().count()
    };
    let tick = |symbol: &str, price| Tick { symbol: symbol.to_string(), time: 0, price: Some(price), size: 1 };
    let mut rows = |ticks: &[Tick]| operator.rows(batch(&schema, 0, ticks), &mut Output::default()).expect("rows");
    rows(&[tick("A", 120.0), tick("B", 100.0), tick("C", 130.0)]);
    rows(&[tick("B", 101.0)]);
    assert_eq!(told(operator.as_mut()), 2);
    operator.rows(batch(&schema, 0, &[tick("C", 80.0), tick("A", 119.0)]), &mut Output::default()).expect("rows");
    assert_eq!(told(operator.as_mut()), 1);
}
