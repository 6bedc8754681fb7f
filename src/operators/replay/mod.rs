//! Runs an operator over rows that may be replaced and taken back, so that what comes out is as if the wrong rows had
//! never been.
//!
//! Of each key the rows are kept as far back as they may change, and the state of the operator before them. A row
//! behind all others is taken as it comes. Where another one changes, the operator goes over the kept rows of its key
//! again at the end of the epoch, and what comes out otherwise than before is told.

mod side;

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use serde::{Deserialize, Serialize};

use side::Side;

use super::changes::Changes;
use super::{Operator, Output, StateKind};
use crate::batch::Rows;
use crate::error::{Error, Result};
use crate::keys::{KeyIds, KeyReader};
use crate::memory::Heap;
use crate::spec::{DELETE, Edge, INSERT, REPLACE};
use crate::state::Draft;

/// A key is freed of rows that cannot change any more once it has so many of them.
const SETTLED: usize = 64;

/// An operator that can be put back to an earlier state, key by key.
pub trait Replayable: Operator {
    /// Appends the state of a key; nothing where it has none.
    fn save(&self, key: &[u8], out: &mut Vec<u8>);
    /// Forgets the state of a key.
    fn clear(&mut self, key: &[u8]);
}

/// What a row is known by: event time, then its row key.
type Id = (i64, Box<[u8]>);

/// What has come out of rows.
type Made = Vec<(Id, Box<[u8]>)>;

/// A row, and what came out of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    row: Box<[u8]>,
    made: Option<Box<[u8]>>,
    /// Whether it was told since the last restart that nothing has come out of it.
    #[serde(skip)]
    cleared: bool,
}

/// A key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct History {
    /// The state before the first row.
    base: Vec<u8>,
    rows: BTreeMap<Id, Kept>,
}

impl Heap for Kept {
    fn heap_bytes(&self) -> usize {
        self.row.heap_bytes() + self.made.heap_bytes()
    }
}

impl Heap for History {
    fn heap_bytes(&self) -> usize {
        self.base.capacity() + self.rows.heap_bytes()
    }
}

/// The operator `O` over changes.
pub struct Replay<O> {
    operator: O,
    input: Side,
    output: Side,
    keys: KeyReader,
    ids: KeyIds,
    histories: Vec<History>,
    changes: Changes,
    /// Keys that have to be gone over again, and rows that are gone: what had come out of them.
    stale: BTreeMap<u32, Made>,
    /// Rows that came and went in this epoch, which nothing has come out of yet.
    unseen: BTreeMap<u32, Vec<(Id, Kept)>>,
    /// Set after a restart: what had come out of rows since the checkpoint may stand downstream, though nothing comes out of
    /// them any more where epochs end elsewhere.
    doubtful: bool,
    /// Keys of which rows have come in this epoch, while there is doubt.
    touched: BTreeSet<u32>,
    /// How far behind the watermark rows may change.
    reach: i64,
    passed: i64,
    source: u16,
}

impl<O: Replayable> Replay<O> {
    /// `operator` makes rows of `output` of those of `input`.
    pub fn new(operator: O, input: &Edge, output: &Edge) -> Result<Self> {
        Ok(Replay {
            operator,
            input: Side::new(input)?,
            output: Side::new(output)?,
            keys: KeyReader::new(&input.schema, &input.key)?,
            ids: KeyIds::default(),
            histories: Vec::new(),
            changes: Changes::default(),
            stale: BTreeMap::new(),
            unseen: BTreeMap::new(),
            doubtful: false,
            touched: BTreeSet::new(),
            reach: input.reach,
            passed: i64::MIN,
            source: 0,
        })
    }
}

impl<O: Replayable> Operator for Replay<O> {
    fn rows(&mut self, rows: Rows, out: &mut Output) -> Result<()> {
        self.source = rows.source;
        let keys = self.number_keys(&rows.data)?;
        if self.doubtful {
            self.touched.extend(&keys);
        }
        let (ids, bytes) = (self.input.ids(&rows.data)?, self.input.encode(&rows.data)?);
        let ops = rows.data.column(self.input.op).as_string::<i32>();
        let mut behind = Vec::new();
        for (row, (id, bytes)) in ids.into_iter().zip(bytes).enumerate() {
            let key = keys[row];
            let history = &mut self.histories[key as usize];
            let is_behind = history.rows.last_key_value().is_none_or(|(last, _)| *last < id);
            if ops.value(row) == DELETE {
                let Some(gone) = history.rows.remove(&id) else { continue };
                let stale = self.stale.entry(key).or_default();
                match gone.made {
                    Some(made) => stale.push((id, made)),
                    None => self.unseen.entry(key).or_default().push((id, gone)),
                }
            } else if is_behind && !self.stale.contains_key(&key) {
                history.rows.insert(id, Kept { row: bytes, made: None, cleared: false });
                behind.push(row as u32);
            } else {
                self.stale.entry(key).or_default();
                let (made, cleared) = history.rows.remove(&id).map_or((None, false), |kept| (kept.made, kept.cleared));
                history.rows.insert(id, Kept { row: bytes, made, cleared });
            }
        }
        // A key that has changed in between is gone over as a whole.
        behind.retain(|row| !self.stale.contains_key(&keys[*row as usize]));
        if behind.is_empty() {
            return Ok(());
        }
        let data = take_record_batch(&rows.data, &UInt32Array::from(behind))?;
        let mut made = Output::default();
        self.operator.rows(Rows { data, source: rows.source }, &mut made)?;
        for rows in std::mem::take(&mut made.rows) {
            self.note(&rows.data)?;
            out.rows.push(Rows { data: self.output.with_op(&rows.data, |_| INSERT)?, source: rows.source });
        }
        out.held_back += made.held_back;
        out.refused.extend(made.refused);
        Ok(())
    }

