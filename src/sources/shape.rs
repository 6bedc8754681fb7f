//! From the columns of messages to the rows of a source: `select`, event time, key, built-in columns.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampNanosecondType};

use super::seq::SeqLayout;
use super::{BUILT_IN, ORDER, SEQ, TIME};
use crate::error::{Error, Result};
use crate::formats::type_name;
use crate::operators::corrections::{CorrectionsPlan, CorrectionsSpec};
use crate::operators::order::OrderPlan;
use crate::spec::expression::{Scalar, scalar};
use crate::spec::{
    At, Check, Edge, EdgeKind, Fields, Findings, OneOrMany, Projection, Refused, Select, nanoseconds, surviving,
};
use crate::words;

words! {
    /// The unit of an integer that is a time.
    Unit {
        /// Seconds.
        Seconds = "s",
        /// Milliseconds.
        Milliseconds = "ms",
        /// Microseconds.
        Microseconds = "us",
        /// Nanoseconds.
        Nanoseconds = "ns",
    }
}

impl Unit {
    fn arrow(self) -> TimeUnit {
        match self {
            Unit::Seconds => TimeUnit::Second,
            Unit::Milliseconds => TimeUnit::Millisecond,
            Unit::Microseconds => TimeUnit::Microsecond,
            Unit::Nanoseconds => TimeUnit::Nanosecond,
        }
    }

    fn nanoseconds(self) -> i128 {
        match self {
            Unit::Seconds => 1_000_000_000,
            Unit::Milliseconds => 1_000_000,
            Unit::Microseconds => 1_000,
            Unit::Nanoseconds => 1,
        }
    }
}

words! {
    /// In which order rows leave a source.
    Order {
        /// As they come.
        Arrival = "arrival",
        /// Held until the watermark has passed them, then sorted.
        EventTime = "event_time",
    }
}

/// What stands in every dataflow file that has a source in order of event time, or a node that must know which rows come late.
const BY_PLACE: &[&str] = &["as_of", "event_time", "window", "corrections", "distinct", "expire"];

words! {
    /// What becomes of a record that cannot be used.
    OnError {
        /// It goes to the dead letters.
        DeadLetter = "dead_letter",
        /// The job fails.
        Fail = "fail",
        /// It is counted and left out.
        Skip = "skip",
    }
}

/// The keys that every source has, as written.
pub struct ShapeSpec {
    select: Option<At<Select>>,
    time: At<String>,
    time_unit: Option<At<Unit>>,
    key: Vec<At<String>>,
    lateness: Duration,
    idle_timeout: Option<Duration>,
    order: Order,
    corrections: Option<At<CorrectionsSpec>>,
    on_error: OnError,
}

impl ShapeSpec {
    /// Reads them. `time` and `key` are what stands for them where they are not given.
    pub fn read(fields: &mut Fields<'_>, time: Option<&str>, key: Option<&str>) -> Self {
        let default = |text: &str| At::new(text.to_string(), fields.span().clone());
        let (default_time, default_key) = (time.map(default), key.map(default));
        let select = fields.get("select", "the row: a list of names, or a table of expressions").optional();
        let time = fields.get("time", "an expression: event time");
        let time = match default_time {
            Some(default) => time.optional().unwrap_or(default),
            None => time.required(),
        };
        let key =
            fields.get::<OneOrMany<String>>("key", "an expression or a list: what rows are grouped by").optional();
        ShapeSpec {
            select,
            time,
            time_unit: fields
                .get("time_unit", "the unit of `time` where it is a bare integer; ms by default")
                .optional(),
            key: key.map_or_else(|| default_key.into_iter().collect(), |key| key.value.0),
            lateness: fields
                .get("lateness", "how far the watermark stays behind the greatest event time")
                .or(Duration::ZERO),
            idle_timeout: fields
                .get("idle_timeout", "after this long without rows a partition does not hold the watermark back")
                .optional()
                .map(|timeout| timeout.value),
            order: fields
                .get("order", "`arrival`, or `event_time`: held until the watermark, then sorted")
                .or(Order::Arrival),
            corrections: fields
                .get("corrections", "which messages cancel or correct trades that came before: rows become changes")
                .optional(),
            on_error: fields.get("on_error", "what becomes of a record that cannot be used").or(OnError::DeadLetter),
        }
    }

