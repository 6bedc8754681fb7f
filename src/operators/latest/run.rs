//! The running operator: notes the newest row of each key while an epoch lasts, and tells at its end what that has moved.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampNanosecondArray};
use arrow::compute::interleave;
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use serde::{Deserialize, Serialize};

use super::LatestPlan;
use crate::aggregates::Place;
use crate::batch::Rows;
use crate::error::{Error, Result};
use crate::memory::Heap;
use crate::operators::by_key::{ByKey, Kept};
use crate::operators::moves::Packer;
use crate::operators::{BuildContext, Operator, Output, StateKind};
use crate::sources::lanes::Lanes;
use crate::spec::{DELETE, INSERT};
use crate::state::Draft;

/// The newest rows of the keys of one worker.
pub struct Latest {
    plan: LatestPlan,
    /// Whose rows these are: the position of the node in the plan.
    node: u16,
    lanes: Arc<Lanes>,
    packer: Packer,
    newest: ByKey<Newest>,
    /// The rows of this epoch.
    epoch: Vec<RecordBatch>,
    /// The keys that have some.
    changed: Vec<u32>,
    /// Keys that were put back.
    restored: Vec<u32>,
    /// When keys expire; some may have had rows since.
    expires: BTreeSet<(i64, u32)>,
    /// The watermark.
    passed: i64,
}

/// A key.
#[derive(Default)]
struct Newest {
    row: Option<Told>,
    /// What an epoch has made of it until now.
    next: Option<Next>,
    /// When it is looked whether it has expired.
    looked_at: Option<i64>,
}

/// A row that was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    /// Where the newest row stands.
    place: Place,
    /// How far event time had come with the rows of the key.
    heard: i64,
    /// Event time of the row that was told: those behind it may have been equal to it.
    time: i64,
    row: Box<[u8]>,
}

impl Told {
    fn shown(&self) -> (i64, &[u8]) {
        (self.time, &self.row)
    }
}

/// What an epoch makes of a key.
#[derive(Clone, Copy)]
struct Next {
    place: Place,
    heard: i64,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    /// Its newest row: in which batch of the epoch, and where in it.
    Row(usize, usize),
    /// It is deleted.
    Deleted,
    /// All rows were older than the one it has.
    Older,
}

/// What is told.
struct Move {
    op: &'static str,
    time: i64,
    row: Box<[u8]>,
}

impl Heap for Newest {
    fn heap_bytes(&self) -> usize {
        self.row.as_ref().map_or(0, |told| told.row.heap_bytes())
    }
}

impl Kept for Newest {
    fn is_gone(&self) -> bool {
        self.row.is_none()
    }

    fn write(&self, out: &mut Vec<u8>) {
        // Memory can be written: this does not fail.
        if let Some(Ok(whole)) = self.row.as_ref().map(|row| postcard::to_extend(row, std::mem::take(out))) {
            *out = whole;
        }
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        let read = postcard::from_bytes(bytes).map_err(|error| Error::run(format!("not the newest row: {error}")))?;
        Ok(Newest { row: Some(read), ..Newest::default() })
    }
}

impl Latest {
    /// Nothing yet.
    pub fn new(plan: LatestPlan, context: &BuildContext) -> Result<Self> {
        let edge = &plan.brought.edge;
        Ok(Latest {
            node: context.node,
            lanes: Arc::clone(&context.lanes),
            packer: Packer::new(plan.shown.iter().map(|at| edge.schema.field(*at)))?,
            newest: ByKey::new(&edge.schema, &edge.key)?,
            epoch: Vec::new(),
            changed: Vec::new(),
            restored: Vec::new(),
            expires: BTreeSet::new(),
            passed: i64::MIN,
            plan,
        })
    }
}

