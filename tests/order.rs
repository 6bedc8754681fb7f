//! Rows in order: under load, from several senders, whatever the number of workers; and sums that stay exact.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use tapeflow::Result;
use tapeflow::batch::{Batch, Body, Mark, Rows};
use tapeflow::indicators::{Compat, Literal, check, find};
use tapeflow::operators::keyed::{NodeContext, Side, keyed};
use tapeflow::operators::{Operator, Output, StateKind};
use tapeflow::runtime::Job;
use tapeflow::sinks::dead_letters::{InFolder, Refusals};
use tapeflow::sources::shape::OnError;
use tapeflow::spec::{Edge, EdgeKind};
use tapeflow::state::Draft;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::operators::InspectCore as _;
use timely::dataflow::operators::generic::operator::source;

use crate::support::Folder;

/// Batches of each epoch and sender: far beyond the forty from which an unstable sort shows.
const BATCHES: i64 = 400;
const KEYS: i64 = 5;
const EPOCHS: [u64; 2] = [10, 20];
const WORKERS: usize = 2;
/// What operators tell before any row.
const FIRST: u64 = EPOCHS[0] - 1;

fn schema() -> SchemaRef {
    let fields = [Field::new("key", DataType::Utf8, false), Field::new("seq", DataType::Int64, false)];
    Arc::new(Schema::new(fields.to_vec()))
}

fn edge(in_order: bool) -> Edge {
    let (key, row_key, kind) = (vec![0], vec![1], EdgeKind::Append);
    Edge { schema: schema(), visible: 2, key, row_key, kind, reach: 0, retracts: false, placed: false, in_order }
}

/// What an operator has seen: rows (key, seq) and watermarks.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Row(String, i64),
    Watermark(i64),
}

#[derive(Default)]
struct Recorder {
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Whether it tells a row at the end of every epoch.
    tells: bool,
}

impl Operator for Recorder {
    fn rows(&mut self, rows: Rows, _out: &mut Output) -> Result<()> {
        let keys = rows.data.column(0).as_string::<i32>();
        let seqs = rows.data.column(1).as_primitive::<Int64Type>();
        let seen = keys.iter().flatten().zip(seqs.values()).map(|(key, seq)| Seen::Row(key.to_string(), *seq));
        self.seen.lock().expect("the only user").extend(seen);
        Ok(())
    }

    fn watermark(&mut self, time: i64, _out: &mut Output) -> Result<i64> {
        self.seen.lock().expect("the only user").push(Seen::Watermark(time));
        Ok(time)
    }