    /// Types them against the columns of a message.
    pub fn plan(&self, message: Vec<Field>, layout: SeqLayout, check: &Check<'_>) -> Option<(Edge, Arc<ShapePlan>)> {
        let findings = check.findings;
        self.check_names(message.iter(), "of a message", findings);
        let message: SchemaRef = Arc::new(Schema::new(message));
        let columns = match &self.select {
            Some(select) => select.compile(&message, findings)?,
            None => message
                .fields()
                .iter()
                .enumerate()
                .map(|(at, field)| (field.as_ref().clone(), Scalar::column(&message, at)))
                .collect(),
        };
        let select = Projection::new(columns);
        let selected = Arc::clone(select.schema());
        self.check_names(selected.fields().iter().map(Arc::as_ref), "of the row", findings);
        let time = self.event_time(&selected, check);
        let keys: Vec<Option<Scalar>> = self.key.iter().map(|key| scalar(key, &selected, findings)).collect();
        let corrections = self.corrections.as_ref().map(|corrections| corrections.plan(&selected, findings));
        let (time, keys) = (time?, keys.into_iter().collect::<Option<Vec<_>>>()?);
        let hidden = hidden_columns(check.text, self.order);
        let (schema, key) = output_schema(&selected, &keys, &hidden);
        let visible = selected.fields().len() + 1;
        let places = hidden.contains(&ORDER).then_some(OrderPlan { order: visible + 1, seq: visible - 1 });
        let order = places.clone().filter(|_| self.order == Order::EventTime);
        let read = Edge {
            schema: Arc::clone(&schema),
            visible,
            key,
            row_key: vec![visible - 1],
            kind: EdgeKind::Append,
            reach: 0,
            placed: false,
            retracts: false,
            in_order: true,
        };
        let corrections = match corrections {
            Some(corrections) => Some(corrections?),
            None => None,
        };
        let edge = match &corrections {
            Some(corrections) => corrections.edge(&read, findings)?,
            None => read.clone(),
        };
        let plan = ShapePlan {
            select,
            time,
            unit: self.time_unit.as_ref().map(|unit| unit.value),
            keys,
            read,
            hidden,
            layout,
            lateness: nanoseconds(self.lateness),
            idle_timeout: self.idle_timeout,
            order,
            places,
            corrections,
            on_error: self.on_error,
        };
        Some((edge, Arc::new(plan)))
    }

    fn check_names<'f>(&self, fields: impl Iterator<Item = &'f Field>, what: &str, findings: &Findings) {
        let span = self.select.as_ref().map_or(&self.time.span, |select| &select.span);
        let mut seen = HashSet::new();
        for name in fields.map(Field::name) {
            if BUILT_IN.contains(&name.as_str()) {
                findings.mistake(span, format!("`{name}` is built in and cannot be a column {what}"));
            } else if !seen.insert(name) {
                findings.mistake(span, format!("`{name}` names two columns {what}"));
            }
        }
    }

    /// The event time as ns; a value that does not fit becomes null.
    fn event_time(&self, selected: &SchemaRef, check: &Check<'_>) -> Option<EventTime> {
        let time = scalar(&self.time, selected, check.findings)?;
        let kind = time.field().data_type().clone();
        let nanoseconds = DataType::Timestamp(TimeUnit::Nanosecond, None);
        let unit = self.time_unit.as_ref().map_or(Unit::Milliseconds, |unit| unit.value);
        match kind {
            DataType::Timestamp(..) | DataType::Date32 => Some(EventTime { time: time.cast(&nanoseconds), bare: None }),
            DataType::Int32 | DataType::Int64 => {
                let bare = time.cast(&DataType::Int64);
                let instant = bare.clone().cast(&DataType::Timestamp(unit.arrow(), None));
                Some(EventTime { time: instant.cast(&nanoseconds), bare: Some((bare, unit)) })
            }
            other => {
                let hint = if other == DataType::Utf8 {
                    "; use to_timestamp(...), or give the column a timestamp type"
                } else {
                    ""
                };
                let message = format!("`{}` is {} and no time{hint}", self.time.value, type_name(&other));
                check.findings.mistake(&self.time.span, message);
                None
            }
        }
    }
}

