//! The running operator: dense numbers for the keys, a column of states for each indicator.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;

use super::Emit;
use super::idle::Idle;
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
    /// Set where keys are forgotten of which no rows come.
    pub(super) idle: Option<Idle>,
}

impl Operator for Indicators {
    fn rows(&mut self, rows: Rows, out: &mut Output) -> Result<()> {
        let calls = Arc::clone(&self.calls);
        let evaluate = |data: &RecordBatch| calls.iter().map(|call| call.series(data)).collect::<Result<Vec<_>>>();
        let Some((data, series)) = surviving(rows.data, &mut out.refused, evaluate)? else { return Ok(()) };
        self.number_keys(&data)?;
        let back = self.idle.as_mut().map_or(Vec::new(), |idle| idle.hear(&data, &self.row_ids));
        let computed = self.compute(&data, &series, &back);
        let data = self.emit(data, computed, out)?;
        out.rows.push(Rows { data, source: rows.source });
        Ok(())
    }

    fn watermark(&mut self, time: i64, _out: &mut Output) -> Result<i64> {
        self.idle.iter_mut().for_each(|idle| idle.pass(time));
        Ok(time)
    }

    fn end_of_epoch(&mut self, _out: &mut Output) -> Result<()> {
        for id in self.idle.as_mut().map_or(Vec::new(), Idle::expired) {
            let kept = (&self.states, &self.idle);
            self.changes.touch(&self.ids, &[id], |id, value| write(kept, id, value));
            self.states.iter_mut().for_each(|state| state.clear(id));
            self.idle.iter_mut().for_each(|idle| idle.forget(id));
            self.changes.forget(&mut self.ids, id);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let states: usize = self.states.iter().map(|states| states.bytes()).sum();
        self.ids.heap_bytes() + states + self.idle.as_ref().map_or(0, Idle::heap_bytes)
    }

    fn state(&self) -> StateKind {
        let calls: Vec<&str> = self.calls.iter().map(|call| call.text.as_str()).collect();
        let expire = self.idle.as_ref().map_or(String::new(), |idle| format!(" for {} ns", idle.expire()));
        StateKind { name: format!("indicators {}{expire}", calls.join("; ")), version: 1 }
    }

    fn begin_snapshot(&mut self, full: bool) {
        self.changes.begin(&self.ids, full);
    }

    fn snapshot(&mut self, keys: usize) -> Result<Option<Draft>> {
        let kept = (&self.states, &self.idle);
        Ok(self.changes.tell(&self.ids, keys, |id, value| write(kept, id, value)))
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let id = self.changes.put_back(&mut self.ids, key);
        let mut rest = value;
        for state in &mut self.states {
            rest = state.restore(id, rest).map_err(Error::run)?;
        }
        if let Some(idle) = &mut self.idle {
            let (heard, behind) = rest
                .split_first_chunk()
                .ok_or_else(|| Error::run("there is less than the state of these indicators"))?;
            idle.put(id, i64::from_le_bytes(*heard));
            rest = behind;
        }
        if rest.is_empty() { Ok(()) } else { Err(Error::run("there is more than the state of these indicators")) }
    }
}

impl Replayable for Indicators {
    fn save(&self, key: &[u8], out: &mut Vec<u8>) {
        if let Some(id) = self.ids.known(key) {
            write((&self.states, &self.idle), id, out);
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
        let kept = (&self.states, &self.idle);
        self.changes.touch(ids, row_ids, |id, value| write(kept, id, value));
        Ok(())
    }

    /// The new columns; of the rows `back` each is the first of its key once more.
    fn compute(&mut self, data: &RecordBatch, series: &[Vec<Float64Array>], back: &[usize]) -> Vec<Vec<f64>> {
        let times = times_of(data, self.time);
        let first = back.first().copied().unwrap_or(data.num_rows());
        let mut computed = self.compute_part(series, &times, 0..first);
        for (at, from) in back.iter().enumerate() {
            let id = self.row_ids[*from];
            self.states.iter_mut().for_each(|state| state.clear(id));
            let to = back.get(at + 1).copied().unwrap_or(data.num_rows());
            let part = self.compute_part(series, &times, *from..to);
            computed.iter_mut().zip(part).for_each(|(column, part)| column.extend(part));
        }
        computed
    }

    fn compute_part(&mut self, series: &[Vec<Float64Array>], times: &[i64], rows: Range<usize>) -> Vec<Vec<f64>> {
        let (ids, times) = (&self.row_ids[rows.clone()], &times[rows.clone()]);
        let part = |series: &Float64Array| series.slice(rows.start, rows.len());
        let calls = self.calls.iter().zip(&mut self.states).zip(series);
        let update = |((call, state), series): ((&Call, &mut Box<dyn Column>), &Vec<Float64Array>)| {
            call.update(state.as_mut(), ids, times, &series.iter().map(part).collect::<Vec<_>>())
        };
        calls.flat_map(update).collect()
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

/// The state of the key with the number `id`: of one indicator after the other, and how far event time had come with it.
fn write((states, idle): (&Vec<Box<dyn Column>>, &Option<Idle>), id: u32, value: &mut Vec<u8>) {
    states.iter().for_each(|state| state.snapshot(id, value));
    idle.iter().for_each(|idle| value.extend_from_slice(&idle.heard_of(id).to_le_bytes()));
}
