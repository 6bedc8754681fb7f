use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::rows::{Row, Subject, Workers};
use crate::formats::plain_texts;
use crate::operators::{LEFT, RIGHT};
use crate::spec::{DELETE, EdgeKind, INSERT, REPLACE};

/// The visible columns of a row.
type Texts = Vec<String>;

/// A table that rows insert into and delete from, by what they are known by.
#[derive(Default)]
struct Table(BTreeMap<Texts, Texts>);

impl Table {
    /// Takes changes: a delete says what the row was, and nothing is replaced.
    fn take(&mut self, subject: &Subject, data: &arrow::array::RecordBatch) {
        let edge = subject.output();
        let columns: Vec<Texts> = data.columns().iter().map(|column| plain_texts(column).expect("texts")).collect();
        let op = edge.position("__op").expect("changes");
        for (row, change) in columns[op].iter().enumerate() {
            let of =
                |columns_of: &mut dyn Iterator<Item = usize>| columns_of.map(|at| columns[at][row].clone()).collect();
            let key: Texts = of(&mut edge.row_key.iter().copied());
            let value: Texts = of(&mut (0..edge.visible).filter(|at| *at != op));
            match change.as_str() {
                DELETE => assert_eq!(self.0.remove(&key), Some(value), "what is deleted was there"),
                INSERT => {
                    assert_eq!(self.0.insert(key.clone(), value.clone()), None, "{key:?} {value:?} was not there")
                }
                other => panic!("{other}"),
            }
        }
    }

    fn rows(&self) -> Vec<Texts> {
        let mut rows: Vec<Texts> = self.0.values().cloned().collect();
        rows.sort();
        rows
    }
}

/// What one side holds, by what its rows are known by.
type Held = BTreeMap<(String, String), Row>;

fn joined(left: &Held, right: &Held, on: fn(&Row) -> Option<&str>, outer: bool, show: fn(&Row) -> Texts) -> Vec<Texts> {
    let mut rows = Vec::new();
    for row in left.values() {
        let partners: Vec<&Row> = right.values().filter(|other| on(row).is_some() && on(row) == on(other)).collect();
        for partner in &partners {
            let venue = partner.venue.unwrap_or("null").to_string();
            rows.push([show(row), vec![venue, partner.price.to_string()]].concat());
        }
        if partners.is_empty() && outer {
            rows.push([show(row), vec!["null".to_string(); 2]].concat());
        }
    }
    rows.sort();
    rows
}

fn make(rng: &mut StdRng, offset: u64, op: &'static str) -> Row {
    let symbol = ["A", "B", "C"][rng.random_range(0..3)];
    let venue = [None, Some("N"), Some("Q"), Some("")][rng.random_range(0..4)];
    let time = 1_700_000_000_000_000_000 + rng.random_range(0..20) * 1_000_000;
    Row { symbol, venue, time, price: rng.random_range(0..4) as f64, partition: 0, offset, op, place: time }
}

fn venue(row: &Row) -> String {
    row.venue.unwrap_or("null").to_string()
}

/// The newest row counts, whatever came last.
fn put(held: &mut Held, row: &Row) {
    let id = (row.symbol.to_string(), venue(row));
    if held.get(&id).is_none_or(|other| (other.time, other.seq()) <= (row.time, row.seq())) {
        held.insert(id, row.clone());
    }
}

/// Feeds random epochs, with restarts between some, and compares what comes out with `joined`.
fn hold_against(subject: &Subject, on: fn(&Row) -> Option<&str>, outer: bool, changes: bool, rng: &mut StdRng) {
    let mut workers = Workers::new(subject, 2);
    let (mut held, mut table): ([Held; 2], Table) = Default::default();
    let show = |row: &Row| {
        let price = row.price.to_string();
        vec![row.symbol.to_string(), venue(row), plain_time(row.time), price]
    };
    let show_bar = |row: &Row| {
        let time = plain_time(row.time);
        vec![row.symbol.to_string(), venue(row), time.clone(), time, row.price.to_string()]
    };
    for epoch in 0..60u64 {
        let mut sides: [Vec<Row>; 2] = Default::default();
        for side in [LEFT, RIGHT] {
            for n in 0..rng.random_range(0..6) {
                let row = make(rng, epoch * 10 + n, INSERT);
                if side == LEFT && changes {
                    let row = change(&mut held[side], row, rng);
                    sides[side].push(row);
                } else {
                    put(&mut held[side], &row);
                    sides[side].push(row);
                }
            }
        }
        let time = if epoch == 59 { i64::MAX } else { i64::MIN + 1 + epoch as i64 };
        let made = workers.epoch([&sides[LEFT], &sides[RIGHT]], |row| on(row).unwrap_or(""), [time; 2]);
        for data in &made {
            table.take(subject, data);
        }
        let show: fn(&Row) -> Texts = if changes { show_bar } else { show };
        assert_eq!(table.rows(), joined(&held[LEFT], &held[RIGHT], on, outer, show), "epoch {epoch}");
        if rng.random_range(0..5) == 0 {
            workers.restart(rng.random_range(0..3) == 0, rng.random_range(1..4));
        }
    }
}

fn plain_time(time: i64) -> String {
    let column: arrow::array::ArrayRef =
        std::sync::Arc::new(arrow::array::TimestampMillisecondArray::from(vec![time / 1_000_000]));
    plain_texts(&column).expect("texts").remove(0)
}

