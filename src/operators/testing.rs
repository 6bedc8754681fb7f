//! Runs the operators of a dataflow file, one behind the other, as plain structs on some workers: epochs, watermarks,
//! snapshots, and what other workers go on with.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
    TimestampNanosecondArray, UInt32Array,
};
use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::util::display::array_value_to_string;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use xxhash_rust::xxh3::xxh3_64;

use super::{BuildContext, Built, Output, Stage};
use crate::batch::Rows;
use crate::error::Result;
use crate::keys::{KeyReader, owner, owner_of_group};
use crate::sources::lanes::Lanes;
use crate::sources::seq::SeqLayout;
use crate::sources::{ORDER, SEQ, TIME};
use crate::spec::{DELETE, Edge, EdgeKind, Files, OP, Plan, REVISION, Role};
use crate::state::Snapshot;

/// A trade: `symbol`, `timestamp`, `price`, `volume` and `sector` of the source `ticks`.
#[derive(Clone, Debug)]
pub struct Tick {
    pub symbol: String,
    pub sector: Option<&'static str>,
    /// In ns, whole milliseconds.
    pub time: i64,
    pub price: Option<f64>,
    pub volume: i64,
    pub partition: u64,
    pub offset: u64,
    /// How far event time had come in its partition: later than `time` where it comes late.
    pub place: i64,
}

/// A dataflow of a source `ticks` and of these operators, each of which reads the one before it.
pub fn plan(operators: &str) -> Plan {
    planned(operators).unwrap_or_else(|error| panic!("{error}"))
}

/// What is wrong with such a dataflow.
pub fn mistakes(operators: &str) -> String {
    planned(operators).err().map_or(String::new(), |error| error.to_string())
}

fn planned(operators: &str) -> Result<Plan> {
    let last = operators.rsplit("[operators.").next().and_then(|rest| rest.split(']').next()).expect("an operator");
    let text = format!(
        r#"
        version = 1
        name = "t"
        [sources.ticks]
        type = "kafka"
        brokers = "b:1"
        topic = "t" # and with the order of event_time
        schema = {{ symbol = "text", timestamp = "timestamp_ms", price = "double", volume = "bigint", sector = "text" }}
        time = "timestamp"
        key = "symbol"
        {operators}
        [sinks.out]
        type = "discard"
        input = "{last}"
        "#
    );
    Ok(Plan::of(Path::new("t.toml"), &text, &Files::default())?.0)
}

/// The rows of ticks.
fn rows(edge: &Edge, ticks: &[Tick]) -> Rows {
    let seq = |tick: &Tick| SeqLayout::topic(false).seq(tick.partition, tick.offset, 0).expect("it fits");
    let instants = |time: fn(&Tick) -> i64| TimestampNanosecondArray::from_iter_values(ticks.iter().map(time));
    let column = |name: &str| -> ArrayRef {
        match name {
            "symbol" => Arc::new(StringArray::from_iter_values(ticks.iter().map(|tick| &tick.symbol))),
            "sector" => Arc::new(ticks.iter().map(|tick| tick.sector).collect::<StringArray>()),
            "timestamp" => {
                Arc::new(TimestampMillisecondArray::from_iter_values(ticks.iter().map(|tick| tick.time / 1_000_000)))
            }
            "price" => Arc::new(ticks.iter().map(|tick| tick.price).collect::<Float64Array>()),
            "volume" => Arc::new(Int64Array::from_iter_values(ticks.iter().map(|tick| tick.volume))),
            SEQ => Arc::new(Int64Array::from_iter_values(ticks.iter().map(seq))),
            TIME => Arc::new(instants(|tick| tick.time)),
            ORDER => Arc::new(instants(|tick| tick.place)),
            other => panic!("a column `{other}`"),
        }
    };
    let columns = edge.schema.fields().iter().map(|field| column(field.name())).collect();
    Rows { data: RecordBatch::try_new(Arc::clone(&edge.schema), columns).expect("rows"), source: 0 }
}

const MS: i64 = 1_000_000;

