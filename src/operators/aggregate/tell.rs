//! Groups become rows: what they are grouped by, what their formulas come to, and how often they were corrected.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Schema;

use super::held::Group;
use super::run::Aggregating;
use crate::batch::Rows;
use crate::error::{Error, Result};
use crate::operators::Output;
use crate::operators::formulas::finite;
use crate::spec::{DELETE, INSERT, REPLACE, Refused, surviving};

impl Aggregating {
    /// Tells of groups that have changed.
    pub(super) fn tell(&mut self, slots: Vec<u32>, out: &mut Output) -> Result<()> {
        slots.iter().for_each(|slot| self.held.groups[*slot as usize].changed = false);
        let slots = self.without_overflows(slots, out)?;
        if slots.is_empty() {
            return Ok(());
        }
        let plan = Arc::clone(&self.plan);
        let formulas = |data: &RecordBatch| {
            plan.formulas
                .columns
                .iter()
                .map(|(_, scalar)| Ok(finite(scalar.evaluate(data)?)))
                .collect::<Result<Vec<_>>>()
        };
        let before = out.refused.len();
        let data = self.rows_of(&slots)?;
        if let Some((data, columns)) = surviving(data, &mut out.refused, formulas)? {
            let given = data.columns()[..plan.input.key.len()].iter().cloned();
            let behind = data.columns()[plan.formulas.schema.fields().len()..].iter().cloned();
            let columns = given.chain(columns).chain(behind).collect();
            out.rows.push(Rows { data: RecordBatch::try_new(Arc::clone(&plan.output), columns)?, source: self.node });
        }
        for (at, slot) in slots.iter().enumerate() {
            if !out.refused[before..].iter().any(|refused| refused.row == at) {
                let group = &mut self.held.groups[*slot as usize];
                group.told = group.rows > 0;
            }
        }
        self.free(&slots);
        Ok(())
    }

    fn group(&self, slot: u32) -> &Group {
        &self.held.groups[slot as usize]
    }

    /// What a group is grouped by, its aggregates, and what comes behind.
    fn rows_of(&self, slots: &[u32]) -> Result<RecordBatch> {
        let mut columns = self.given(slots)?;
        let overflow = |_| Error::run("a result does not fit its type");
        for accumulator in &self.held.accumulators {
            columns.push(accumulator.results(slots).map_err(overflow)?);
        }
        let groups = || slots.iter().map(|slot| self.group(*slot));
        columns.push(Arc::new(Int64Array::from_iter_values(groups().map(|group| group.corrections as i64))));
        columns.push(Arc::new(StringArray::from_iter_values(groups().map(op))));
        let fields = self.plan.formulas.schema.fields().iter().map(|field| field.as_ref().clone());
        let schema = Schema::new(fields.chain(super::further_columns()).collect::<Vec<_>>());
        Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
    }

    fn given(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(self.keys.columns(slots.iter().map(|slot| self.ids.key(*slot)))?)
    }

    /// Leaves out, and refuses, groups of which a result does not fit its type.
    fn without_overflows(&self, slots: Vec<u32>, out: &mut Output) -> Result<Vec<u32>> {
        let formulas = &self.plan.formulas;
        formulas.fitting(&self.held.accumulators, slots, |slot, reason| {
            let fields = formulas.schema.fields()[..self.plan.input.key.len()].to_vec();
            let data = RecordBatch::try_new(Arc::new(Schema::new(fields)), self.given(&[slot])?)?;
            out.refused.push(Refused { row: 0, data, reason });
            Ok(())
        })
    }

    /// Nothing is kept of a group without rows that nobody knows.
    fn free(&mut self, slots: &[u32]) {
        for slot in slots {
            let group = self.group(*slot);
            if group.rows == 0 && !group.told {
                self.forget(*slot);
            }
        }
    }
}

/// A group without rows is deleted also where nobody knows of it: before a restart somebody may have.
fn op(group: &Group) -> &'static str {
    match (group.rows, group.told) {
        (0, _) => DELETE,
        (_, true) => REPLACE,
        (_, false) => INSERT,
    }
}
