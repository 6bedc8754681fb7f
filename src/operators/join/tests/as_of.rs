use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampNanosecondType};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::rows::{Row, Subject, Workers};

const LATENESS: i64 = 5;

/// Rows of partitions, in the order of their offsets; some are late.
fn make(rng: &mut StdRng, partitions: u64, count: u64) -> Vec<Vec<Row>> {
    let partition = |partition: u64, rng: &mut StdRng| {
        let mut watermark = i64::MIN;
        let row = |offset: u64, rng: &mut StdRng| {
            let back = if rng.random_range(0..8) == 0 { 30 } else { LATENESS + 1 };
            let time = 100 + offset as i64 * 2 - rng.random_range(0..back);
            let place = watermark.max(time);
            watermark = watermark.max(time - LATENESS);
            let symbol = ["A", "B", "C", "D", "E"][rng.random_range(0..5)];
            let venue = [None, Some("N"), Some("Q")][rng.random_range(0..3)];
            Row { symbol, venue, time, price: rng.random_range(0..1000) as f64, partition, offset, op: "", place }
        };
        let mut row = row;
        (0..count).map(|offset| row(offset, rng)).collect()
    };
    (0..partitions).map(|number| partition(number, rng)).collect()
}

/// How a row is known, and what it was joined with.
type Joined = (String, i64, Option<f64>);

/// What a plain loop finds: of the rows known when the left row came to its place the newest, not behind it.
fn expected(left: &[Row], right: &[Row], tolerance: Option<i64>, outer: bool) -> Vec<Joined> {
    let mut left: Vec<&Row> = left.iter().collect();
    left.sort_by_key(|row| (row.place, row.seq()));
    let find = |row: &Row| {
        let known = right.iter().filter(|other| other.symbol == row.symbol && other.place <= row.place);
        let newest = |rows: &mut dyn Iterator<Item = &Row>| {
            rows.max_by_key(|other| (other.time, other.seq())).map(|other| (other.time, other.price))
        };
        let found = match tolerance {
            Some(_) => newest(&mut known.filter(|other| other.time <= row.time)),
            None => newest(&mut { known }).filter(|(time, _)| *time <= row.time),
        };
        found
            .filter(|(time, _)| tolerance.is_none_or(|tolerance| *time >= row.place - tolerance))
            .map(|(_, price)| price)
    };
    let joined = left.into_iter().map(|row| (row.symbol.to_string(), row.seq(), find(row)));
    joined.filter(|(_, _, found)| outer || found.is_some()).collect()
}

fn read(data: &RecordBatch) -> Vec<(i64, Joined)> {
    let column = |name: &str| data.column_by_name(name).expect(name);
    let (symbols, prices) = (column("symbol").as_string::<i32>(), column("quote").as_primitive::<Float64Type>());
    let seqs = column("seq").as_primitive::<Int64Type>();
    let places = column("_order").as_primitive::<TimestampNanosecondType>();
    let price = |row: usize| prices.is_valid(row).then(|| prices.value(row));
    (0..data.num_rows())
        .map(|row| (places.value(row), (symbols.value(row).to_string(), seqs.value(row), price(row))))
        .collect()
}

/// How far event time has come where so much of each partition was read.
fn passed(partitions: &[Vec<Row>], read: &[usize]) -> i64 {
    let of = |(rows, read): (&Vec<Row>, &usize)| rows[..*read].iter().map(|row| row.time - LATENESS).max();
    partitions.iter().zip(read).map(of).min().flatten().unwrap_or(i64::MIN)
}

fn of_key(mut rows: Vec<Joined>) -> BTreeMap<String, Vec<Joined>> {
    let mut keys: BTreeMap<String, Vec<Joined>> = BTreeMap::new();
    rows.drain(..).for_each(|row| keys.entry(row.0.clone()).or_default().push(row));
    keys
}

/// Reads the partitions of both sides in whatever order, with checkpoints and other numbers of workers in between.
fn run(subject: &Subject, sides: &[Vec<Vec<Row>>; 2], rng: &mut StdRng) -> (Vec<Joined>, u64) {
    let mut workers = Workers::new(subject, rng.random_range(1..4));
    let mut reached: [Vec<usize>; 2] = [0, 1].map(|side: usize| vec![0; sides[side].len()]);
    let mut told = Vec::new();
    loop {
        let mut epoch: [Vec<Row>; 2] = Default::default();
        for (side, partitions) in sides.iter().enumerate() {
            for (number, rows) in partitions.iter().enumerate() {
                let from = reached[side][number];
                let to = (from + rng.random_range(0..12)).min(rows.len());
                epoch[side].extend_from_slice(&rows[from..to]);
                reached[side][number] = to;
            }
        }
        let done = (0..2).all(|side| sides[side].iter().zip(&reached[side]).all(|(rows, read)| rows.len() == *read));
        let time = [0, 1].map(|side: usize| if done { i64::MAX } else { passed(&sides[side], &reached[side]) });
        let mut last = BTreeMap::new();
        for data in workers.epoch([&epoch[0], &epoch[1]], |row| row.symbol, time) {
            for (place, row) in read(&data) {
                let before = last.insert(row.0.clone(), (place, row.1));
                assert!(before < Some((place, row.1)), "rows of a key leave in their order");
                told.push(row);
            }
        }
        if done {
            return (told, workers.late);
        }
        if rng.random_range(0..4) == 0 {
            workers.restart(rng.random_range(0..3) == 0, rng.random_range(1..4));
        }
    }
}

