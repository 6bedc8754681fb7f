//! The running operator: follows messages one by one, and holds what may still be corrected.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, TimestampNanosecondArray};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use arrow::row::{RowConverter, SortField};

use super::CorrectionsPlan;
use super::rows::{Encoded, Format, Told};
use super::said::{Kind, Reason, Said};
use super::trades::Trades;
use crate::batch::Rows;
use crate::error::{Error, Result};
use crate::keys::{KeyIds, KeyReader};
use crate::memory::Heap;
use crate::operators::changes::Changes;
use crate::operators::{Operator, Output, StateKind};
use crate::sources::{ORDER, SEQ, TIME};
use crate::spec::{DELETE, Edge, INSERT, Refused, surviving};
use crate::state::Draft;

/// Trades are forgotten this part of the horizon at a time.
const STEPS: i64 = 64;

/// The trades of all keys of one worker.
pub struct Corrections {
    plan: Arc<CorrectionsPlan>,
    state: StateKind,
    format: Format,
    id: RowConverter,
    place: Columns,
    keys: KeyReader,
    ids: KeyIds,
    row_keys: Vec<u32>,
    trades: Vec<Trades>,
    /// When keys are looked through for trades that nobody can correct any more.
    due: BTreeSet<(i64, u32)>,
    changes: Changes,
    /// The watermark.
    passed: i64,
}

/// The columns that say where a row stands.
struct Columns {
    time: usize,
    order: usize,
    seq: usize,
}

/// Messages, as they are followed.
struct Messages<'d> {
    said: &'d Said,
    ids: arrow::row::Rows,
    targets: arrow::row::Rows,
    rows: Encoded,
    times: &'d [i64],
    order: &'d [i64],
    seqs: &'d [i64],
}

impl Corrections {
    /// Nothing yet; rows of `read` become those of `output`.
    pub fn new(plan: CorrectionsPlan, read: &Edge, output: &Edge) -> Result<Self> {
        let column =
            |name: &str| read.position(name).ok_or_else(|| Error::run(format!("rows of a source without `{name}`")));
        let kinds = plan.id.iter().map(|id| SortField::new(id.field().data_type().clone()));
        Ok(Corrections {
            state: plan.state(read),
            format: Format::new(read, output)?,
            id: RowConverter::new(kinds.collect())?,
            place: Columns { time: column(TIME)?, order: column(ORDER)?, seq: column(SEQ)? },
            keys: KeyReader::new(&read.schema, &read.key)?,
            ids: KeyIds::default(),
            row_keys: Vec::new(),
            trades: Vec::new(),
            due: BTreeSet::new(),
            changes: Changes::default(),
            passed: i64::MIN,
            plan: Arc::new(plan),
        })
    }

    fn number_keys(&mut self, data: &RecordBatch) -> Result<()> {
        let (ids, row_keys) = (&mut self.ids, &mut self.row_keys);
        row_keys.clear();
        row_keys.reserve(data.num_rows());
        self.keys.for_each(data, |_, key| row_keys.push(ids.id(key)))?;
        self.trades.resize_with(self.ids.len(), Trades::default);
        let trades = &self.trades;
        self.changes.touch(&self.ids, &self.row_keys, |id, value| trades[id as usize].write(value));
        Ok(())
    }

    /// Rows, none of them in a place that event time has passed here: who reads a source in parts may not know what the
    /// others have shown.
    fn placed(&self, data: RecordBatch) -> Result<RecordBatch> {
        let order = data.column(self.place.order).as_primitive::<TimestampNanosecondType>().values();
        if order.iter().all(|place| *place >= self.passed) {
            return Ok(data);
        }
        let order = order.iter().map(|place| self.passed.max(*place)).collect::<Vec<i64>>();
        let mut columns = data.columns().to_vec();
        columns[self.place.order] = Arc::new(TimestampNanosecondArray::from(order));
        Ok(RecordBatch::try_new(data.schema(), columns)?)
    }

    fn messages<'d>(&self, data: &'d RecordBatch, said: &'d Said) -> Result<Messages<'d>> {
        let times = |at: usize| data.column(at).as_primitive::<TimestampNanosecondType>().values();
        Ok(Messages {
            ids: self.id.convert_columns(&said.id)?,
            targets: self.id.convert_columns(&said.target)?,
            rows: self.format.encode(data)?,
            times: times(self.place.time),
            order: times(self.place.order),
            seqs: data.column(self.place.seq).as_primitive::<Int64Type>().values(),
            said,
        })
    }

