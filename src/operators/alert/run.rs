//! The running operator: the columns that the conditions need, the turns that keys take, the rows that tell of them.

use std::collections::HashMap;
use std::iter::repeat_n;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;

use super::AlertPlan;
use super::standing::{Standings, Turn};
use super::thresholds::Thresholds;
use crate::batch::Rows;
use crate::error::{Error, Result};
use crate::indicators::Column;
use crate::keys::{KeyIds, KeyReader};
use crate::operators::calls::{Call, times_of, with_nan, with_nulls};
use crate::operators::changes::Changes;
use crate::operators::replay::Replayable;
use crate::operators::{Operator, Output, StateKind};
use crate::spec::{Refused, surviving};
use crate::state::Draft;

/// The port of the rows with which alerts are over.
const RESOLVED: usize = 1;
/// Where the conditions look at what was at the last alert, they are evaluated for so many rows after it, then for twice
/// as many, and so on.
const FIRST_RUN: usize = 16;

/// An alert over the rows of all keys of one worker.
pub struct Alert {
    plan: Arc<AlertPlan>,
    keys: KeyReader,
    ids: KeyIds,
    /// The numbers of the keys of the rows that are at hand.
    row_ids: Vec<u32>,
    thresholds: Arc<Thresholds>,
    /// By the number of a key, its row in these; as many as were looked up.
    threshold_rows: Vec<u32>,
    states: Vec<Box<dyn Column>>,
    standings: Standings,
    changes: Changes,
}

/// The rows with which keys took a turn, with all columns that conditions and message are made of.
#[derive(Default)]
struct Turns {
    fired: Vec<RecordBatch>,
    resolved: Vec<RecordBatch>,
}

impl Operator for Alert {
    fn rows(&mut self, Rows { data, source }: Rows, out: &mut Output) -> Result<()> {
        let mut refused = Vec::new();
        if let Some((wide, values)) = self.widen(data, &mut refused)? {
            let turns = self.turns(&wide, &values, &mut refused)?;
            let tell = |rows, status, refused: &mut _| self.tell(rows, status, refused);
            out.rows.extend(tell(turns.fired, "firing", &mut refused)?.map(|data| Rows { data, source }));
            let resolved = tell(turns.resolved, "resolved", &mut refused)?;
            out.further.extend(resolved.map(|data| (RESOLVED, Rows { data, source })));
        }
        // What was added to a row is not what its reader knows.
        let own: Vec<usize> = (0..self.plan.input.schema.fields().len()).collect();
        for Refused { row, data, reason } in refused {
            out.refused.push(Refused { row, data: data.project(&own)?, reason });
        }
        Ok(())
    }

    fn set(&mut self, text: &str) -> Result<()> {
        let AlertPlan { thresholds, input, .. } = &*self.plan;
        let anew = thresholds.anew(text, input).map_err(|wrong| Error::run(format!("thresholds{wrong}")))?;
        self.thresholds = Arc::new(anew);
        // They are looked up with the next rows.
        self.threshold_rows.clear();
        Ok(())
    }

    fn bytes(&self) -> usize {
        let columns: usize = self.states.iter().map(|states| states.bytes()).sum();
        self.ids.heap_bytes() + columns + self.standings.heap_bytes()
    }

    fn state(&self) -> StateKind {
        let columns = &self.plan.expressions.columns;
        let calls = columns.calls.iter().map(|call| call.text.as_str());
        let names: Vec<&str> = calls.chain(columns.remembered.iter().map(|kept| kept.name.as_str())).collect();
        StateKind { name: format!("alert {}", names.join("; ")).trim_end().to_string(), version: 1 }
    }

    fn begin_snapshot(&mut self, full: bool) {
        self.changes.begin(&self.ids, full);
    }

    fn snapshot(&mut self, keys: usize) -> Result<Option<Draft>> {
        let (states, standings) = (&self.states, &self.standings);
        Ok(self.changes.tell(&self.ids, keys, |id, value| write(states, standings, id, value)))
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let id = self.changes.put_back(&mut self.ids, key);
        let mut rest = value;
        for state in &mut self.states {
            rest = state.restore(id, rest).map_err(Error::run)?;
        }
        self.standings.read(id, rest)
    }
}

impl Replayable for Alert {
    fn save(&self, key: &[u8], out: &mut Vec<u8>) {
        if let Some(id) = self.ids.known(key) {
            write(&self.states, &self.standings, id, out);
        }
    }

    fn clear(&mut self, key: &[u8]) {
        let id = self.ids.id(key);
        self.states.iter_mut().for_each(|state| state.clear(id));
        self.standings.forget(id);
    }
}