#[test]
fn every_row_gets_the_newest_one_however_they_are_read() {
    let mut rng = StdRng::seed_from_u64(7);
    for (tolerance, outer) in [(None, true), (None, false), (Some(12), true), (Some(3), false), (Some(0), true)] {
        let written = tolerance.map_or(String::new(), |tolerance: i64| format!("tolerance = \"{tolerance}ns\""));
        let subject = Subject::new(&format!(
            "kind = \"as_of\"\non = \"symbol\"\nouter = {outer}\ncolumns = {{ quote = \"price + 0\" }}\n{written}"
        ));
        for _ in 0..20 {
            let sides = [make(&mut rng, 2, 60), make(&mut rng, 3, 60)];
            let (left, right) = (sides[0].concat(), sides[1].concat());
            let expected = of_key(expected(&left, &right, tolerance, outer));
            let late = right.iter().filter(|row| row.time < row.place).count() as u64;
            assert!(late > 0 && expected.values().flatten().any(|row| row.2.is_some()));
            for _ in 0..5 {
                let (told, counted) = run(&subject, &sides, &mut rng);
                assert_eq!(of_key(told), expected);
                assert_eq!(counted, late);
            }
        }
    }
}

fn row(symbol: &'static str, venue: Option<&'static str>, time: i64, price: f64, offset: u64) -> Row {
    Row { symbol, venue, time, price, partition: 0, offset, op: "", place: time }
}

#[test]
fn a_null_is_equal_to_nothing() {
    let subject = Subject::new("kind = \"as_of\"\non = \"venue\"\nprefix = \"q_\"");
    let mut workers = Workers::new(&subject, 1);
    let left = [row("A", None, 5, 1.0, 0), row("B", Some("N"), 5, 2.0, 1), row("C", Some(""), 6, 3.0, 2)];
    let right = [row("X", None, 1, 10.0, 0), row("Y", Some("N"), 5, 20.0, 1)];
    let made = workers.epoch([&left, &right], |_| "", [i64::MAX; 2]);
    let names: Vec<String> =
        made[0].schema().fields()[..subject.output().visible].iter().map(|field| field.name().clone()).collect();
    let expected = ["symbol", "venue", "timestamp", "price", "seq", "q_symbol", "q_timestamp", "q_price"];
    assert_eq!(names, expected);
    let found: Vec<Option<&str>> = made[0].column(5).as_string::<i32>().iter().collect();
    assert_eq!(found, [None, Some("Y"), None]);
    assert!(!subject.output().placed, "rows are grouped by the symbol still");
}

#[test]
fn rows_stay_grouped_by_the_key_that_they_are_joined_on() {
    let edge = Subject::new("kind = \"as_of\"\nprefix = \"q_\"").output().clone();
    assert_eq!((edge.placed, edge.in_order, edge.key), (true, true, vec![0]));
}

#[test]
fn mistakes_are_told() {
    for (join, message) in [
        ("on = \"symbol\"", "a join of two nodes needs `kind`"),
        (
            "left = \"bars\"\nkind = \"as_of\"\nprefix = \"q_\"",
            "`as_of` takes rows with event time that are only appended",
        ),
        ("kind = \"as_of\"", "left rows have columns called `venue`, `timestamp`, `price`, too"),
        ("kind = \"as_of\"\non = \"symbl\"", "there is no column `symbl`; did you mean `symbol`?"),
        (
            "kind = \"as_of\"\non = { left = \"symbol\", right = \"price\" }",
            "`symbol` of the left rows is text, `price` of the right ones double",
        ),
        ("kind = \"as_of\"\non = { left = \"symbol\" }", "`on` is { left = \"symbol\", right = \"ticker\" }"),
        ("kind = \"as_of\"\ncolumns = { price = \"price\" }", "there are columns called `price` already"),
        ("kind = \"as_of\"\ncolumns = {}", "no column of the right rows gets into the left ones"),
        ("kind = \"as_of\"\ncolumns = { b = \"bid\" }", "there is no column `bid`"),
        ("kind = \"as_of\"\nprefix = \"q_\"\ncolumns = { b = \"price\" }", "`prefix` goes without it"),
        ("kind = \"as-of\"", "did you mean `as_of`?"),
    ] {
        let told = Subject::plan(join, "\"symbol\"").err().unwrap_or_else(|| panic!("{join} is planned"));
        assert!(told.contains(message), "{join}: {told}");
    }
}