/// Ticks of some symbols in three partitions, each symbol in one of them; one in five comes late.
pub fn ticks(rng: &mut StdRng, count: u64) -> Vec<Tick> {
    let (mut come, mut offsets) = ([i64::MIN; 3], [0; 3]);
    (0..count)
        .map(|n| {
            let symbol = rng.random_range(0..20u64);
            let partition = symbol % 3;
            let late = if rng.random_ratio(1, 5) { rng.random_range(0..400) } else { 0 };
            let time = (1_700_000_000_000 + n as i64 * 10 - late) * MS;
            offsets[partition as usize] += 1;
            let place = time.max(come[partition as usize]);
            come[partition as usize] = place;
            let price = if rng.random_ratio(1, 4) { None } else { Some(f64::from(rng.random_range(0..3))) };
            Tick {
                symbol: format!("S{symbol}"),
                sector: [None, Some("gas"), Some("oil")][(symbol % 3).min(rng.random_range(0..9)) as usize],
                time,
                price,
                volume: rng.random_range(0..2),
                partition,
                offset: offsets[partition as usize],
                place,
            }
        })
        .collect()
}

/// What checkpoints hold: by stage, then by group of keys and key.
type Stored = BTreeMap<String, BTreeMap<(u8, Vec<u8>), Vec<u8>>>;

/// The operators of a plan on some workers.
struct Running {
    /// The stages of all nodes, one behind the other, each as it is on each worker.
    stages: Vec<(String, Vec<Stage>)>,
    passed: i64,
    repeats: u64,
    refused: Vec<String>,
}

impl Running {
    /// Nothing yet, or what goes on with `stored`, where event time has passed `watermark`.
    fn new(plan: &Plan, workers: usize, stored: &Stored, watermark: i64) -> Running {
        let mut stages = Vec::new();
        for (at, node) in plan.nodes.iter().enumerate() {
            let Role::Operator(operator) = &node.role else { continue };
            let context = BuildContext { node: at as u16, lanes: Arc::new(Lanes::of(plan)) };
            let input = plan.edge(node.inputs[0]);
            let built = |_| match operator.build(&context).expect("built") {
                Built::Staged(stages) => stages,
                built => vec![Stage { name: "", input: input.clone(), built }],
            };
            let mut on_workers: Vec<_> = (0..workers).map(|worker| built(worker).into_iter()).collect();
            while let Some(first) = on_workers[0].next() {
                let others = on_workers[1..].iter_mut().map(|stages| stages.next().expect("the same on every worker"));
                let others: Vec<Stage> = others.collect();
                stages.push((first.name_in(&node.name), [first].into_iter().chain(others).collect()));
            }
        }
        let mut running = Running { stages, passed: i64::MIN, repeats: 0, refused: Vec::new() };
        for (name, stage) in &mut running.stages {
            for ((group, key), value) in stored.get(name).into_iter().flatten() {
                if let Built::Keyed(operator) = &mut stage[owner_of_group(*group, workers)].built {
                    operator.restore(key, value).expect("a state");
                }
            }
        }
        let mut net: BTreeMap<Vec<String>, i64> = BTreeMap::new();
        for (op, row) in running.epoch(Vec::new(), watermark).iter().flat_map(|rows| texts(&rows.data)) {
            *net.entry(row).or_default() += if op == DELETE { -1 } else { 1 };
        }
        assert!(net.values().all(|count| *count == 0), "in the first epoch all is told once more, and nothing new");
        running
    }

    /// An epoch of rows, on the workers that they come in at; then event time has passed `watermark`.
    fn epoch(&mut self, rows: Vec<(usize, Rows)>, mut watermark: i64) -> Vec<Rows> {
        let moves_on = watermark > self.passed;
        self.passed = self.passed.max(watermark);
        let mut rows: Vec<(usize, Rows)> = rows;
        for (_, stage) in &mut self.stages {
            let brought = bring(rows, stage);
            rows = Vec::new();
            let mut least = i64::MAX;
            for ((worker, Stage { built, .. }), brought) in stage.iter_mut().enumerate().zip(brought) {
                let mut out = Output::default();
                match built {
                    Built::Stateless(transform) => {
                        brought.into_iter().for_each(|rows| transform.rows(rows, &mut out).expect("rows"));
                        least = watermark;
                    }
                    Built::Keyed(operator) => {
                        brought.into_iter().for_each(|rows| operator.rows(rows, &mut out).expect("rows"));
                        if moves_on {
                            least = least.min(operator.watermark(watermark, &mut out).expect("a watermark"));
                        }
                        operator.end_of_epoch(&mut out).expect("the end of an epoch");
                    }
                    Built::Staged(_) => panic!("stages in a stage"),
                }
                self.repeats += out.repeats;
                self.refused.extend(out.refused.into_iter().map(|refused| refused.reason));
                rows.extend(out.rows.into_iter().filter(|rows| rows.data.num_rows() > 0).map(|rows| (worker, rows)));
            }
            watermark = least;
        }
        rows.into_iter().map(|(_, rows)| rows).collect()
    }

