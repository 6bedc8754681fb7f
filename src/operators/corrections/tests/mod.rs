//! Messages about trades, followed by the operator alone, and by what stands behind it.

mod messages;
mod random;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
    TimestampNanosecondArray,
};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMillisecondType};

use crate::batch::Rows;
use crate::operators::{BuildContext, Built, Operator, Output};
use crate::sources::lanes::Lanes;
use crate::sources::seq::SeqLayout;
use crate::spec::{Edge, Files, OP, Plan, REVISION, Role};
use crate::state::Snapshot;

const SECOND: i64 = 1_000_000_000;
const START: i64 = 1_700_000_000 * SECOND;

const IDS: &str = "id = \"id\"\nretract = \"kind = 'cancel'\"\nreplace = \"kind = 'correct'\"";

/// A dataflow over trades that may be corrected.
struct Subject {
    plan: Plan,
}

impl Subject {
    /// `corrections` are the keys of the source's table of that name.
    fn new(corrections: &str) -> Subject {
        Subject::with("", corrections)
    }

    /// The same with further keys of the source.
    fn with(keys: &str, corrections: &str) -> Subject {
        let text = format!(
            r#"
            version = 1
            name = "t"
            [sources.trades]
            type = "kafka"
            brokers = "b:1"
            topic = "t"
            schema = {{ symbol = "text", kind = "text", id = "text", about = "text", timestamp = "timestamp_ms", price = "double", volume = "bigint" }}
            time = "timestamp"
            key = "symbol"
            {keys}
            [sources.trades.corrections]
            {corrections}
            [operators.bars]
            type = "window"
            input = "trades"
            tumbling = "10s"
            [operators.bars.columns]
            open = "first(price)"
            high = "max(price)"
            close = "last(price)"
            n = "count(*)"
            vwap = "sum(price * volume) / sum(volume)"
            [operators.means]
            type = "indicators"
            input = "trades"
            emit = "all"
            columns = {{ sma = "sma(price, 3)" }}
            [sinks.out]
            type = "discard"
            input = ["bars"]
            [sinks.others]
            type = "discard"
            input = "means"
            "#
        );
        Subject { plan: Plan::of(Path::new("t.toml"), &text, &Files::default()).expect("a plan").0 }
    }

    fn read(&self) -> &Edge {
        let Role::Source(source) = &self.plan.nodes[0].role else { panic!("a source") };
        &source.shape().read
    }

    /// The stage behind the source.
    fn build(&self) -> Box<dyn Operator> {
        let Role::Source(source) = &self.plan.nodes[0].role else { panic!("a source") };
        let corrections = source.shape().corrections.as_ref().expect("corrections");
        corrections.build(self.read(), &self.plan.nodes[0].edge).expect("built")
    }

    /// The operator of this name.
    fn operator(&self, name: &str) -> Box<dyn Operator> {
        let node = self.plan.position(name).expect("a node");
        let Role::Operator(operator) = &self.plan.nodes[node].role else { panic!("an operator") };
        let context = BuildContext { node: node as u16, lanes: Arc::new(Lanes::of(&self.plan)) };
        match operator.build(&context).expect("built") {
            Built::Keyed(operator) => operator,
            Built::Stateless(_) | Built::Staged(_) => panic!("it has state of its own"),
        }
    }

    fn rows(&self, messages: &[Message]) -> Rows {
        let text = |of: fn(&Message) -> &str| -> ArrayRef {
            Arc::new(
                messages
                    .iter()
                    .map(|message| Some(of(message)).filter(|text| !text.is_empty()))
                    .collect::<StringArray>(),
            )
        };
        let instants = |of: fn(&Message) -> i64| -> ArrayRef {
            Arc::new(TimestampNanosecondArray::from_iter_values(messages.iter().map(of)))
        };
        let columns = self.read().schema.fields().iter().map(|field| match field.name().as_str() {
            "symbol" => text(|message| message.symbol),
            "kind" => text(|message| message.kind),
            "id" => text(|message| &message.id),
            "about" => text(|message| &message.about),
            "timestamp" => {
                let ms = messages.iter().map(|message| message.time / 1_000_000);
                Arc::new(TimestampMillisecondArray::from_iter_values(ms))
            }
            "price" => Arc::new(Float64Array::from_iter_values(messages.iter().map(|message| message.price))),
            "volume" => Arc::new(Int64Array::from_iter_values(messages.iter().map(|message| message.volume))),
            "seq" => Arc::new(Int64Array::from_iter_values(messages.iter().map(Message::seq))),
            "_time" => instants(|message| message.time),
            "_order" => instants(|message| message.place.max(message.time)),
            other => panic!("a column `{other}`"),
        });
        let data = RecordBatch::try_new(Arc::clone(&self.read().schema), columns.collect()).expect("rows");
        Rows { data, source: 0 }
    }
}