    /// Follows the message in this row, or says why it cannot be.
    fn follow(&mut self, row: usize, messages: &Messages<'_>, told: &mut Told) -> Result<(), Reason> {
        let (time, come, horizon) = (messages.times[row], messages.order[row], self.plan.horizon);
        let since = come.saturating_sub(horizon);
        let key = self.row_keys[row];
        let trades = &mut self.trades[key as usize];
        let kind = messages.said.kind(row);
        if kind == Kind::Trade && time < since {
            return Err(Reason::TooLate);
        }
        if messages.said.has_none(kind, row) {
            return Err(Reason::NoId);
        }
        let (id, target) = (messages.ids.row(row), messages.targets.row(row));
        match kind {
            Kind::Trade => {
                let is_first = trades.first().is_none();
                trades.insert(id.as_ref(), since, (time, messages.seqs[row]), messages.rows.row(row))?;
                if is_first {
                    self.due.insert((time.saturating_add(horizon), key));
                }
                told.come(row, INSERT);
            }
            Kind::Retract => {
                let (was, revision) = trades.retract(target.as_ref(), since)?;
                told.held(was, DELETE, revision);
            }
            Kind::Replace => {
                let new = (!messages.said.is_null(row)).then(|| id.as_ref());
                let (was, now, revision) = trades.replace(target.as_ref(), new, since, &messages.rows.own(row))?;
                told.held(was, DELETE, revision);
                told.held(now, INSERT, revision + 1);
            }
        }
        Ok(())
    }
}

impl Operator for Corrections {
    fn rows(&mut self, rows: Rows, out: &mut Output) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let Some((data, said)) = surviving(rows.data, &mut out.refused, |data| Said::of(&plan, data))? else {
            return Ok(());
        };
        let data = self.placed(data)?;
        self.number_keys(&data)?;
        let messages = self.messages(&data, &said)?;
        let mut told = Told::default();
        for row in 0..data.num_rows() {
            if let Err(reason) = self.follow(row, &messages, &mut told) {
                let kind = said.kind(row);
                out.unmatched += u64::from(kind != Kind::Trade && reason.is_unmatched());
                let reason = plan.words(reason, kind, &said, row);
                out.refused.push(Refused { row, data: data.slice(row, 1), reason });
            }
        }
        if !told.is_empty() {
            out.rows.push(Rows { data: self.format.assemble(&data, &told)?, source: rows.source });
        }
        Ok(())
    }

    fn watermark(&mut self, time: i64, _out: &mut Output) -> Result<i64> {
        self.passed = time;
        let horizon = self.plan.horizon;
        while let Some((_, key)) = self.due.first().copied().filter(|(due, _)| *due < time) {
            self.due.pop_first();
            let trades = &self.trades;
            self.changes.touch(&self.ids, &[key], |id, value| trades[id as usize].write(value));
            let trades = &mut self.trades[key as usize];
            trades.forget(time.saturating_sub(horizon));
            // A little at a time: each look makes the key part of the next checkpoint.
            let next = |first: i64| first.saturating_add(horizon).max(time.saturating_add(horizon / STEPS));
            match trades.first() {
                Some(first) => drop(self.due.insert((next(first), key))),
                None => self.changes.forget(&mut self.ids, key),
            }
        }
        Ok(time)
    }

    fn bytes(&self) -> usize {
        self.ids.heap_bytes() + self.trades.heap_bytes() + self.due.heap_bytes()
    }

    fn state(&self) -> StateKind {
        self.state.clone()
    }

    fn begin_snapshot(&mut self, full: bool) {
        self.changes.begin(&self.ids, full);
    }

    fn snapshot(&mut self, keys: usize) -> Result<Option<Draft>> {
        let trades = &self.trades;
        Ok(self.changes.tell(&self.ids, keys, |id, value| trades[id as usize].write(value)))
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let key = self.changes.put_back(&mut self.ids, key);
        self.trades.resize_with(self.ids.len(), Trades::default);
        let read = Trades::read(value).map_err(|error| Error::run(format!("not the trades of a key: {error}")))?;
        self.due.extend(read.first().map(|first| (first.saturating_add(self.plan.horizon), key)));
        self.trades[key as usize] = read;
        Ok(())
    }
}