    /// A boundary is here: begins a snapshot.
    fn begin_snapshot(&mut self, full: bool) {
        let operators = self.stages.iter_mut().flat_map(|(_, stage)| stage);
        operators.for_each(|stage| {
            if let Built::Keyed(operator) = &mut stage.built {
                operator.begin_snapshot(full);
            }
        });
    }

    /// Goes on with it to its end, key by key.
    fn snapshot(&mut self, stored: &mut Stored) {
        for (name, stage) in &mut self.stages {
            let operators = stage.iter_mut().filter_map(|stage| match &mut stage.built {
                Built::Keyed(operator) => Some(operator),
                _ => None,
            });
            let drafts = operators.map(|operator| {
                let draft = std::iter::repeat_with(|| operator.snapshot(1).expect("state")).flatten().next();
                draft.expect("a draft").encode("it", 1)
            });
            let drafts: Vec<Snapshot> = drafts.map(|file| Snapshot::decode(&file).expect("read")).collect();
            let stored = stored.entry(name.clone()).or_default();
            if drafts.iter().any(|draft| draft.full) {
                stored.clear();
            }
            drafts.into_iter().for_each(|draft| keep(draft, stored));
        }
    }
}

fn keep(snapshot: Snapshot, stored: &mut BTreeMap<(u8, Vec<u8>), Vec<u8>>) {
    for (group, entries) in snapshot.groups {
        for entry in entries {
            match entry.value {
                Some(value) => stored.insert((group, entry.key), value),
                None => stored.remove(&(group, entry.key)),
            };
        }
    }
}

/// The rows for each worker, as the driver of the stage would take them.
fn bring(rows: Vec<(usize, Rows)>, stage: &[Stage]) -> Vec<Vec<Rows>> {
    let (input, mut brought) = (&stage[0].input, vec![Vec::new(); stage.len()]);
    if matches!(stage[0].built, Built::Stateless(_)) || input.placed {
        rows.into_iter().for_each(|(worker, rows)| brought[worker].push(rows));
        return brought;
    }
    let keys = KeyReader::new(&input.schema, &input.key).expect("a key");
    for (_, rows) in rows {
        let mut parts = vec![Vec::new(); stage.len()];
        keys.for_each(&rows.data, |row, key| parts[owner(xxh3_64(key), stage.len())].push(row as u32)).expect("keys");
        for (part, brought) in parts.into_iter().zip(&mut brought).filter(|(part, _)| !part.is_empty()) {
            let data = take_record_batch(&rows.data, &UInt32Array::from(part)).expect("rows");
            brought.push(Rows { data, source: rows.source });
        }
    }
    if input.in_order || input.kind == EdgeKind::Changes {
        return brought;
    }
    brought.into_iter().map(in_order).collect()
}

/// The rows of one source by `seq`.
fn in_order(rows: Vec<Rows>) -> Vec<Rows> {
    let Some(Rows { data, source }) = rows.first() else { return rows };
    let all = concat_batches(&data.schema(), rows.iter().map(|rows| &rows.data)).expect("rows");
    let Some(seqs) = all.column_by_name(SEQ) else { return rows };
    let order = sort_to_indices(seqs, None, None).expect("numbers");
    vec![Rows { data: take_record_batch(&all, &order).expect("rows"), source: *source }]
}

/// The parts of `ticks` that are epochs.
fn cut<'t>(ticks: &'t [Tick], rng: &mut StdRng) -> Vec<&'t [Tick]> {
    let (mut parts, mut rest) = (Vec::new(), ticks);
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(rng.random_range(0..=rest.len().min(60)));
        parts.push(part);
        rest = behind;
    }
    parts
}

/// The rows of ticks as partitions bring them, on any workers, each in order.
fn come_in(edge: &Edge, ticks: &[Tick], workers: usize, rng: &mut StdRng) -> Vec<(usize, Rows)> {
    let of = |partition: u64| ticks.iter().filter(|tick| tick.partition == partition).cloned().collect::<Vec<Tick>>();
    let parts = (0..3).map(of).filter(|part| !part.is_empty()).map(|part| rows(edge, &part));
    let mut batches: Vec<_> = parts.map(|rows| (rng.random_range(0..workers), rows)).collect();
    batches.shuffle(rng);
    batches
}

