//! The first rows of each group of all workers: those that were told where they are come together here.
//!
//! A checkpoint holds what was shown. Rows that are only appended need no more than that; of others the workers tell the
//! first ones again when they were put back, before anything is shown.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;

use super::RankPlan;
use super::place::{Place, Places};
use crate::batch::Rows;
use crate::error::{Error, Result};
use crate::memory::Heap;
use crate::operators::by_key::{ByKey, Kept};
use crate::operators::moves::{Moves, Packer};
use crate::operators::{BuildContext, Operator, Output, StateKind};
use crate::spec::{DELETE, Edge, EdgeKind, INSERT, OP};
use crate::state::{Draft, Reader, put_sized};

/// The groups of one worker.
pub struct Merge {
    node: u16,
    state: StateKind,
    limit: usize,
    moves: Moves,
    schema: SchemaRef,
    /// What a row does, where they may be taken back.
    op: Option<usize>,
    packer: Packer,
    places: Places,
    groups: ByKey<Group>,
    /// The groups that have changed in this epoch.
    changed: Vec<u32>,
    /// Groups that were put back.
    restored: Vec<u32>,
}

/// A group.
#[derive(Default)]
struct Group {
    /// What was told, in order.
    shown: Vec<Rc<[u8]>>,
    /// What may be among the first rows.
    rows: BTreeMap<Place, Rc<[u8]>>,
    changed: bool,
    /// It was put back: what was told since the checkpoint may stand downstream, so all of it is told once more.
    retell: bool,
}

/// The row of a group at a rank, and what becomes of it.
struct Move {
    op: &'static str,
    rank: i64,
    row: Rc<[u8]>,
}

impl Heap for Group {
    fn heap_bytes(&self) -> usize {
        self.shown.heap_bytes() + self.rows.heap_bytes()
    }
}

impl Kept for Group {
    fn is_gone(&self) -> bool {
        self.shown.is_empty() && self.rows.is_empty()
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.shown.iter().for_each(|row| put_sized(out, row));
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        let (mut reader, mut shown) = (Reader(bytes), Vec::new());
        while !reader.0.is_empty() {
            shown.push(reader.sized()?.into());
        }
        Ok(Group { shown, ..Group::default() })
    }
}

impl Merge {
    /// Nothing yet, of rows of `edge`.
    pub fn new(plan: &RankPlan, edge: &Edge, context: &BuildContext) -> Result<Self> {
        let op = edge.position(OP).filter(|_| edge.kind == EdgeKind::Changes);
        if edge.kind == EdgeKind::Changes && op.is_none() {
            return Err(Error::run("changes that do not say what they do"));
        }
        Ok(Merge {
            node: context.node,
            state: StateKind { name: plan.state(&format!("first {}", plan.limit), edge), version: 1 },
            limit: plan.limit,
            moves: plan.moves.clone(),
            schema: Arc::clone(&edge.schema),
            op,
            packer: Packer::new(edge.schema.fields().iter().map(AsRef::as_ref))?,
            places: Places::new(&plan.order, edge)?,
            groups: ByKey::new(&edge.schema, &edge.key)?,
            changed: Vec::new(),
            restored: Vec::new(),
        })
    }
}

impl Operator for Merge {
    fn rows(&mut self, rows: Rows, _out: &mut Output) -> Result<()> {
        self.go_on()?;
        let data = rows.data;
        let (numbers, places) = (self.groups.numbers(&data)?, self.places.of(&data)?);
        let ops = self.op.map(|at| data.column(at).as_string::<i32>());
        let bytes = self.packer.pack(self.inserted(&data)?.columns())?;
        for (at, number) in numbers.into_iter().enumerate() {
            self.changes(number);
            let (group, place) = (self.groups.at_mut(number), Place::from(places.row(at).as_ref()));
            if ops.is_some_and(|ops| ops.value(at) == DELETE) {
                group.rows.remove(&place);
            } else {
                group.rows.insert(place, bytes.row(at).as_ref().into());
                if self.op.is_none() && group.rows.len() > self.limit {
                    group.rows.pop_last();
                }
            }
        }
        Ok(())
    }

    fn end_of_epoch(&mut self, out: &mut Output) -> Result<()> {
        self.go_on()?;
        let changed = std::mem::take(&mut self.changed);
        let mut moves = Vec::new();
        for number in &changed {
            let group = self.groups.at_mut(*number);
            group.changed = false;
            let retell = std::mem::take(&mut group.retell);
            let before = moves.len();
            let now: Vec<Rc<[u8]>> = group.rows.values().take(self.limit).cloned().collect();
            for rank in 0..now.len().max(group.shown.len()) {
                let (was, is) = (group.shown.get(rank), now.get(rank));
                if retell || was != is {
                    let told = |op, row: &Rc<[u8]>| Move { op, rank: rank as i64 + 1, row: Rc::clone(row) };
                    moves.extend(was.map(|row| told(DELETE, row)));
                    moves.extend(is.map(|row| told(INSERT, row)));
                }
            }
            if moves.len() > before {
                self.groups.touch(&[*number]);
                self.groups.at_mut(*number).shown = now;
            }
        }
        self.groups.free(&changed);
        if !moves.is_empty() {
            out.rows.push(Rows { data: self.tell(&moves)?, source: self.node });
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.groups.heap_bytes()
    }

    fn state(&self) -> StateKind {
        self.state.clone()
    }

    fn begin_snapshot(&mut self, full: bool) {
        self.groups.begin_snapshot(full);
    }

    fn snapshot(&mut self, keys: usize) -> Result<Option<Draft>> {
        Ok(self.groups.snapshot(keys))
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.restored.push(self.groups.restore(key, value)?);
        Ok(())
    }
}

impl Merge {
    fn changes(&mut self, number: u32) {
        let group = self.groups.at_mut(number);
        if !group.changed {
            group.changed = true;
            self.changed.push(number);
        }
    }

    /// Goes on where it was put back: what was shown is compared with what has been told again, or is all there is.
    fn go_on(&mut self) -> Result<()> {
        for number in std::mem::take(&mut self.restored) {
            self.changes(number);
            self.groups.at_mut(number).retell = true;
            if self.op.is_none() {
                let shown = self.groups.at(number).shown.clone();
                let columns = self.packer.unpack(shown.iter().map(AsRef::as_ref))?;
                let places = self.places.of(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)?;
                let rows = places.iter().map(|place| Place::from(place.as_ref())).zip(shown);
                self.groups.at_mut(number).rows.extend(rows);
            }
        }
        Ok(())
    }

    /// The rows as they are, whatever they do.
    fn inserted(&self, data: &RecordBatch) -> Result<RecordBatch> {
        let Some(op) = self.op else { return Ok(data.clone()) };
        let mut columns = data.columns().to_vec();
        columns[op] = Arc::new(StringArray::from_iter_values((0..data.num_rows()).map(|_| INSERT)));
        Ok(RecordBatch::try_new(data.schema(), columns)?)
    }

    fn tell(&self, moves: &[Move]) -> Result<RecordBatch> {
        let columns = self.packer.unpack(moves.iter().map(|told| told.row.as_ref()))?;
        let ranks: ArrayRef = Arc::new(Int64Array::from_iter_values(moves.iter().map(|told| told.rank)));
        let ops: Vec<_> = moves.iter().map(|told| told.op).collect();
        self.moves.rows(&ops, &[ranks], |at| Arc::clone(&columns[at]))
    }
}