impl Alert {
    /// Of no key yet.
    pub fn new(plan: Arc<AlertPlan>) -> Result<Self> {
        let columns = &plan.expressions.columns;
        Ok(Alert {
            keys: KeyReader::new(&plan.input.schema, &plan.input.key)?,
            ids: KeyIds::default(),
            row_ids: Vec::new(),
            thresholds: Arc::clone(&plan.thresholds),
            threshold_rows: Vec::new(),
            states: columns.calls.iter().map(Call::states).collect(),
            standings: Standings::of(columns.remembered.len()),
            changes: Changes::default(),
            plan,
        })
    }

    /// Numbers the keys of `data`.
    fn number_keys(&mut self, data: &RecordBatch) -> Result<()> {
        let (ids, row_ids) = (&mut self.ids, &mut self.row_ids);
        row_ids.clear();
        row_ids.reserve(data.num_rows());
        self.keys.for_each(data, |_, key| row_ids.push(ids.id(key)))?;
        self.standings.reach(ids.len());
        let new = self.threshold_rows.len()..ids.len();
        self.threshold_rows.extend(new.map(|id| self.thresholds.row(ids.key(id as u32))));
        Ok(())
    }

    /// Adds the columns that do not depend on alerts, and evaluates what of each row would be remembered of one.
    fn widen(
        &mut self,
        data: RecordBatch,
        refused: &mut Vec<Refused>,
    ) -> Result<Option<(RecordBatch, Vec<Float64Array>)>> {
        let plan = Arc::clone(&self.plan);
        let columns = &plan.expressions.columns;
        self.number_keys(&data)?;
        if !columns.calls.is_empty() {
            let (states, standings) = (&self.states, &self.standings);
            self.changes.touch(&self.ids, &self.row_ids, |id, value| write(states, standings, id, value));
        }
        let rows: Vec<u32> = self.row_ids.iter().map(|id| self.threshold_rows[*id as usize]).collect();
        let mut wide = beside(&data, self.thresholds.columns(&rows), &columns.stages[0])?;
        for (at, call) in columns.calls.iter().enumerate() {
            let Some((rest, series)) = surviving(wide, refused, |data| call.series(data))? else { return Ok(None) };
            self.keep_up_with(&rest)?;
            let times = times_of(&rest, plan.time);
            let made = call.update(self.states[at].as_mut(), &self.row_ids, &times, &series);
            let made = made.into_iter().map(|values| Arc::new(with_nulls(values)) as ArrayRef);
            wide = beside(&rest, made, &columns.stages[at + 1])?;
        }
        let evaluate = |data: &RecordBatch| {
            let values = columns.remembered.iter().map(|remembered| remembered.value.evaluate(data));
            values.map(|values| values.map(with_nan)).collect::<Result<Vec<_>>>()
        };
        let Some((wide, values)) = surviving(wide, refused, evaluate)? else { return Ok(None) };
        self.keep_up_with(&wide)?;
        Ok(Some((wide, values)))
    }

    /// Rows may have been refused.
    fn keep_up_with(&mut self, data: &RecordBatch) -> Result<()> {
        if data.num_rows() < self.row_ids.len() { self.number_keys(data) } else { Ok(()) }
    }

    /// Lets every row take its turn. Where the conditions look at the last alert they are evaluated anew after each;
    /// rows of which one fails are evaluated one by one.
    fn turns(&mut self, wide: &RecordBatch, values: &[Float64Array], refused: &mut Vec<Refused>) -> Result<Turns> {
        let mut turns = Turns::default();
        let (mut at, mut length) = (0, if values.is_empty() { wide.num_rows() } else { FIRST_RUN });
        while at < wide.num_rows() {
            let run = wide.slice(at, length.min(wide.num_rows() - at));
            let run = beside(&run, self.last_values(at, run.num_rows(), values), &self.plan.expressions.columns.all)?;
            match self.conditions(&run) {
                Ok(conditions) => {
                    let taken = self.take_turns(at, &run, &conditions, values, &mut turns)?;
                    length = if taken < run.num_rows() { FIRST_RUN } else { length.saturating_mul(2) };
                    at += taken;
                }
                Err(error) if run.num_rows() == 1 => {
                    refused.push(Refused { row: at, data: run, reason: error.to_string() });
                    at += 1;
                }
                Err(_) => length = 1,
            }
        }
        Ok(turns)
    }