#[derive(Clone)]
struct EventTime {
    time: Scalar,
    /// The integer behind it, and the unit it is taken in.
    bare: Option<(Scalar, Unit)>,
}

/// The built-in columns that the dataflow file speaks of: the others are not even made. Where one source is in order of
/// event time all have the column for it, so that their rows can come together.
fn hidden_columns(text: &str, order: Order) -> Vec<&'static str> {
    let optional = BUILT_IN.iter().copied().filter(|name| *name != SEQ && *name != TIME);
    let is_spoken_of = |name: &&str| match *name {
        ORDER => order == Order::EventTime || BY_PLACE.iter().any(|word| text.contains(word)),
        name => text.contains(name),
    };
    optional.filter(is_spoken_of).collect()
}

fn output_schema(selected: &Schema, keys: &[Scalar], hidden: &[&'static str]) -> (SchemaRef, Vec<usize>) {
    let mut fields: Vec<Field> = selected.fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new(SEQ, DataType::Int64, false));
    fields.push(Field::new(TIME, DataType::Timestamp(TimeUnit::Nanosecond, None), false));
    for name in hidden {
        let kind = match *name {
            "_partition" => DataType::Int32,
            "_offset" => DataType::Int64,
            ORDER => DataType::Timestamp(TimeUnit::Nanosecond, None),
            _ => DataType::Timestamp(TimeUnit::Microsecond, None),
        };
        fields.push(Field::new(*name, kind, false));
    }
    let mut positions = Vec::new();
    for (i, key) in keys.iter().enumerate() {
        positions.push(key.as_column().unwrap_or(fields.len()));
        if key.as_column().is_none() {
            fields.push(key.field().clone().with_name(format!("_key{i}")));
        }
    }
    (Arc::new(Schema::new(fields)), positions)
}

/// How the columns of messages become rows, checked and typed.
pub struct ShapePlan {
    select: Projection,
    time: EventTime,
    unit: Option<Unit>,
    keys: Vec<Scalar>,
    /// The rows as readers make them.
    pub read: Edge,
    hidden: Vec<&'static str>,
    /// How `seq` is put together.
    pub layout: SeqLayout,
    /// How far the watermark stays behind, in ns.
    pub lateness: i64,
    /// After this long without rows a partition does not hold the watermark back.
    pub idle_timeout: Option<Duration>,
    /// Set where rows are to be sorted by event time.
    pub order: Option<OrderPlan>,
    /// Set where rows tell how far event time had come when they came.
    pub places: Option<OrderPlan>,
    /// Set where messages may cancel or correct others.
    pub corrections: Option<CorrectionsPlan>,
    /// What becomes of records that cannot be used.
    pub on_error: OnError,
}

impl ShapePlan {
    /// Event times, in ns: a null where there is none, unless nothing is asked for the time of a message that corrects.
    fn time_of(&self, selected: &RecordBatch) -> Result<ArrayRef> {
        let times = self.time.time.evaluate(selected)?;
        match &self.corrections {
            // Rows that are put in order of event time need one.
            Some(corrections) if self.order.is_none() => corrections.times(selected, times),
            _ => Ok(times),
        }
    }

    /// Lines for `explain`.
    pub fn details(&self) -> Vec<String> {
        self.corrections.as_ref().map(CorrectionsPlan::details).unwrap_or_default()
    }
}

