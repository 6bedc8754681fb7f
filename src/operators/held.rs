//! Rows that are held until event time has come to their places in the order of event time
//! ([`ORDER`](crate::sources::ORDER)). All that are held are part of every checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, TimestampNanosecondArray, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{SortColumn, concat_batches, filter_record_batch, lexsort_to_indices, take_record_batch};
use arrow::datatypes::TimestampNanosecondType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::Result;
use crate::keys::{KeyReader, group};
use crate::state::Draft;

/// Rows that wait.
pub struct Held {
    batches: Vec<Batch>,
    /// The column of their places, ...
    order: usize,
    /// ... and the columns by which they leave in order; that one is the first.
    by: Vec<usize>,
    keys: KeyReader,
    /// The key groups of which rows were held at the last checkpoint.
    stored: BTreeSet<u8>,
}

/// Rows as they came.
struct Batch {
    /// The first place among them: most batches wait whole.
    least: i64,
    rows: RecordBatch,
}

impl Held {
    /// None yet. Rows with these `keys` leave in the order of the columns `by`, of which the first holds their places.
    pub fn new(keys: KeyReader, by: Vec<usize>) -> Self {
        Held { batches: Vec::new(), order: by[0], by, keys, stored: BTreeSet::new() }
    }

    /// The places of rows.
    pub fn places<'r>(&self, rows: &'r RecordBatch) -> &'r [i64] {
        rows.column(self.order).as_primitive::<TimestampNanosecondType>().values()
    }

    /// Holds rows. None gets a place before `passed`: that is where rows have left.
    pub fn hold(&mut self, mut rows: RecordBatch, passed: i64) -> Result<()> {
        // A reader that reads its source in parts may not know what the others have shown.
        if self.places(&rows).iter().any(|place| *place < passed) {
            let places = self.places(&rows).iter().map(|place| passed.max(*place)).collect();
            rows = with_places(&rows, self.order, places)?;
        }
        self.push(rows);
        Ok(())
    }

    fn push(&mut self, rows: RecordBatch) {
        let least = self.places(&rows).iter().copied().min();
        self.batches.extend(least.map(|least| Batch { least, rows }));
    }

    /// Takes out the rows with places before `time`, in order; nothing where there are none.
    pub fn passed(&mut self, time: i64) -> Result<Option<RecordBatch>> {
        let mut passed = Vec::new();
        for Batch { least, rows } in std::mem::take(&mut self.batches) {
            if least >= time {
                self.batches.push(Batch { least, rows });
                continue;
            }
            let before = BooleanBuffer::collect_bool(rows.num_rows(), |row| self.places(&rows)[row] < time);
            self.push(filter_record_batch(&rows, &(!&before).into())?);
            passed.push(filter_record_batch(&rows, &before.into())?);
        }
        let Some(first) = passed.first() else { return Ok(None) };
        let all = concat_batches(&first.schema(), &passed)?;
        let sort = |at: &usize| SortColumn { values: Arc::clone(all.column(*at)), options: None };
        let order = lexsort_to_indices(&self.by.iter().map(sort).collect::<Vec<_>>(), None)?;
        Ok(Some(take_record_batch(&all, &order)?))
    }

    /// Adds all that is held to the state, under `name` in each group of keys.
    pub fn tell(&mut self, name: &[u8], draft: &mut Draft) -> Result<()> {
        let groups = self.groups()?;
        self.stored.iter().filter(|group| !groups.contains_key(group)).for_each(|group| draft.remove(*group, name));
        self.stored = groups.keys().copied().collect();
        for (group, batches) in groups {
            let ipc = to_ipc(&batches)?;
            draft.put(group, name, |value| value.extend_from_slice(&ipc));
        }
        Ok(())
    }

    /// Puts back what [`tell`](Self::tell) has told of a group.
    pub fn restore(&mut self, value: &[u8]) -> Result<()> {
        for rows in StreamReader::try_new(value, None)? {
            self.push(rows?);
        }
        self.stored.extend(self.groups()?.into_keys());
        Ok(())
    }

    /// The memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.batches.iter().map(|batch| batch.rows.get_array_memory_size()).sum()
    }

    /// The rows that wait, by the group of their key.
    fn groups(&self) -> Result<BTreeMap<u8, Vec<RecordBatch>>> {
        let mut groups: BTreeMap<u8, Vec<RecordBatch>> = BTreeMap::new();
        for Batch { rows, .. } in &self.batches {
            let mut indices: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
            self.keys.for_each(rows, |row, key| indices.entry(group(xxh3_64(key))).or_default().push(row as u32))?;
            for (group, indices) in indices {
                groups.entry(group).or_default().push(take_record_batch(rows, &UInt32Array::from(indices))?);
            }
        }
        Ok(groups)
    }
}

/// Rows with other places, which stand in the column `order`.
pub fn with_places(rows: &RecordBatch, order: usize, places: Vec<i64>) -> Result<RecordBatch> {
    let mut columns = rows.columns().to_vec();
    columns[order] = Arc::new(TimestampNanosecondArray::from(places));
    Ok(RecordBatch::try_new(rows.schema(), columns)?)
}

fn to_ipc(batches: &[RecordBatch]) -> Result<Vec<u8>> {
    let Some(first) = batches.first() else { return Ok(Vec::new()) };
    let mut writer = StreamWriter::try_new(Vec::new(), &first.schema())?;
    for batch in batches {
        writer.write(batch)?;
    }
    Ok(writer.into_inner()?)
}
