//! Keys of rows: their bytes, their hash, their group, the worker that owns them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// State is kept and moved in this many groups of keys, whatever the number of workers.
pub const KEY_GROUPS: u64 = 128;

/// The group of the key with this hash.
pub fn group(hash: u64) -> u8 {
    (hash % KEY_GROUPS) as u8
}

/// The worker, of `workers`, that owns the keys of this group.
pub fn owner_of_group(group: u8, workers: usize) -> usize {
    usize::from(group) % workers
}

/// The worker, of `workers`, that owns the key with this hash.
pub fn owner(hash: u64, workers: usize) -> usize {
    owner_of_group(group(hash), workers)
}

/// Reads the key of each row of a batch as bytes: a single text column as it is, all else in Arrow's row format.
pub struct KeyReader {
    columns: Vec<usize>,
    converter: Option<RowConverter>,
}

impl KeyReader {
    /// A reader of the key made of `columns` of batches of `schema`.
    pub fn new(schema: &arrow::datatypes::Schema, columns: &[usize]) -> Result<Self, ArrowError> {
        let kinds: Vec<&DataType> = columns.iter().map(|i| schema.field(*i).data_type()).collect();
        let converter = match kinds.as_slice() {
            [DataType::Utf8] => None,
            kinds => Some(RowConverter::new(kinds.iter().map(|kind| SortField::new((*kind).clone())).collect())?),
        };
        Ok(KeyReader { columns: columns.to_vec(), converter })
    }

    /// Calls `each` with every row's position and key, in order.
    pub fn for_each(&self, data: &RecordBatch, mut each: impl FnMut(usize, &[u8])) -> Result<(), ArrowError> {
        if self.columns.is_empty() {
            // Without a key all rows belong together.
            (0..data.num_rows()).for_each(|row| each(row, b""));
            return Ok(());
        }
        match &self.converter {
            None => {
                let texts = data.column(self.columns[0]).as_string::<i32>();
                for row in 0..texts.len() {
                    each(row, texts.value(row).as_bytes());
                }
            }
            Some(converter) => {
                let columns: Vec<_> = self.columns.iter().map(|i| Arc::clone(data.column(*i))).collect();
                for (row, key) in converter.convert_columns(&columns)?.iter().enumerate() {
                    each(row, key.as_ref());
                }
            }
        }
        Ok(())
    }
}

impl KeyReader {
    /// The names of the columns, of batches of `schema`.
    pub fn names<'s>(&self, schema: &'s arrow::datatypes::Schema) -> Vec<&'s str> {
        self.columns.iter().map(|at| schema.field(*at).name().as_str()).collect()
    }

    /// The columns that keys were read from.
    pub fn columns<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> Result<Vec<ArrayRef>, ArrowError> {
        match &self.converter {
            _ if self.columns.is_empty() => Ok(Vec::new()),
            // It was read from a column of texts.
            None => Ok(vec![Arc::new(keys.map(|key| std::str::from_utf8(key).ok()).collect::<StringArray>())]),
            Some(converter) => {
                let parser = converter.parser();
                converter.convert_rows(keys.map(|key| parser.parse(key)))
            }
        }
    }
}

/// Gives every key a small dense number, in order of first sight.
#[derive(Default)]
pub struct KeyIds {
    table: HashTable<(u64, u32)>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl KeyIds {
    /// The number of `key`.
    #[inline]
    pub fn id(&mut self, key: &[u8]) -> u32 {
        let hash = xxh3_64(key);
        if let Some(id) = self.find(hash, key) {
            return id;
        }
        let id = self.ends.len() as u32;
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
        self.table.insert_unique(hash, (hash, id), |(hash, _)| *hash);
        id
    }

    /// The number of `key`, where it has one.
    pub fn known(&self, key: &[u8]) -> Option<u32> {
        self.find(xxh3_64(key), key)
    }

    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let found = self.table.find(hash, |(other, id)| *other == hash && self.key(*id) == key);
        found.map(|(_, id)| *id)
    }

    /// The key with the number `id`.
    pub fn key(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start..self.ends[id]]
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// Numbers of keys, each once.
#[derive(Default)]
pub struct KeySet {
    words: Vec<u64>,
    /// Before this word there is nothing.
    first: usize,
}

impl KeySet {
    /// All numbers below `bound`.
    pub fn below(bound: usize) -> Self {
        let mut words = vec![u64::MAX; bound.div_ceil(64)];
        if let Some(last) = words.last_mut().filter(|_| !bound.is_multiple_of(64)) {
            *last = (1 << (bound % 64)) - 1;
        }
        KeySet { words, first: 0 }
    }

    /// Adds numbers below `bound`; not after some were taken out.
    #[inline]
    pub fn add(&mut self, ids: &[u32], bound: usize) {
        if self.words.len() * 64 < bound {
            self.words.resize(bound.div_ceil(64), 0);
        }
        for id in ids {
            self.words[*id as usize / 64] |= 1 << (id % 64);
        }
    }

    /// Takes a number out; whether it was there.
    #[inline]
    pub fn remove(&mut self, id: u32) -> bool {
        let Some(word) = self.words.get_mut(id as usize / 64) else { return false };
        let bit = 1 << (id % 64);
        let was_there = *word & bit != 0;
        *word &= !bit;
        was_there
    }

    /// Takes numbers out, the least first, so many at most.
    pub fn take(&mut self, most: usize, mut each: impl FnMut(u32)) {
        let mut left = most;
        while let Some(word) = self.words.get_mut(self.first) {
            while *word != 0 {
                if left == 0 {
                    return;
                }
                left -= 1;
                each((self.first * 64) as u32 + word.trailing_zeros());
                *word &= *word - 1;
            }
            self.first += 1;
        }
    }

    /// Whether there are none, once they are taken out.
    pub fn is_empty(&self) -> bool {
        self.words[self.first.min(self.words.len())..].iter().all(|word| *word == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_dense_and_stable() {
        let mut ids = KeyIds::default();
        let keys: Vec<String> = (0..10_000).map(|i| format!("K{}", i * 7)).collect();
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(ids.id(key.as_bytes()), i as u32);
        }
        for (i, key) in keys.iter().enumerate() {
            assert_eq!((ids.id(key.as_bytes()), ids.key(i as u32)), (i as u32, key.as_bytes()));
        }
        assert_eq!(ids.id(b""), 10_000);
    }

    #[test]
    fn numbers_come_out_once_and_in_order() {
        let mut set = KeySet::default();
        set.add(&[130, 5, 64, 5, 63, 7], 131);
        assert!(set.remove(7) && !set.remove(7) && !set.remove(1000));
        let mut seen = Vec::new();
        set.take(3, |id| seen.push(id));
        assert!(!set.is_empty());
        set.take(3, |id| seen.push(id));
        assert_eq!((seen, set.is_empty()), (vec![5, 63, 64, 130], true));
    }

    #[test]
    fn all_numbers_below_a_bound() {
        for bound in [0, 1, 63, 64, 65, 200] {
            let (mut set, mut seen) = (KeySet::below(bound), Vec::new());
            set.take(usize::MAX, |id| seen.push(id));
            assert_eq!(seen, (0..bound as u32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_worker_owns_some_keys() {
        let owners: std::collections::BTreeSet<usize> =
            (0..1000u32).map(|i| owner(xxh3_64(&i.to_le_bytes()), 3)).collect();
        assert_eq!(owners.len(), 3);
    }
}