/// Rows, and the records that could not be used.
pub struct Shaped {
    /// The rows.
    pub data: RecordBatch,
    /// Positions, in the batch of messages, of the records left out, and why.
    pub refused: Vec<(usize, String)>,
}

impl Shaped {
    /// The greatest event time, in ns.
    pub fn latest(&self, plan: &ShapePlan) -> Option<i64> {
        // A message that corrects may have no time: it tells nothing.
        self.times(plan).iter().copied().max().filter(|time| *time > i64::MIN)
    }

    /// The event times, in ns.
    pub fn times(&self, plan: &ShapePlan) -> &[i64] {
        let at = plan.select.schema().fields().len() + 1;
        self.data.column(at).as_primitive::<TimestampNanosecondType>().values()
    }

    /// The `seq` of the rows.
    pub fn seqs(&self, plan: &ShapePlan) -> &[i64] {
        let at = plan.select.schema().fields().len();
        self.data.column(at).as_primitive::<Int64Type>().values()
    }
}

/// Shapes the batches of one reader.
pub struct Shaper {
    plan: Arc<ShapePlan>,
    unit_checked: bool,
}

impl Shaper {
    /// A shaper of the first batch, and of those that follow.
    pub fn new(plan: Arc<ShapePlan>) -> Self {
        Shaper { unit_checked: plan.time.bare.is_none(), plan }
    }

    /// How it shapes.
    pub fn plan(&self) -> &Arc<ShapePlan> {
        &self.plan
    }

    /// Makes rows of `messages`, whose `seq` are given.
    ///
    /// Fails where the first batch shows that integers are times of another unit.
    pub fn shape(&mut self, messages: RecordBatch, seqs: Vec<i64>) -> Result<Shaped> {
        let with_seq = WithSeq { messages, seqs };
        let mut refused = Vec::new();
        let Some(rows) = self.evaluate(with_seq, &mut refused)? else {
            return Ok(Shaped { data: RecordBatch::new_empty(Arc::clone(&self.plan.read.schema)), refused });
        };
        let data = self.assemble(rows)?;
        Ok(Shaped { data, refused })
    }

    fn evaluate(&mut self, mut input: WithSeq, refused: &mut Vec<(usize, String)>) -> Result<Option<Evaluated>> {
        let mut failed: Vec<Refused> = Vec::new();
        let plan = Arc::clone(&self.plan);
        let step = |messages: &RecordBatch| {
            let selected = plan.select.apply(messages)?;
            let time = plan.time_of(&selected)?;
            let keys = plan.keys.iter().map(|key| key.evaluate(&selected)).collect::<Result<Vec<_>>>()?;
            Ok((selected, time, keys))
        };
        let Some((_, (selected, time, keys))) = surviving(input.messages, &mut failed, step)? else {
            refused.extend(failed.into_iter().map(|refused| (refused.row, refused.reason)));
            return Ok(None);
        };
        if !self.unit_checked {
            self.check_unit(&selected)?;
        }
        let mut rows: Vec<usize> = (0..input.seqs.len()).collect();
        if !failed.is_empty() {
            rows.retain(|row| !failed.iter().any(|refused| refused.row == *row));
            input.seqs = rows.iter().map(|row| input.seqs[*row]).collect();
            refused.extend(failed.into_iter().map(|refused| (refused.row, refused.reason)));
        }
        let evaluated = Evaluated { selected, time, keys, seqs: input.seqs };
        self.without_nulls(evaluated, &rows, refused)
    }

