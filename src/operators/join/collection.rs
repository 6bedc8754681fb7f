//! What the rows of one side come to, by join key: the newest of each, with what they were before the present epoch.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::aggregates::Place;
use crate::memory::Heap;

/// What a row is known by. It begins with [`WHOLE`], unless its join key has a null: then it belongs to nothing.
pub type Id = Box<[u8]>;
/// See [`Id`].
pub const WHOLE: u8 = 0;

/// The columns of a row, in Arrow's row format.
pub type Columns = Rc<[u8]>;

/// A row, and where it stands among those that are known by the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub place: Place,
    pub columns: Columns,
}

/// The rows of one join key.
pub type Rows = BTreeMap<Id, Kept>;

/// What became of a row in an epoch: what it was, and what it is.
pub type Moved = (Option<Columns>, Option<Columns>);

/// The rows of a side.
#[derive(Default)]
pub struct Collection {
    /// By the number of the join key.
    of_key: Vec<Rows>,
    /// What rows that have changed in this epoch were before it.
    before: BTreeMap<u32, BTreeMap<Id, Option<Columns>>>,
}

impl Heap for Kept {
    fn heap_bytes(&self) -> usize {
        self.columns.heap_bytes()
    }
}

impl Collection {
    /// An estimate of the memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.of_key.heap_bytes()
    }

    /// There are so many join keys.
    pub fn reach(&mut self, keys: usize) {
        self.of_key.resize_with(keys, Rows::new);
    }

    /// A row is there, unless a later one is.
    pub fn put(&mut self, key: u32, id: Id, kept: Kept) {
        let rows = &mut self.of_key[key as usize];
        if rows.get(&id).is_some_and(|other| other.place > kept.place) {
            return;
        }
        let before = rows.insert(id.clone(), kept);
        self.note(key, id, before);
    }

    /// A row is gone.
    pub fn remove(&mut self, key: u32, id: Id) {
        let before = self.of_key[key as usize].remove(&id);
        self.note(key, id, before);
    }

    fn note(&mut self, key: u32, id: Id, before: Option<Kept>) {
        self.before.entry(key).or_default().entry(id).or_insert_with(|| before.map(|kept| kept.columns));
    }

    /// The rows of a join key, as they are.
    pub fn rows(&self, key: u32) -> &Rows {
        &self.of_key[key as usize]
    }

    /// The join keys of which rows have changed in this epoch.
    pub fn changed(&self) -> impl Iterator<Item = u32> + '_ {
        self.before.keys().copied()
    }

    /// The rows of a join key that are not what they were before this epoch.
    pub fn moved(&self, key: u32) -> BTreeMap<Id, Moved> {
        let now = |id: &Id| self.rows(key).get(id).map(|kept| Rc::clone(&kept.columns));
        let moved = |(id, before): (&Id, &Option<Columns>)| (id.clone(), (before.clone(), now(id)));
        let all = self.before.get(&key).into_iter().flatten().map(moved);
        all.filter(|(_, (before, now))| before != now).collect()
    }

    /// The epoch is over.
    pub fn settle(&mut self) {
        self.before.clear();
    }

    /// The rows of a join key, to be written.
    pub fn written(&self, key: u32) -> Vec<Written> {
        let written = |(id, kept): (&Id, &Kept)| (id.to_vec(), kept.place, kept.columns.to_vec());
        self.rows(key).iter().map(written).collect()
    }

    /// Puts back what was written.
    pub fn put_back(&mut self, key: u32, rows: Vec<Written>) {
        let row = |(id, place, columns): Written| (id.into(), Kept { place, columns: columns.into() });
        self.of_key[key as usize] = rows.into_iter().map(row).collect();
    }
}

/// A row in a checkpoint.
pub type Written = (Vec<u8>, Place, Vec<u8>);

/// The rows of both sides of a join key, in a checkpoint.
#[derive(Serialize, Deserialize)]
pub struct State(pub [Vec<Written>; 2]);