/// Runs ticks in epochs; now and then another number of workers goes on with the last snapshot. `check` is told what an
/// epoch has told, what has come until then, and how far event time has passed.
pub fn run(flow: &str, ticks: &[Tick], rng: &mut StdRng, mut check: impl FnMut(&[Rows], &[&Tick], i64)) -> Counts {
    let plan = plan(flow);
    let source = &plan.nodes[0].edge;
    let (mut stored, mut counts) = (Stored::new(), Counts::default());
    let (mut workers, mut passed, mut seen) = (rng.random_range(1..4), i64::MIN, Vec::new());
    let mut running = Running::new(&plan, workers, &stored, passed);
    for part in cut(ticks, rng) {
        seen.extend(part);
        let come = |partition| seen.iter().filter(|tick| tick.partition == partition).map(|tick| tick.place).max();
        passed = (0..3).map(|partition| come(partition).unwrap_or(i64::MIN)).min().unwrap_or(i64::MIN);
        let told = running.epoch(come_in(source, part, workers, rng), passed);
        check(&told, &seen, passed);
        if rng.random_ratio(1, 4) {
            counts.add(&running);
            running.begin_snapshot(rng.random());
            // What comes meanwhile is lost with the workers.
            let lost: Vec<Tick> = ticks.iter().rev().take(30).cloned().collect();
            running.epoch(come_in(source, &lost, workers, rng), passed.saturating_add(100_000_000));
            running.snapshot(&mut stored);
            workers = rng.random_range(1..4);
            running = Running::new(&plan, workers, &stored, passed);
        }
    }
    counts.add(&running);
    counts
}

/// What was left out.
#[derive(Default)]
pub struct Counts {
    pub repeats: u64,
    pub refused: Vec<String>,
}

impl Counts {
    fn add(&mut self, running: &Running) {
        self.repeats += running.repeats;
        self.refused.extend(running.refused.iter().cloned());
    }
}

/// A collection that is told by its moves: how often each row is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collection(pub BTreeMap<Vec<String>, i64>);

impl Collection {
    /// Applies moves. A row that is deleted must be there as it is said to be, hidden columns and all, and none may be
    /// deleted and inserted as it was.
    pub fn apply(&mut self, told: &[Rows]) {
        let mut net: BTreeMap<Vec<String>, i64> = BTreeMap::new();
        for (op, row) in told.iter().flat_map(|rows| texts(&rows.data)) {
            let (count, by) = (self.0.entry(row.clone()).or_default(), if op == DELETE { -1 } else { 1 });
            *count += by;
            assert!((0..=1).contains(count), "{op} of {row:?}");
            assert!(net.insert(row.clone(), by).is_none(), "{row:?} moves twice in an epoch");
        }
        self.0.retain(|_, count| *count > 0);
    }

    /// Some columns of the rows, in order.
    pub fn columns(&self, edge: &Edge, names: &[&str]) -> Vec<Vec<String>> {
        let names_of_rows: Vec<&str> = names_of(edge);
        let at = |name: &&str| names_of_rows.iter().position(|other| other == name).expect("a column");
        let at: Vec<usize> = names.iter().map(at).collect();
        let mut rows: Vec<Vec<String>> =
            self.0.keys().map(|row| at.iter().map(|at| row[*at].clone()).collect()).collect();
        rows.sort();
        rows
    }
}

fn names_of(edge: &Edge) -> Vec<&str> {
    let names = edge.schema.fields().iter().map(|field| field.name().as_str());
    names.filter(|name| *name != OP && *name != REVISION).collect()
}

/// What each row does, and all its values.
pub fn texts(data: &RecordBatch) -> Vec<(String, Vec<String>)> {
    let schema = data.schema();
    let columns: Vec<&ArrayRef> = (0..data.num_columns())
        .filter(|at| ![OP, REVISION].contains(&schema.field(*at).name().as_str()))
        .map(|at| data.column(at))
        .collect();
    let text = |row: usize| columns.iter().map(|column| array_value_to_string(column, row).expect("text")).collect();
    let op = |row: usize| data.column_by_name(OP).map_or("", |ops| ops.as_string::<i32>().value(row)).to_string();
    (0..data.num_rows()).map(|row| (op(row), text(row))).collect()
}