    fn watermark(&mut self, time: i64, _out: &mut Output) -> Result<i64> {
        self.passed = time;
        Ok(time)
    }

    fn end_of_epoch(&mut self, out: &mut Output) -> Result<()> {
        let (mut gone, mut changed, mut new) = (Vec::new(), Vec::new(), Vec::new());
        for (key, removed) in std::mem::take(&mut self.stale) {
            gone.extend(removed.into_iter().map(|(_, made)| made));
            let before: BTreeMap<Id, Box<[u8]>> = self.made(key);
            gone.extend(self.made_of_unseen(key)?);
            out.refused.extend(self.go_over(key)?);
            let after = self.made(key);
            for (id, made) in &before {
                match after.get(id) {
                    None => gone.push(made.clone()),
                    Some(other) if other != made => changed.push(other.clone()),
                    Some(_) => {}
                }
            }
            new.extend(after.into_iter().filter(|(id, _)| !before.contains_key(id)).map(|(_, made)| made));
        }
        for (rows, op) in [(gone, DELETE), (changed, REPLACE), (new, INSERT)] {
            if !rows.is_empty() {
                let data = self.output.decode(rows.iter().map(AsRef::as_ref))?;
                out.rows.push(Rows { data: self.output.with_op(&data, |_| op)?, source: self.source });
            }
        }
        self.clear_doubts(out)
    }

    fn set(&mut self, text: &str) -> Result<()> {
        self.operator.set(text)
    }

    fn bytes(&self) -> usize {
        self.operator.bytes() + self.ids.heap_bytes() + self.histories.heap_bytes()
    }

    fn state(&self) -> StateKind {
        let StateKind { name, version } = self.operator.state();
        StateKind { name: format!("{name}, of changes"), version: version + 1 }
    }

    fn begin_snapshot(&mut self, full: bool) {
        self.changes.begin(&self.ids, full);
    }

    fn snapshot(&mut self, keys: usize) -> Result<Option<Draft>> {
        let (histories, ids, operator) = (&self.histories, &self.ids, &self.operator);
        Ok(self.changes.tell(ids, keys, |id, value| write(histories, operator, ids, id, value)))
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let id = self.changes.put_back(&mut self.ids, key);
        self.doubtful = true;
        self.histories.resize_with(self.ids.len(), History::default);
        let read = postcard::from_bytes(value).map_err(|error| Error::run(format!("not the rows of a key: {error}")));
        let (history, now): (History, Vec<u8>) = read?;
        self.histories[id as usize] = history;
        // They are not gone over: what came out of them is told already, by what was set of the operator then.
        put_back(&mut self.operator, key, &now)
    }
}

/// The rows of a key, and the state of the operator behind them.
fn write<O: Replayable>(histories: &[History], operator: &O, ids: &KeyIds, id: u32, out: &mut Vec<u8>) {
    let mut now = Vec::new();
    operator.save(ids.key(id), &mut now);
    // Memory can be written: this does not fail.
    if let Ok(whole) = postcard::to_extend(&(&histories[id as usize], now), std::mem::take(out)) {
        *out = whole;
    }
}

impl<O: Replayable> Replay<O> {
    fn number_keys(&mut self, data: &RecordBatch) -> Result<Vec<u32>> {
        let (ids, mut keys) = (&mut self.ids, Vec::with_capacity(data.num_rows()));
        self.keys.for_each(data, |_, key| keys.push(ids.id(key)))?;
        self.histories.resize_with(ids.len(), History::default);
        let (histories, operator, ids) = (&self.histories, &self.operator, &*ids);
        self.changes.touch(ids, &keys, |id, value| write(histories, operator, ids, id, value));
        for key in keys.iter().copied().collect::<BTreeSet<u32>>() {
            self.settle(key)?;
        }
        Ok(keys)
    }