    fn end_of_epoch(&mut self, out: &mut Output) -> Result<()> {
        if self.tells {
            out.rows.push(Rows { data: rows(0, false, 0, 0).slice(0, 1), source: 0 });
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        0
    }

    fn state(&self) -> StateKind {
        StateKind { name: "nothing".to_string(), version: 1 }
    }

    fn begin_snapshot(&mut self, _full: bool) {}

    fn snapshot(&mut self, _keys: usize) -> Result<Option<Draft>> {
        Ok(Some(Draft::default()))
    }

    fn restore(&mut self, _key: &[u8], _value: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Sends hundreds of batches of two epochs by turns, all of them before anything else moves. The keys are the
/// sender's own where `own` says so.
fn send<'s>(scope: timely::dataflow::Scope<'s, u64>, sender: usize, own: bool) -> Stream<'s, u64, Batch> {
    source::<u64, CapacityContainerBuilder<Batch>, _, _>(scope, "Sender", move |capability, _| {
        let mut capability = Some(capability);
        move |output| {
            let Some(capability) = capability.take() else { return };
            let origin = sender as u64;
            let mut give = |epoch: u64, body: Body| {
                output.session(&capability.delayed(&epoch)).give_container(&mut Batch::new(body));
            };
            give(FIRST, Body::Mark(Mark::Watermark { origin, time: i64::MIN }));
            for batch in 0..BATCHES {
                for (number, epoch) in (0..).zip(EPOCHS) {
                    give(epoch, Body::Rows(Rows { data: rows(sender, own, number, batch), source: 0 }));
                }
            }
            for epoch in EPOCHS {
                give(epoch, Body::Mark(Mark::Watermark { origin, time: epoch as i64 }));
            }
        }
    })
}

/// A row of each key. `seq` rises within a sender and epoch, and senders take turns.
fn rows(sender: usize, own: bool, epoch: i64, batch: i64) -> RecordBatch {
    let owner = if own { sender } else { 0 };
    let keys = StringArray::from_iter_values((0..KEYS).map(|key| format!("{owner}-{key}")));
    let seq = |key: i64| ((epoch * BATCHES + batch) * KEYS + key) * WORKERS as i64 + sender as i64;
    let seqs = Int64Array::from_iter_values((0..KEYS).map(seq));
    RecordBatch::try_new(schema(), vec![Arc::new(keys), Arc::new(seqs)]).expect("rows")
}

fn node(worker: usize) -> NodeContext {
    let job = Job::new("order");
    let meter = job.meter("recorder", worker);
    let refusals = Refusals {
        job: "order".to_string(),
        node: "recorder".to_string(),
        on_error: OnError::Fail,
        letters: Arc::new(InFolder::new("nowhere".as_ref(), "order")),
        meter: meter.clone(),
        read: None,
    };
    let tap = job.tap("recorder");
    NodeContext {
        name: "recorder".to_string(),
        index: 7,
        first: FIRST,
        job,
        meter,
        tap,
        refusals,
        by_time: Arc::new([]),
        standing: Arc::default(),
        ports: Vec::new(),
        lanes: Arc::default(),
    }
}

/// What the operator on each worker has seen.
fn record(in_order: bool) -> Vec<Vec<Seen>> {
    let seen: Vec<Arc<Mutex<Vec<Seen>>>> = (0..WORKERS).map(|_| Arc::default()).collect();
    let recorded = seen.clone();
    timely::execute(timely::Config::process(WORKERS), move |worker| {
        let index = worker.index();
        let recorder = Box::new(Recorder { seen: Arc::clone(&recorded[index]), ..Recorder::default() });
        worker.dataflow::<u64, _, _>(|scope| {
            let stream = send(scope, index, in_order);
            let side = Side { stream, edge: edge(in_order) };
            keyed(scope, vec![side], node(index), recorder, None).expect("a stream");
        });
    })
    .expect("workers")
    .join();
    seen.iter().map(|seen| seen.lock().expect("all have ended").clone()).collect()
}

fn by_key(seen: &[Seen]) -> BTreeMap<String, Vec<i64>> {
    let mut keys: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for event in seen {
        if let Seen::Row(key, seq) = event {
            keys.entry(key.clone()).or_default().push(*seq);
        }
    }
    keys
}

#[test]
fn rows_of_two_epochs_sent_by_turns_arrive_in_order() {
    let seen = record(true);
    let keys: BTreeMap<String, Vec<i64>> = seen.iter().flat_map(|seen| by_key(seen)).collect();
    assert_eq!(keys.len(), KEYS as usize * WORKERS);
    for (key, seqs) in keys {
        assert_eq!(seqs.len() as i64, 2 * BATCHES, "{key}");
        assert!(seqs.is_sorted(), "{key}");
    }
}

#[test]
fn rows_of_a_key_from_two_senders_are_sorted_within_their_epochs() {
    let seen = record(false);
    let keys: BTreeMap<String, Vec<i64>> = seen.iter().flat_map(|seen| by_key(seen)).collect();
    assert_eq!(keys.len(), KEYS as usize);
    for (key, seqs) in keys {
        assert_eq!(seqs.len() as i64, 2 * BATCHES * WORKERS as i64, "{key}");
        assert!(seqs.is_sorted(), "{key}");
    }
}

#[test]
fn a_watermark_stands_between_the_rows_of_its_epoch_and_those_after() {
    for seen in record(true) {
        let first_of_second_epoch = BATCHES * KEYS * WORKERS as i64;
        let passed = seen.iter().position(|event| *event == Seen::Watermark(EPOCHS[0] as i64)).expect("a watermark");
        let is_early = |event: &Seen| matches!(event, Seen::Row(_, seq) if *seq < first_of_second_epoch);
        let is_late = |event: &Seen| matches!(event, Seen::Row(_, seq) if *seq >= first_of_second_epoch);
        assert!(!seen[..passed].iter().any(is_late) && !seen[passed..].iter().any(is_early));
        assert_eq!(seen.last(), Some(&Seen::Watermark(EPOCHS[1] as i64)));
    }
}

/// A write is stamped with its epoch: what is told once more after a restart is not to hide behind what was told before.
#[test]
fn what_is_told_before_any_row_is_told_in_the_first_epoch() {
    let told: Arc<Mutex<Vec<u64>>> = Arc::default();
    let seen = Arc::clone(&told);
    timely::execute(timely::Config::process(WORKERS), move |worker| {
        let (index, seen) = (worker.index(), Arc::clone(&seen));
        worker.dataflow::<u64, _, _>(|scope| {
            let side = Side { stream: send(scope, index, true), edge: edge(true) };
            let told =
                keyed(scope, vec![side], node(index), Box::new(Recorder { tells: true, ..Recorder::default() }), None)
                    .expect("a stream");
            told.inspect_container(move |event| {
                if let Ok((epoch, batch)) = event
                    && matches!(batch.body, Body::Rows(_))
                {
                    seen.lock().expect("no panic").push(*epoch);
                }
            });
        });
    })
    .expect("workers")
    .join();
    let mut told = told.lock().expect("all have ended").clone();
    told.sort_unstable();
    assert_eq!(told, [FIRST, FIRST, EPOCHS[0], EPOCHS[0], EPOCHS[1], EPOCHS[1]]);
}

/// Some 9 MB, three splits, in disorder of up to 50 seconds.
fn shuffled() -> String {
    let mut random = Random(7);
    let mut lines: Vec<(u64, String)> = (0..150_000_u64)
        .map(|i| {
            let (symbol, price) = (random.next() % 9, random.next() % 1_000_000);
            let line = format!("{{\"s\":\"S{symbol}\",\"t\":{},\"p\":{price}.25}}\n", 1_704_067_200_000 + i * 10);
            (i + random.next() % 5000, line)
        })
        .collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

#[test]
fn a_file_in_disorder_gives_the_same_bytes_with_any_number_of_workers_even_if_rows_are_too_late() {
    let folder = Folder::new();
    folder.write("x.jsonl", shuffled());
    for (lateness, in_order) in [("1m", true), ("1s", false)] {
        let flow = format!(
            "version = 1\nname = \"order\"\n[sources.s]\ntype = \"file\"\npath = \"x.jsonl\"\ntime = \"t\"\nkey = \"s\"\n\
             order = \"event_time\"\nlateness = \"{lateness}\"\n\
             [operators.i]\ntype = \"indicators\"\ninput = \"s\"\ncolumns = {{ ema = \"ema(p, 10)\" }}\n\
             [sinks.o]\ntype = \"file\"\ninput = \"i\"\npath = \"out.jsonl\"\nselect = [\"t\", \"p\", \"ema\"]\n"
        );
        folder.write("flow.toml", flow);
        let run = |workers: &str| {
            folder.tapeflow(&["run", "flow.toml", "--workers", workers]).fine();
            folder.read("out.jsonl")
        };
        let one = run("1");
        assert!(one == run("2") && one == run("3"), "lateness {lateness}");
        let times: Vec<&str> = one.lines().map(|line| line.split(',').next().unwrap_or_default()).collect();
        assert_eq!(times.len(), 150_000 - 9 * 9);
        assert_eq!(times.is_sorted(), in_order, "lateness {lateness}");
    }
}

/// Xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Updates of one state: a hundred million with TAPEFLOW_LONG_TESTS set, else what an unoptimised build can do in
/// seconds.
fn updates() -> usize {
    if std::env::var_os("TAPEFLOW_LONG_TESTS").is_some() { 100_000_000 } else { 3_000_000 }
}

#[test]
fn a_mean_stays_exact_over_millions_of_updates() {
    const WINDOW: usize = 1000;
    const SCALE: f64 = 10_000.0;
    let calls = [("mean", WINDOW), ("sma", WINDOW), ("sum", WINDOW)];
    let mut columns = calls.map(|(name, window)| {
        let function = find(name).expect("a function");
        let arguments = check(function, &[Literal::Integer(window as i64)], Compat::Talib).expect("arguments");
        (function.build)(&arguments)
    });
    let mut random = Random(1);
    let mut window = std::collections::VecDeque::from(vec![0_i64; WINDOW]);
    let mut exact: i128 = 0;
    let mut fed = 0;
    while fed < updates() {
        // Prices in whole ten-thousandths, calm for a while and then far away.
        let level = 10_i64.pow((random.next() % 12) as u32);
        let prices: Vec<i64> = (0..8192).map(|_| level + (random.next() % 1000) as i64).collect();
        for price in &prices {
            exact += i128::from(*price) - i128::from(window.pop_front().expect("a full window"));
            window.push_back(*price);
        }
        let values: Vec<f64> = prices.iter().map(|price| *price as f64 / SCALE).collect();
        let (ids, times) = (vec![0; values.len()], vec![0; values.len()]);
        let expected = exact as f64 / SCALE;
        for (column, (name, _)) in columns.iter_mut().zip(calls) {
            let mut out = [Vec::new()];
            column.update(&ids, &times, &[&values], &mut out);
            let expected = if name == "sum" { expected } else { expected / WINDOW as f64 };
            let found = out[0][values.len() - 1];
            assert!((found - expected).abs() <= 1e-9 * expected, "{name} after {fed}: {found}, not {expected}");
        }
        fed += values.len();
    }
}