    /// Leaves out rows without event time or key.
    fn without_nulls(
        &self,
        rows: Evaluated,
        at: &[usize],
        refused: &mut Vec<(usize, String)>,
    ) -> Result<Option<Evaluated>> {
        let missing = |array: &ArrayRef| array.logical_null_count() > 0;
        if !missing(&rows.time) && !rows.keys.iter().any(missing) {
            return Ok(Some(rows));
        }
        let nulls = |array: &ArrayRef, row: usize| array.logical_nulls().is_some_and(|nulls| nulls.is_null(row));
        let mut kept = Vec::with_capacity(at.len());
        for (row, message) in at.iter().enumerate() {
            let reason = if nulls(&rows.time, row) {
                Some("it has no event time, or one that is out of range")
            } else if rows.keys.iter().any(|key| nulls(key, row)) {
                Some("it has no key")
            } else {
                None
            };
            kept.push(reason.is_none());
            refused.extend(reason.map(|reason| (*message, reason.to_string())));
        }
        refused.sort_by_key(|(row, _)| *row);
        if !kept.contains(&true) {
            return Ok(None);
        }
        let seqs = rows.seqs.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(seq, _)| *seq).collect();
        let kept = BooleanArray::from(kept);
        let filter = |array: &ArrayRef| arrow::compute::filter(array, &kept);
        Ok(Some(Evaluated {
            selected: filter_record_batch(&rows.selected, &kept)?,
            time: filter(&rows.time)?,
            keys: rows.keys.iter().map(filter).collect::<Result<_, _>>()?,
            seqs,
        }))
    }

    fn assemble(&self, rows: Evaluated) -> Result<RecordBatch> {
        let Evaluated { selected, time, keys, seqs } = rows;
        let layout = self.plan.layout;
        let mut columns = selected.columns().to_vec();
        columns.push(Arc::new(Int64Array::from_iter_values(seqs.iter().copied())));
        columns.push(Arc::clone(&time));
        for name in &self.plan.hidden {
            columns.push(match *name {
                ORDER => Arc::clone(&time),
                "_partition" => {
                    Arc::new(Int32Array::from_iter_values(seqs.iter().map(|seq| layout.partition_of(*seq))))
                }
                "_offset" => Arc::new(Int64Array::from_iter_values(seqs.iter().map(|seq| layout.offset_of(*seq)))),
                _ => Arc::new(TimestampMicrosecondArray::from_value(now_microseconds(), seqs.len())),
            });
        }
        for (key, column) in self.plan.keys.iter().zip(keys) {
            if key.as_column().is_none() {
                columns.push(column);
            }
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.plan.read.schema), columns)?)
    }

    fn check_unit(&mut self, selected: &RecordBatch) -> Result<()> {
        let Some((bare, unit)) = &self.plan.time.bare else { return Ok(()) };
        let values = bare.evaluate(selected)?;
        let values: Vec<i64> = values.as_primitive::<Int64Type>().iter().flatten().collect();
        let fits = |unit: Unit| values.iter().any(|value| is_of_our_time(*value, unit));
        // A batch of nulls shows nothing: the next one may.
        self.unit_checked = !values.is_empty();
        if values.is_empty() || fits(*unit) {
            return Ok(());
        }
        let units = [Unit::Seconds, Unit::Milliseconds, Unit::Microseconds, Unit::Nanoseconds];
        let hint = match units.into_iter().find(|unit| fits(*unit)) {
            Some(unit) => format!("write time_unit = \"{unit}\""),
            None => "no unit fits: is `time` the right column?".to_string(),
        };
        let given = if self.plan.unit.is_some() { "as time_unit says" } else { "the default" };
        Err(Error::run(format!(
            "event time {} is not between the years 1990 and 2100 when taken in {unit} ({given}); {hint}",
            values[0]
        )))
    }
}

fn is_of_our_time(value: i64, unit: Unit) -> bool {
    const FROM: i128 = 631_152_000_000_000_000; // 1990-01-01 in ns
    const TO: i128 = 4_102_444_800_000_000_000; // 2100-01-01
    (FROM..TO).contains(&(i128::from(value) * unit.nanoseconds()))
}

/// Microseconds since 1970 UTC.
pub fn now_microseconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

struct WithSeq {
    messages: RecordBatch,
    seqs: Vec<i64>,
}

struct Evaluated {
    selected: RecordBatch,
    time: ArrayRef,
    keys: Vec<ArrayRef>,
    seqs: Vec<i64>,
}
