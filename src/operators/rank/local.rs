//! Rows that may be taken back, where they are: all of them in order, and of each group the first ones here, which are told
//! as they move.
//!
//! What it has told is not part of a checkpoint: when it was put back it tells all of it again, in the first epoch, to [`merge`]
//! steps that have heard of none yet. So rows may come to other workers than before.
//!
//! [`merge`]: super::merge

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;

use super::RankPlan;
use super::index::Index;
use super::place::{Place, Places};
use crate::batch::Rows;
use crate::error::{Error, Result};
use crate::keys::{KeyIds, KeyReader};
use crate::memory::{Heap, of_vec};
use crate::operators::by_key::{ByKey, Kept};
use crate::operators::moves::Packer;
use crate::operators::{BuildContext, Operator, Output, StateKind};
use crate::spec::{DELETE, Edge, INSERT, OP};
use crate::state::Draft;

/// Rows that were put back are put in order so many at a time.
const AT_ONCE: usize = 8192;

/// The rows of one worker.
pub struct Local {
    node: u16,
    state: StateKind,
    limit: usize,
    schema: SchemaRef,
    op: usize,
    packer: Packer,
    places: Places,
    by_group: KeyReader,
    /// By what they are known by.
    rows: ByKey<Row>,
    /// Rows of which some were deleted in this epoch.
    deleted: Vec<u32>,
    /// Rows that were put back and are not in order yet.
    restored: Vec<u32>,
    groups: KeyIds,
    firsts: Vec<Firsts>,
    /// The groups that have changed in this epoch.
    changed: Vec<u32>,
    index: Index,
}

/// A row, while there is one.
#[derive(Default)]
struct Row {
    bytes: Option<Rc<[u8]>>,
    group: u32,
    place: Place,
}

/// The first rows of a group, as they were told, by their numbers.
#[derive(Default)]
struct Firsts {
    told: BTreeMap<u32, Rc<[u8]>>,
    /// How many rows there are.
    rows: usize,
    changed: bool,
}

impl Heap for Row {
    fn heap_bytes(&self) -> usize {
        self.bytes.heap_bytes() + self.place.heap_bytes()
    }
}

impl Kept for Row {
    fn is_gone(&self) -> bool {
        self.bytes.is_none()
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.bytes.as_deref().unwrap_or_default());
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        Ok(Row { bytes: Some(bytes.into()), ..Row::default() })
    }
}

impl Local {
    /// Nothing yet, of rows of `edge`.
    pub fn new(plan: &RankPlan, edge: &Edge, context: &BuildContext) -> Result<Self> {
        let op = edge.position(OP).ok_or_else(|| Error::run("changes that do not say what they do"))?;
        Ok(Local {
            node: context.node,
            state: StateKind { name: plan.state("rows", edge), version: 1 },
            limit: plan.limit,
            schema: Arc::clone(&edge.schema),
            op,
            packer: Packer::new(edge.schema.fields().iter().map(AsRef::as_ref))?,
            places: Places::new(&plan.order, edge)?,
            by_group: KeyReader::new(&edge.schema, &plan.brought.edge.key)?,
            rows: ByKey::new(&edge.schema, &edge.key)?,
            deleted: Vec::new(),
            restored: Vec::new(),
            groups: KeyIds::default(),
            firsts: Vec::new(),
            changed: Vec::new(),
            index: Index::default(),
        })
    }
}

impl Operator for Local {
    fn rows(&mut self, rows: Rows, _out: &mut Output) -> Result<()> {
        self.put_in_order()?;
        let data = rows.data;
        let numbers = self.rows.numbers(&data)?;
        self.rows.touch(&numbers);
        let bytes = self.packer.pack(self.with_ops(&data, |_| INSERT)?.columns())?;
        let (groups, places) = (self.groups(&data)?, self.places.of(&data)?);
        let ops = data.column(self.op).as_string::<i32>();
        for (at, number) in numbers.into_iter().enumerate() {
            self.take_out(number);
            if ops.value(at) == DELETE {
                self.deleted.push(number);
                self.changes(groups[at]);
            } else {
                let (bytes, place) = (bytes.row(at), Place::from(places.row(at).as_ref()));
                self.put(number, Row { bytes: Some(bytes.as_ref().into()), group: groups[at], place });
            }
        }
        Ok(())
    }

