//! What the tests share: a dataflow file with a join, rows of its sides, and workers that come and go.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use xxhash_rust::xxh3::xxh3_64;

use crate::batch::Rows;
use crate::keys::{owner, owner_of_group};
use crate::operators::{BuildContext, Built, LEFT, Operator, Output, RIGHT};
use crate::sources::lanes::Lanes;
use crate::sources::seq::SeqLayout;
use crate::spec::{Edge, Files, Plan, Role};
use crate::state::Snapshot;

/// A row of either side.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub symbol: &'static str,
    pub venue: Option<&'static str>,
    pub time: i64,
    pub price: f64,
    pub partition: u64,
    pub offset: u64,
    /// What it does, where rows are changes.
    pub op: &'static str,
    /// How far event time had come in its partition.
    pub place: i64,
}

impl Row {
    pub fn seq(&self) -> i64 {
        SeqLayout::topic(false).seq(self.partition, self.offset, 0).expect("it fits")
    }
}

/// The join of a dataflow file.
pub struct Subject {
    plan: Plan,
    node: usize,
}

impl Subject {
    /// A join of `trades`, and bars of them, and `quotes`; `key` is that of their sources.
    pub fn plan(join: &str, key: &str) -> Result<Subject, String> {
        let columns = r#"{ symbol = "text", venue = "text", timestamp = "timestamp_ns", price = "double" }"#;
        let source = |name: &str| {
            format!(
                r#"
                [sources.{name}]
                type = "kafka"
                brokers = "b:1"
                topic = "{name}"
                schema = {columns}
                time = "timestamp"
                key = {key}
                "#
            )
        };
        let left = if join.starts_with("left = ") { "" } else { "left = \"trades\"" };
        let text = format!(
            r#"
            version = 1
            name = "t"
            {}
            {}
            [operators.bars]
            type = "window"
            input = "trades"
            tumbling = "1ms"
            emit = "updates"
            columns = {{ price = "last(price)" }}
            [operators.joined]
            type = "join"
            {left}
            right = "quotes"
            {join}
            [sinks.out]
            type = "discard"
            input = "joined"
            "#,
            source("trades"),
            source("quotes")
        );
        let (plan, ..) =
            Plan::of(Path::new("t.toml"), &text, &Files::default()).map_err(|mistakes| mistakes.to_string())?;
        let node = plan.position("joined").expect("the join");
        Ok(Subject { plan, node })
    }

    pub fn new(join: &str) -> Subject {
        Subject::plan(join, "\"symbol\"").expect("a plan")
    }

    pub fn build(&self) -> Box<dyn Operator> {
        let Role::Operator(operator) = &self.plan.nodes[self.node].role else { panic!("an operator") };
        let context = BuildContext { node: self.node as u16, lanes: Arc::new(Lanes::of(&self.plan)) };
        match operator.build(&context).expect("built") {
            Built::Keyed(operator) => operator,
            Built::Stateless(_) | Built::Staged(_) => panic!("this join has state"),
        }
    }

    pub fn output(&self) -> &Edge {
        &self.plan.nodes[self.node].edge
    }

    /// The rows as they come in on `side`.
    pub fn batch(&self, side: usize, rows: &[&Row]) -> Rows {
        let source = self.plan.nodes[self.node].inputs[side].node;
        let schema = &self.plan.nodes[source].edge.schema;
        let column = |name: &str, kind: &DataType| -> ArrayRef {
            let column: ArrayRef = match name {
                "symbol" => Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.symbol))),
                "venue" => Arc::new(StringArray::from_iter(rows.iter().map(|row| row.venue))),
                "price" => Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.price))),
                "seq" => Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.seq()))),
                "_order" => Arc::new(TimestampNanosecondArray::from_iter_values(rows.iter().map(|row| row.place))),
                "__op" => Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.op))),
                "revision" => Arc::new(Int64Array::from_value(0, rows.len())),
                "timestamp" | "_time" | "start" | "end" => {
                    Arc::new(TimestampNanosecondArray::from_iter_values(rows.iter().map(|row| row.time)))
                }
                _ => new_null_array(kind, rows.len()),
            };
            cast(&column, kind).expect("its type")
        };
        let columns = schema.fields().iter().map(|field| column(field.name(), field.data_type())).collect();
        Rows { data: RecordBatch::try_new(Arc::clone(schema), columns).expect("rows"), source: source as u16 }
    }
}

/// The state that workers have told of, by group and key.
type Kept = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

/// The workers that run a join.
pub struct Workers<'s> {
    subject: &'s Subject,
    pub all: Vec<Box<dyn Operator>>,
    kept: Kept,
    pub late: u64,
}

impl<'s> Workers<'s> {
    pub fn new(subject: &'s Subject, count: usize) -> Self {
        let all = (0..count).map(|_| subject.build()).collect();
        Workers { subject, all, kept: Kept::new(), late: 0 }
    }

    /// The rows of an epoch on both sides, then how far event time has come: on each, and on both. What comes out.
    pub fn epoch(&mut self, sides: [&[Row]; 2], key: impl Fn(&Row) -> &str, passed: [i64; 2]) -> Vec<RecordBatch> {
        let workers = self.all.len();
        let mut made = Vec::new();
        for (number, operator) in self.all.iter_mut().enumerate() {
            let mut out = Output::default();
            for side in [LEFT, RIGHT] {
                let is_own = |row: &&Row| owner(xxh3_64(key(row).as_bytes()), workers) == number;
                let mut own: Vec<&Row> = sides[side].iter().filter(is_own).collect();
                own.sort_by_key(|row| row.seq());
                if own.is_empty() {
                    continue;
                }
                let rows = self.subject.batch(side, &own);
                if side == LEFT { operator.rows(rows, &mut out) } else { operator.right(rows, &mut out) }
                    .expect("rows");
            }
            (0..2).for_each(|side| operator.side_passed(side, passed[side]));
            let time = passed[LEFT].min(passed[RIGHT]);
            assert_eq!(operator.watermark(time, &mut out).expect("a watermark"), time);
            operator.end_of_epoch(&mut out).expect("the end of an epoch");
            self.late += out.late;
            made.extend(out.rows.into_iter().map(|rows| rows.data));
        }
        made
    }

    /// A checkpoint, after which as many workers go on as are said.
    pub fn restart(&mut self, full: bool, workers: usize) {
        for operator in &mut self.all {
            operator.begin_snapshot(full);
            let draft = loop {
                if let Some(draft) = operator.snapshot(1).expect("state") {
                    break draft;
                }
            };
            let kind = operator.state();
            for (group, entries) in Snapshot::decode(&draft.encode(&kind.name, kind.version)).expect("read").groups {
                for entry in entries {
                    match entry.value {
                        Some(value) => drop(self.kept.insert((group, entry.key), value)),
                        None => drop(self.kept.remove(&(group, entry.key))),
                    }
                }
            }
        }
        self.all = (0..workers).map(|_| self.subject.build()).collect();
        for ((group, key), value) in &self.kept {
            self.all[owner_of_group(*group, workers)].restore(key, value).expect("a state");
        }
    }
}