impl Operator for Latest {
    fn rows(&mut self, rows: Rows, _out: &mut Output) -> Result<()> {
        let keys = self.newest.numbers(&rows.data)?;
        let times =
            |at: Option<usize>| at.map(|at| rows.data.column(at).as_primitive::<TimestampNanosecondType>().values());
        let (times, order) = (times(self.plan.time), times(self.plan.order));
        let seqs = self.plan.seq.map(|at| rows.data.column(at).as_primitive::<Int64Type>().values());
        let ops = self.plan.op.map(|at| rows.data.column(at).as_string::<i32>());
        let batch = self.epoch.len();
        for (row, key) in keys.into_iter().enumerate() {
            let time = times.map_or(0, |times| times[row]);
            let at = seqs.map_or(0, |seqs| self.lanes.partition_first(rows.source, seqs[row]));
            let is_deleted = ops.is_some_and(|ops| ops.value(row) == DELETE);
            let next = Next {
                place: Place { time, source: rows.source, at },
                heard: order.map_or(time, |order| order[row].max(time)),
                what: if is_deleted { What::Deleted } else { What::Row(batch, row) },
            };
            self.take(key, next);
        }
        self.epoch.push(rows.data);
        Ok(())
    }

    fn watermark(&mut self, time: i64, _out: &mut Output) -> Result<i64> {
        // Where all has ended nothing expires any more.
        self.passed = if time == i64::MAX { self.passed } else { time };
        Ok(time)
    }

    fn end_of_epoch(&mut self, out: &mut Output) -> Result<()> {
        let mut keys = std::mem::take(&mut self.changed);
        keys.extend(self.due());
        let mut moves = self.retold();
        if keys.is_empty() && moves.is_empty() {
            return Ok(());
        }
        keys.sort_unstable();
        keys.dedup();
        self.newest.touch(&keys);
        moves.extend(self.move_on(&keys)?);
        self.newest.free(&keys);
        if !moves.is_empty() {
            out.rows.push(Rows { data: self.tell(&moves)?, source: self.node });
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.newest.heap_bytes() + self.expires.heap_bytes()
    }

    fn state(&self) -> StateKind {
        let (plan, schema) = (&self.plan, &self.plan.brought.edge.schema);
        let columns =
            plan.shown.iter().map(|at| format!("{} {}", schema.field(*at).name(), schema.field(*at).data_type()));
        let columns: Vec<String> = columns.collect();
        let expire = plan.expire.map_or(String::new(), |expire| format!(" for {expire} ns"));
        StateKind { name: format!("latest by {}{expire}: {}", plan.by(), columns.join(", ")), version: 1 }
    }

    fn begin_snapshot(&mut self, full: bool) {
        self.newest.begin_snapshot(full);
    }

    fn snapshot(&mut self, keys: usize) -> Result<Option<Draft>> {
        Ok(self.newest.snapshot(keys))
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let key = self.newest.restore(key, value)?;
        self.restored.push(key);
        let heard = self.newest.at(key).row.as_ref().map(|row| row.heard);
        heard.into_iter().for_each(|heard| self.look_at(key, heard));
        Ok(())
    }
}

impl Latest {
    /// What was put back, once more: what was told since the checkpoint may stand downstream, and may be over before the
    /// first epoch ends that is told of now.
    fn retold(&mut self) -> Vec<Move> {
        let mut moves = Vec::new();
        for key in std::mem::take(&mut self.restored) {
            if let Some(Told { time, row, .. }) = &self.newest.at(key).row {
                moves.extend([DELETE, INSERT].map(|op| Move { op, time: *time, row: row.clone() }));
            }
        }
        moves
    }

    /// Takes a row of this epoch.
    fn take(&mut self, key: u32, next: Next) {
        let newest = self.newest.at_mut(key);
        if newest.next.is_none() {
            self.changed.push(key);
        }
        let told = newest.row.as_ref().map(|told| Next { place: told.place, heard: told.heard, what: What::Older });
        let Some(known) = newest.next.or(told) else {
            newest.next = Some(next);
            return;
        };
        // What had expired before this row is not there any more, whenever that is noticed.
        let has_expired = self.plan.expire.is_some_and(|expire| known.heard.saturating_add(expire) <= next.heard);
        let counts = self.plan.op.is_some() || has_expired || next.place > known.place;
        let heard = known.heard.max(next.heard);
        newest.next = Some(Next { heard, ..if counts { next } else { known } });
    }