/// A message; texts that are empty are null.
#[derive(Clone, Debug, Default)]
struct Message {
    symbol: &'static str,
    kind: &'static str,
    id: String,
    about: String,
    time: i64,
    price: f64,
    volume: i64,
    partition: u64,
    offset: u64,
    /// How far event time had come in its partition.
    place: i64,
}

impl Message {
    fn seq(&self) -> i64 {
        SeqLayout::topic(false).seq(self.partition, self.offset, 0).expect("it fits")
    }
}

/// A change of a trade: what it does, how often the trade was corrected, its `seq`, id, time and price.
type Change = (String, i64, i64, String, i64, f64);

fn changes(out: &Output) -> Vec<Change> {
    let of = |rows: &Rows| {
        let column = |name: &str| Arc::clone(rows.data.column_by_name(name).expect("a column"));
        let integers = |name: &str| column(name).as_primitive::<Int64Type>().values().to_vec();
        let texts = |name: &str| -> Vec<String> {
            column(name).as_string::<i32>().iter().map(|text| text.unwrap_or_default().to_string()).collect()
        };
        let times = column("_time").as_primitive::<arrow::datatypes::TimestampNanosecondType>().values().to_vec();
        let prices = column("price").as_primitive::<Float64Type>().values().to_vec();
        let (ops, revisions, seqs, ids) = (texts(OP), integers(REVISION), integers("seq"), texts("id"));
        let row = |row: usize| (ops[row].clone(), revisions[row], seqs[row], ids[row].clone(), times[row], prices[row]);
        (0..rows.data.num_rows()).map(row).collect::<Vec<Change>>()
    };
    out.rows.iter().flat_map(of).collect()
}

/// Rows that insert, replace and delete, by what they are known by.
type Table = BTreeMap<(String, i64), Vec<Option<f64>>>;

/// Takes changes into a table of `columns`, like one that is written to again what was written before a restart.
fn apply(table: &mut Table, out: &Output, id: &str, columns: &[&str]) {
    for rows in &out.rows {
        let column = |name: &str| rows.data.column_by_name(name).expect("a column");
        let symbols = column("symbol").as_string::<i32>();
        let ops = column(OP).as_string::<i32>();
        let ids: Vec<i64> = match column(id).as_primitive_opt::<Int64Type>() {
            Some(ids) => ids.values().to_vec(),
            None => column(id).as_primitive::<TimestampMillisecondType>().values().to_vec(),
        };
        let floats =
            |name: &&str| arrow::compute::cast(column(name), &arrow::datatypes::DataType::Float64).expect("a number");
        let values: Vec<ArrayRef> = columns.iter().map(floats).collect();
        for (row, id) in ids.into_iter().enumerate() {
            let value =
                |column: &ArrayRef| column.is_valid(row).then(|| column.as_primitive::<Float64Type>().value(row));
            let key = (symbols.value(row).to_string(), id);
            let now: Vec<Option<f64>> = values.iter().map(value).collect();
            match ops.value(row) {
                "delete" => drop(table.remove(&key)),
                _ => drop(table.insert(key, now)),
            }
        }
    }
}

/// What is kept of operators, as a store of checkpoints keeps it.
type Store = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

fn save(operator: &mut dyn Operator, store: &mut Store, full: bool) {
    operator.begin_snapshot(full);
    let draft = loop {
        if let Some(draft) = operator.snapshot(1).expect("state") {
            break draft;
        }
    };
    if full {
        store.clear();
    }
    for (group, entries) in Snapshot::decode(&draft.encode("it", 1)).expect("read").groups {
        for entry in entries {
            match entry.value {
                Some(value) => store.insert((group, entry.key), value),
                None => store.remove(&(group, entry.key)),
            };
        }
    }
}

fn restore(operator: &mut dyn Operator, store: &Store) {
    store.iter().for_each(|((_, key), value)| operator.restore(key, value).expect("a state"));
}
