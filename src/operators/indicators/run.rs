//! The running operator: dense numbers for the keys, a column of states for each indicator.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;

use super::Emit;
use crate::batch::Rows;
use crate::error::{Error, Result};
use crate::indicators::Column;
use crate::keys::{KeyIds, KeyReader};
use crate::operators::calls::{Call, times_of, valid};
use crate::operators::changes::Changes;
use crate::operators::replay::Replayable;
use crate::operators::{Operator, Output, StateKind};
use crate::spec::surviving;
use crate::state::Draft;

/// Indicators of the rows of all keys of one worker.
pub struct Indicators {
    pub(super) keys: KeyReader,
    pub(super) ids: KeyIds,
    pub(super) row_ids: Vec<u32>,
    pub(super) changes: Changes,
    pub(super) states: Vec<Box<dyn Column>>,
    pub(super) calls: Arc<Vec<Call>>,
    pub(super) schema: SchemaRef,
    pub(super) visible: usize,
    pub(super) time: Option<usize>,
    pub(super) emit: Emit,
}

impl Operator for Indicators {
    fn rows(&mut self, rows: Rows, out: &mut Output) -> Result<()> {
        let calls = Arc::clone(&self.calls);
        let evaluate = |data: &RecordBatch| calls.iter().map(|call| call.series(data)).collect::<Result<Vec<_>>>();
        let Some((data, series)) = surviving(rows.data, &mut out.refused, evaluate)? else { return Ok(()) };
        self.number_keys(&data)?;
        let computed = self.compute(&data, &series);
        let data = self.emit(data, computed, out)?;
        out.rows.push(Rows { data, source: rows.source });
        Ok(())
    }

    fn state(&self) -> StateKind {
        let calls: Vec<&str> = self.calls.iter().map(|call| call.text.as_str()).collect();
        StateKind { name: format!("indicators {}", calls.join("; ")), version: 1 }
    }

    fn begin_snapshot(&mut self, full: bool) {
        self.changes.begin(&self.ids, full);
    }

    fn snapshot(&mut self, keys: usize) -> Result<Option<Draft>> {
        let states = &self.states;
        Ok(self.changes.tell(&self.ids, keys, |id, value| write(states, id, value)))
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let id = self.ids.id(key);
        let mut rest = value;
        for state in &mut self.states {
            rest = state.restore(id, rest).map_err(Error::run)?;
        }
        if rest.is_empty() { Ok(()) } else { Err(Error::run("there is more than the state of these indicators")) }
    }
}

impl Replayable for Indicators {
    fn save(&self, key: &[u8], out: &mut Vec<u8>) {
        if let Some(id) = self.ids.known(key) {
            write(&self.states, id, out);
        }
    }

    fn clear(&mut self, key: &[u8]) {
        let id = self.ids.id(key);
        self.states.iter_mut().for_each(|state| state.clear(id));
    }
}

impl Indicators {
    fn number_keys(&mut self, data: &RecordBatch) -> Result<()> {
        let (ids, row_ids) = (&mut self.ids, &mut self.row_ids);
        row_ids.clear();
        row_ids.reserve(data.num_rows());
        self.keys.for_each(data, |_, key| row_ids.push(ids.id(key)))?;
        let states = &self.states;
        self.changes.touch(ids, row_ids, |id, value| write(states, id, value));
        Ok(())
    }

    fn compute(&mut self, data: &RecordBatch, series: &[Vec<Float64Array>]) -> Vec<Vec<f64>> {
        let times = times_of(data, self.time);
        let calls = self.calls.iter().zip(&mut self.states).zip(series);
        calls.flat_map(|((call, state), series)| call.update(state.as_mut(), &self.row_ids, &times, series)).collect()
    }

    /// The rows with their new columns; a NaN is a null.
    fn emit(&self, data: RecordBatch, computed: Vec<Vec<f64>>, out: &mut Output) -> Result<RecordBatch> {
        let mut columns = data.columns().to_vec();
        let hidden = columns.split_off(self.visible);
        let mut warm: Option<BooleanBuffer> = None;
        for values in computed {
            let valid = valid(&values);
            if let Some(valid) = &valid {
                warm = Some(warm.map_or_else(|| valid.clone(), |warm| &warm & valid));
            }
            columns.push(Arc::new(Float64Array::new(values.into(), valid.map(NullBuffer::new))) as ArrayRef);
        }
        columns.extend(hidden);
        let whole = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        match warm.filter(|_| self.emit == Emit::Warm) {
            None => Ok(whole),
            Some(warm) => {
                let kept = filter_record_batch(&whole, &BooleanArray::from(warm))?;
                out.held_back += (whole.num_rows() - kept.num_rows()) as u64;
                Ok(kept)
            }
        }
    }
}

/// The state of the key with the number `id`: of one indicator after the other.
fn write(states: &[Box<dyn Column>], id: u32, value: &mut Vec<u8>) {
    states.iter().for_each(|state| state.snapshot(id, value));
}