    /// Notes what has come out, beside the rows it came out of.
    fn note(&mut self, made: &RecordBatch) -> Result<()> {
        let mut keys = Vec::with_capacity(made.num_rows());
        let output = &self.output;
        let reader = KeyReader::new(&made.schema(), &self.key_columns(made)?)?;
        reader.for_each(made, |_, key| keys.push(self.ids.id(key)))?;
        for ((key, id), bytes) in keys.into_iter().zip(output.ids(made)?).zip(output.encode(made)?) {
            if let Some(kept) = self.histories[key as usize].rows.get_mut(&id) {
                kept.made = Some(bytes);
            }
        }
        Ok(())
    }

    /// The columns of the key among those that come out: by their names, which stay.
    fn key_columns(&self, made: &RecordBatch) -> Result<Vec<usize>> {
        let schema = made.schema();
        let names = self.keys.names(&self.input.schema);
        Ok(names.iter().map(|name| schema.index_of(name)).collect::<std::result::Result<_, _>>()?)
    }

    /// What has come out of the rows of a key.
    fn made(&self, key: u32) -> BTreeMap<Id, Box<[u8]>> {
        let rows = &self.histories[key as usize].rows;
        rows.iter().filter_map(|(id, kept)| Some((id.clone(), kept.made.clone()?))).collect()
    }

    /// What would have come out of the rows of a key that came and went in this epoch. Before a restart epochs may have ended
    /// in between, and somebody may have seen it: so it is deleted, too.
    fn made_of_unseen(&mut self, key: u32) -> Result<Vec<Box<[u8]>>> {
        let mut unseen = self.unseen.remove(&key).unwrap_or_default();
        let rows = &mut self.histories[key as usize].rows;
        unseen.retain(|(id, _)| !rows.contains_key(id));
        if unseen.is_empty() {
            return Ok(Vec::new());
        }
        rows.extend(unseen.iter().cloned());
        self.go_over(key)?;
        let rows = &mut self.histories[key as usize].rows;
        Ok(unseen.iter().filter_map(|(id, _)| rows.remove(id)?.made).collect())
    }

    /// Deletes, once after a restart, what may have come out of rows of which nothing comes now.
    fn clear_doubts(&mut self, out: &mut Output) -> Result<()> {
        let mut rows = Vec::new();
        for key in std::mem::take(&mut self.touched) {
            let without = self.histories[key as usize].rows.values_mut().filter(|kept| kept.made.is_none());
            for kept in without.filter(|kept| !kept.cleared) {
                kept.cleared = true;
                rows.push(kept.row.clone());
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let data = self.input.decode(rows.iter().map(AsRef::as_ref))?;
        out.rows.push(Rows { data: self.output.deleted(&data)?, source: self.source });
        Ok(())
    }

    /// Puts the operator back to what it was before the rows of a key, and lets it take them again.
    fn go_over(&mut self, key: u32) -> Result<Vec<crate::spec::Refused>> {
        let name = self.ids.key(key).to_vec();
        let history = &mut self.histories[key as usize];
        history.rows.values_mut().for_each(|kept| kept.made = None);
        put_back(&mut self.operator, &name, &history.base)?;
        if history.rows.is_empty() {
            return Ok(Vec::new());
        }
        let data = self.input.decode(history.rows.values().map(|kept| kept.row.as_ref()))?;
        let mut out = Output::default();
        self.operator.rows(Rows { data, source: self.source }, &mut out)?;
        for rows in &out.rows {
            self.note(&rows.data)?;
        }
        Ok(out.refused)
    }

    /// Rows of a key that cannot change any more become part of the state before the others.
    fn settle(&mut self, key: u32) -> Result<()> {
        let settled = self.passed.saturating_sub(self.reach);
        let history = &self.histories[key as usize];
        let is_many = history.rows.iter().nth(SETTLED).is_some_and(|((time, _), _)| *time < settled);
        if !is_many || self.stale.contains_key(&key) {
            return Ok(());
        }
        let name = self.ids.key(key).to_vec();
        let history = &mut self.histories[key as usize];
        let rest = history.rows.split_off(&(settled, Box::default()));
        let old = std::mem::replace(&mut history.rows, rest);
        let mut now = Vec::new();
        self.operator.save(&name, &mut now);
        put_back(&mut self.operator, &name, &history.base)?;
        let data = self.input.decode(old.values().map(|kept| kept.row.as_ref()))?;
        self.operator.rows(Rows { data, source: self.source }, &mut Output::default())?;
        history.base.clear();
        self.operator.save(&name, &mut history.base);
        put_back(&mut self.operator, &name, &now)
    }
}

fn put_back<O: Replayable>(operator: &mut O, key: &[u8], state: &[u8]) -> Result<()> {
    operator.clear(key);
    if state.is_empty() { Ok(()) } else { operator.restore(key, state) }
}