    /// The keys of which it is to be looked whether they have expired.
    fn due(&mut self) -> Vec<u32> {
        let mut due = Vec::new();
        while let Some((time, key)) = self.expires.first().copied().filter(|(time, _)| *time <= self.passed) {
            self.expires.pop_first();
            let newest = self.newest.at_mut(key);
            if newest.looked_at == Some(time) {
                newest.looked_at = None;
                due.push(key);
            }
        }
        due
    }

    /// It is to be looked whether the key has expired: not before it can have.
    fn look_at(&mut self, key: u32, heard: i64) {
        let Some(expire) = self.plan.expire else { return };
        let newest = self.newest.at_mut(key);
        if newest.looked_at.is_none() {
            let time = heard.saturating_add(expire);
            newest.looked_at = Some(time);
            self.expires.insert((time, key));
        }
    }

    /// Makes of these keys what the epoch makes of them; returns what that moves.
    fn move_on(&mut self, keys: &[u32]) -> Result<Vec<Move>> {
        let next: Vec<Option<Next>> = keys.iter().map(|key| self.newest.at_mut(*key).next.take()).collect();
        let rows = self.newest_rows(&next)?;
        let (mut rows, mut moves) = (rows.iter().flat_map(|rows| rows.iter()), Vec::new());
        for (key, next) in keys.iter().zip(next) {
            let old = self.newest.at_mut(*key).row.take();
            let mut new = match next {
                None => old.clone(),
                Some(Next { what: What::Deleted, .. }) => None,
                Some(Next { what: What::Older, heard, .. }) => old.clone().map(|old| Told { heard, ..old }),
                Some(Next { what: What::Row(..), place, heard }) => rows.next().map(|row| {
                    let equal = old.as_ref().filter(|old| *old.row == *row.as_ref());
                    Told { place, heard, time: equal.map_or(place.time, |old| old.time), row: row.as_ref().into() }
                }),
            };
            new = new.filter(|new| !self.has_expired(new.heard));
            if old.as_ref().map(Told::shown) != new.as_ref().map(Told::shown) {
                let inserted = new.as_ref().map(|new| Move { op: INSERT, time: new.time, row: new.row.clone() });
                moves.extend(old.map(|Told { time, row, .. }| Move { op: DELETE, time, row }));
                moves.extend(inserted);
            }
            let heard = new.as_ref().map(|new| new.heard);
            self.newest.at_mut(*key).row = new;
            heard.into_iter().for_each(|heard| self.look_at(*key, heard));
        }
        Ok(moves)
    }

    fn has_expired(&self, heard: i64) -> bool {
        self.plan.expire.is_some_and(|expire| heard.saturating_add(expire) <= self.passed)
    }

    /// The bytes of the newest rows of the epoch, in the order of their keys.
    fn newest_rows(&mut self, next: &[Option<Next>]) -> Result<Option<arrow::row::Rows>> {
        let row = |next: &Next| if let What::Row(batch, row) = next.what { Some((batch, row)) } else { None };
        let rows: Vec<(usize, usize)> = next.iter().flatten().filter_map(row).collect();
        let epoch = std::mem::take(&mut self.epoch);
        if rows.is_empty() {
            return Ok(None);
        }
        let column = |at: &usize| {
            let batches: Vec<&dyn Array> = epoch.iter().map(|data| data.column(*at).as_ref()).collect();
            interleave(&batches, &rows)
        };
        let columns: Vec<ArrayRef> = self.plan.shown.iter().map(column).collect::<Result<_, _>>()?;
        Ok(Some(self.packer.pack(&columns)?))
    }

    fn tell(&self, moves: &[Move]) -> Result<RecordBatch> {
        let columns = self.packer.unpack(moves.iter().map(|told| told.row.as_ref()))?;
        let times = TimestampNanosecondArray::from_iter_values(moves.iter().map(|told| told.time));
        let times: ArrayRef = Arc::new(times);
        let column = |at: usize| {
            let shown = self.plan.shown.iter().position(|shown| *shown == at);
            // What is told and not compared is event time.
            Arc::clone(shown.map_or(&times, |shown| &columns[shown]))
        };
        self.plan.moves.rows(&moves.iter().map(|told| told.op).collect::<Vec<_>>(), &[], column)
    }
}