/// What becomes of a bar: it is there, it is another one, or it is gone.
fn change(held: &mut Held, row: Row, rng: &mut StdRng) -> Row {
    let id = (format!("{} {:?}", row.symbol, row.venue), row.time.to_string());
    match held.remove(&id) {
        Some(gone) if rng.random_range(0..2) == 0 => Row { op: DELETE, offset: row.offset, ..gone },
        before => {
            let row = Row { op: if before.is_some() { REPLACE } else { INSERT }, ..row };
            held.insert(id, row.clone());
            row
        }
    }
}

#[test]
fn the_table_is_the_join_of_what_both_hold_after_every_epoch() {
    let mut rng = StdRng::seed_from_u64(11);
    let columns = "columns = { q_venue = \"venue\", q_price = \"price\" }";
    for outer in [false, true] {
        for _ in 0..10 {
            let by = |on: &str| {
                let join = format!("kind = \"latest\"\non = \"{on}\"\nouter = {outer}\n{columns}");
                Subject::plan(&join, "[\"symbol\", \"venue\"]").expect("a plan")
            };
            hold_against(&by("symbol"), |row| Some(row.symbol), outer, false, &mut rng);
            hold_against(&by("venue"), |row| row.venue, outer, false, &mut rng);
        }
    }
}

#[test]
fn what_changes_is_told_as_it_was_and_as_it_is() {
    let mut rng = StdRng::seed_from_u64(12);
    for outer in [false, true] {
        let join = format!(
            "left = \"bars\"\nkind = \"latest\"\non = \"symbol\"\nouter = {outer}\ncolumns = {{ q_venue = \"venue\", q_price = \"price\" }}"
        );
        let subject = Subject::plan(&join, "[\"symbol\", \"venue\"]").expect("a plan");
        for _ in 0..10 {
            hold_against(&subject, |row| Some(row.symbol), outer, true, &mut rng);
        }
    }
}

#[test]
fn what_is_the_same_in_the_end_is_not_told() {
    let subject = Subject::new("kind = \"latest\"\ncolumns = { q = \"price\" }");
    let mut workers = Workers::new(&subject, 1);
    let row = |price: f64, offset: u64| Row {
        symbol: "A",
        venue: None,
        time: 1_700_000_000_000_000_000,
        price,
        partition: 0,
        offset,
        op: "",
        place: 0,
    };
    let count = |made: Vec<arrow::array::RecordBatch>| made.iter().map(|data| data.num_rows()).sum::<usize>();
    assert_eq!(count(workers.epoch([&[row(1.0, 0)], &[]], |_| "A", [1; 2])), 0);
    assert_eq!(count(workers.epoch([&[], &[row(5.0, 0), row(6.0, 1)]], |_| "A", [2; 2])), 1);
    assert_eq!(count(workers.epoch([&[], &[row(7.0, 2), row(6.0, 3)]], |_| "A", [3; 2])), 0);
    assert_eq!(count(workers.epoch([&[], &[row(7.0, 4)]], |_| "A", [4; 2])), 2);
}

#[test]
fn the_output_is_known_by_both_sides() {
    let join = "kind = \"latest\"\non = \"symbol\"\ncolumns = { price_there = \"price\" }";
    let edge = Subject::plan(join, "[\"symbol\", \"venue\"]").expect("a plan").output().clone();
    let names = |columns: &[usize]| columns.iter().map(|at| edge.schema.field(*at).name().clone()).collect::<Vec<_>>();
    assert_eq!(
        names(&(0..edge.visible).collect::<Vec<_>>()),
        ["symbol", "venue", "timestamp", "price", "price_there", "__op"]
    );
    assert_eq!(names(&edge.row_key), ["symbol", "venue", "_venue"]);
    assert_eq!(
        (edge.kind, edge.retracts, edge.placed, names(&edge.key)),
        (EdgeKind::Changes, true, false, vec!["symbol".into(), "venue".into()])
    );
    assert!(edge.position("seq").is_none(), "it would put changes into another order");
}

#[test]
fn rows_that_may_have_another_join_key_are_refused() {
    for (join, message) in [
        (
            "kind = \"latest\"\non = \"venue\"\nprefix = \"q_\"",
            "the newest of each `symbol` counts, and it may have another `venue`",
        ),
        ("kind = \"latest\"\nprefix = \"q_\"\ntolerance = \"5s\"", "`tolerance` goes with kind = \"as_of\""),
    ] {
        let told = Subject::plan(join, "\"symbol\"").err().unwrap_or_else(|| panic!("{join} is planned"));
        assert!(told.contains(message), "{join}: {told}");
    }
}

#[test]
fn a_pair_of_many_rows_is_sent_in_parts() {
    let subject =
        Subject::plan("kind = \"latest\"\non = \"symbol\"\ncolumns = { q = \"venue\" }", "[\"symbol\", \"timestamp\"]");
    let subject = subject.expect("a plan");
    let rows = |count: u64| -> Vec<Row> {
        let row = |n: u64| Row {
            symbol: "A",
            venue: None,
            time: n as i64 * 1_000_000,
            price: 0.0,
            partition: 0,
            offset: n,
            op: "",
            place: 0,
        };
        (0..count).map(row).collect()
    };
    let made = Workers::new(&subject, 1).epoch([&rows(200), &rows(100)], |_| "A", [1; 2]);
    let counts: Vec<usize> = made.iter().map(|data| data.num_rows()).collect();
    assert_eq!((counts.iter().sum::<usize>(), counts.iter().max()), (20_000, Some(&8192)));
}