    /// For rows from `at` on, what each would find of the last alert were there none among them.
    fn last_values(&self, at: usize, count: usize, values: &[Float64Array]) -> Vec<ArrayRef> {
        let column = |(kept, values): (usize, &Float64Array)| {
            let mut first: HashMap<u32, f64> = HashMap::new();
            let value = |row: usize| {
                let (id, value) = (self.row_ids[row], values.value(row));
                match self.standings.values(id)[kept] {
                    known if !known.is_nan() => known,
                    _ if value.is_nan() => first.get(&id).copied().unwrap_or(f64::NAN),
                    _ => *first.entry(id).or_insert(value),
                }
            };
            Arc::new(with_nulls((at..at + count).map(value).collect())) as ArrayRef
        };
        values.iter().enumerate().map(column).collect()
    }

    /// Whether it would fire, and whether it would be over.
    fn conditions(&self, run: &RecordBatch) -> Result<(BooleanArray, Option<BooleanArray>)> {
        let expressions = &self.plan.expressions;
        let when = expressions.when.evaluate(run)?.as_boolean().clone();
        let resolve = expressions.resolve.as_ref().map(|resolve| resolve.evaluate(run));
        Ok((when, resolve.transpose()?.map(|resolve| resolve.as_boolean().clone())))
    }

    /// Lets the rows of `run` take their turns, to the first alert that changes what the others have to look at; how
    /// many have.
    fn take_turns(
        &mut self,
        at: usize,
        run: &RecordBatch,
        (when, resolve): &(BooleanArray, Option<BooleanArray>),
        values: &[Float64Array],
        turns: &mut Turns,
    ) -> Result<usize> {
        let times = times_of(run, self.plan.time);
        let (mut fired, mut resolved, mut taken) = (Vec::new(), Vec::new(), 0);
        for row in 0..run.num_rows() {
            taken += 1;
            let id = self.row_ids[at + row];
            let of_row = || values.iter().map(|values| values.value(at + row));
            if self.standings.lacks(id, of_row()) {
                self.touch(id);
                self.standings.remember(id, of_row(), false);
            }
            let fires = is_true(when, row);
            let resolves = resolve.as_ref().map_or(!fires, |resolve| is_true(resolve, row));
            let Some(turn) = self.plan.rule.turn(self.standings.get(id), times[row], fires, resolves) else { continue };
            self.touch(id);
            self.standings.take(id, turn, times[row]);
            match turn {
                Turn::Resolves => resolved.push(row as u32),
                Turn::Fires => {
                    fired.push(row as u32);
                    self.standings.remember(id, of_row(), true);
                    if !values.is_empty() {
                        break;
                    }
                }
            }
        }
        for (rows, turns) in [(fired, &mut turns.fired), (resolved, &mut turns.resolved)] {
            if !rows.is_empty() {
                turns.push(take_record_batch(run, &UInt32Array::from(rows))?);
            }
        }
        Ok(taken)
    }

    /// How a key stands is about to change.
    fn touch(&mut self, id: u32) {
        let (states, standings) = (&self.states, &self.standings);
        self.changes.touch(&self.ids, &[id], |id, value| write(states, standings, id, value));
    }

    /// The rows as they leave, with the message.
    fn tell(&self, rows: Vec<RecordBatch>, status: &str, refused: &mut Vec<Refused>) -> Result<Option<RecordBatch>> {
        let AlertPlan { name, severity, input, output, expressions, .. } = &*self.plan;
        if rows.is_empty() {
            return Ok(None);
        }
        let rows = concat_batches(&expressions.columns.all, &rows)?;
        let evaluate = |data: &RecordBatch| expressions.message.evaluate(data);
        let Some((rows, messages)) = surviving(rows, refused, evaluate)? else { return Ok(None) };
        let same = |text: &str| Arc::new(StringArray::from_iter_values(repeat_n(text, rows.num_rows()))) as ArrayRef;
        let mut columns = rows.columns()[..input.schema.fields().len()].to_vec();
        let hidden = columns.split_off(input.visible);
        columns.extend([same(name), same(&severity.to_string()), same(status), Arc::new(StringArray::from(messages))]);
        columns.extend(hidden);
        Ok(Some(RecordBatch::try_new(Arc::clone(&output.schema), columns)?))
    }
}

/// The state of the key with the number `id`: that of its indicators, then how it stands.
fn write(states: &[Box<dyn Column>], standings: &Standings, id: u32, value: &mut Vec<u8>) {
    states.iter().for_each(|state| state.snapshot(id, value));
    standings.write(id, value);
}

/// `data` with further columns.
fn beside(data: &RecordBatch, columns: impl IntoIterator<Item = ArrayRef>, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = data.columns().iter().cloned().chain(columns).collect();
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// A condition that is null is not true.
fn is_true(condition: &BooleanArray, row: usize) -> bool {
    condition.is_valid(row) && condition.value(row)
}
