//! Keys of rows: their bytes, their hash, their group, the worker that owns them.

mod ids;
mod set;

pub use ids::KeyIds;
pub use set::KeySet;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

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

#[cfg(test)]
mod tests {
    use super::*;
    use xxhash_rust::xxh3::xxh3_64;

    #[test]
    fn every_worker_owns_some_keys() {
        let owners: std::collections::BTreeSet<usize> =
            (0..1000u32).map(|i| owner(xxh3_64(&i.to_le_bytes()), 3)).collect();
        assert_eq!(owners.len(), 3);
    }
}