    fn end_of_epoch(&mut self, out: &mut Output) -> Result<()> {
        self.put_in_order()?;
        let mut groups = std::mem::take(&mut self.changed);
        if groups.is_empty() {
            return Ok(());
        }
        groups.sort_unstable();
        let moves = self.moves(&groups);
        self.forget(&groups);
        if !moves.is_empty() {
            let columns = self.packer.unpack(moves.iter().map(|(_, row)| row.as_ref()))?;
            let data = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
            out.rows.push(Rows { data: self.with_ops(&data, |at| moves[at].0)?, source: self.node });
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let told = of_vec(&self.firsts, |firsts| firsts.told.heap_bytes());
        self.rows.heap_bytes() + self.groups.heap_bytes() + told + self.index.heap_bytes()
    }

    fn state(&self) -> StateKind {
        self.state.clone()
    }

    fn begin_snapshot(&mut self, full: bool) {
        self.rows.begin_snapshot(full);
    }

    fn snapshot(&mut self, keys: usize) -> Result<Option<Draft>> {
        Ok(self.rows.snapshot(keys))
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.restored.push(self.rows.restore(key, value)?);
        Ok(())
    }
}

impl Local {
    /// The numbers of the groups of rows.
    fn groups(&mut self, data: &RecordBatch) -> Result<Vec<u32>> {
        let (ids, mut groups) = (&mut self.groups, Vec::with_capacity(data.num_rows()));
        self.by_group.for_each(data, |_, group| groups.push(ids.id(group)))?;
        self.firsts.resize_with(ids.len(), Firsts::default);
        Ok(groups)
    }

    /// The first rows of a group may be others now.
    fn changes(&mut self, group: u32) {
        let firsts = &mut self.firsts[group as usize];
        if !firsts.changed {
            firsts.changed = true;
            self.changed.push(group);
        }
    }

    fn take_out(&mut self, number: u32) {
        let Row { bytes: Some(_), group, place } = std::mem::take(self.rows.at_mut(number)) else { return };
        self.index.take(group, place, number);
        self.firsts[group as usize].rows -= 1;
        self.changes(group);
    }

    fn put(&mut self, number: u32, row: Row) {
        self.index.put(row.group, row.place.clone(), number);
        self.firsts[row.group as usize].rows += 1;
        self.changes(row.group);
        *self.rows.at_mut(number) = row;
    }

    /// Puts the rows in order that were put back.
    fn put_in_order(&mut self) -> Result<()> {
        for numbers in std::mem::take(&mut self.restored).chunks(AT_ONCE) {
            let rows: Vec<Rc<[u8]>> = numbers.iter().filter_map(|number| self.rows.at(*number).bytes.clone()).collect();
            let data =
                RecordBatch::try_new(Arc::clone(&self.schema), self.packer.unpack(rows.iter().map(AsRef::as_ref))?)?;
            let (groups, places) = (self.groups(&data)?, self.places.of(&data)?);
            for (at, (number, bytes)) in numbers.iter().zip(rows).enumerate() {
                let place = Place::from(places.row(at).as_ref());
                self.put(*number, Row { bytes: Some(bytes), group: groups[at], place });
            }
            self.index.seal();
        }
        Ok(())
    }

    /// How the first rows of these groups have moved: what is deleted stands before what is inserted.
    fn moves(&mut self, groups: &[u32]) -> Vec<(&'static str, Rc<[u8]>)> {
        let (mut deleted, mut inserted) = (Vec::new(), Vec::new());
        let (rows, told) = (&self.rows, &mut self.firsts);
        self.index.seal();
        self.index.firsts(groups, self.limit, |group, firsts| {
            let firsts = firsts.into_iter().filter_map(|row| Some((row, rows.at(row).bytes.clone()?)));
            let now: BTreeMap<u32, Rc<[u8]>> = firsts.collect();
            let before = &mut told[group as usize].told;
            let lacks = |of: &BTreeMap<u32, Rc<[u8]>>, (number, row): &(&u32, &Rc<[u8]>)| of.get(number) != Some(row);
            deleted.extend(before.iter().filter(|row| lacks(&now, row)).map(|(_, row)| (DELETE, Rc::clone(row))));
            inserted.extend(now.iter().filter(|row| lacks(before, row)).map(|(_, row)| (INSERT, Rc::clone(row))));
            *before = now;
        });
        deleted.extend(inserted);
        deleted
    }

    /// Lets go of rows that were deleted and did not come again, and of groups without rows.
    fn forget(&mut self, groups: &[u32]) {
        let mut deleted = std::mem::take(&mut self.deleted);
        deleted.sort_unstable();
        deleted.dedup();
        self.rows.free(&deleted);
        for group in groups {
            self.firsts[*group as usize].changed = false;
            if self.firsts[*group as usize].rows == 0 {
                self.groups.free(*group);
            }
        }
    }

    fn with_ops(&self, data: &RecordBatch, op: impl Fn(usize) -> &'static str) -> Result<RecordBatch> {
        let mut columns = data.columns().to_vec();
        columns[self.op] = Arc::new(StringArray::from_iter_values((0..data.num_rows()).map(op))) as ArrayRef;
        Ok(RecordBatch::try_new(data.schema(), columns)?)
    }
}
