//! `table`: rows get columns of a file that is read once. It keeps no state: the row of the table is that which holds at
//! the event time of the row, whenever that comes.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};

use super::JoinSpec;
use super::columns::{whole_key, widened};
use super::reference::Reference;
use crate::batch::Rows;
use crate::error::Result;
use crate::formats::ColumnType;
use crate::keys::KeyReader;
use crate::operators::calls::times_of;
use crate::operators::filter::filter_changes;
use crate::operators::{BuildContext, Built, OperatorPlan, Output, Transform};
use crate::sources::{TIME, WholeFile};
use crate::spec::{At, Check, Edge, EdgeKind, OP};

impl JoinSpec {
    /// Checks and types it for rows that look up the table at `path`.
    pub(super) fn table(
        &self,
        path: &At<String>,
        left: &Edge,
        check: &Check<'_>,
    ) -> Option<(Edge, Arc<dyn OperatorPlan>)> {
        let findings = check.findings;
        let key = match &self.on {
            Some(on) => on.value.left(left, findings)?,
            None => left.key.clone(),
        };
        if key.is_empty() {
            findings
                .mistake(&path.span, "rows are looked up by key, and these have none: say by which columns with `on`");
            return None;
        }
        let same = || key.iter().map(|at| At::new(left.schema.field(*at).name().clone(), path.span.clone()));
        let names: Vec<At<String>> =
            self.on.as_ref().map_or_else(|| same().collect(), |on| on.value.right().cloned().collect());
        let typed = |(name, at): (At<String>, &usize)| Some((name, ColumnType::of(left.schema.field(*at))?));
        let needed = names.into_iter().zip(&key).map(typed).collect::<Option<Vec<_>>>()?;
        let table = WholeFile { path, schema: self.schema.as_ref(), needed: &needed }.read(check)?;
        let right = edge_of(&table.rows, &needed);
        let columns = self.naming(&path.span).plan(left, &right, &right.key, check)?;
        let edge = widened(left, &columns, &path.span, findings)?;
        let time = left.position(TIME);
        if let Some(valid_from) = self.valid_from.as_ref().filter(|_| time.is_none()) {
            findings.mistake(&valid_from.span, "`valid_from` needs event time, which these rows do not have");
        }
        let made = columns.iter().map(|(_, scalar)| scalar.evaluate(&table.rows)).collect::<Result<Vec<_>>>();
        let made = made.map_err(|error| error.to_string());
        let since = self.valid_from.as_ref().map(|since| since.value.as_str());
        let reference = made.and_then(|made| Reference::new(&table, &right.key, since, made));
        let reference =
            reference.map_err(|wrong| findings.mistake(&path.span, format!("{}{wrong}", path.value))).ok()?;
        let plan = TablePlan {
            details: format!("{}: {} keys", path.value, reference.len()),
            reference: Arc::new(reference),
            key,
            time,
            left: Arc::clone(&left.schema),
            visible: left.visible,
            outer: self.outer.as_ref().is_none_or(|outer| outer.value),
            op: edge.position(OP).filter(|_| left.kind == EdgeKind::Changes),
            retracts: left.retracts,
            output: Arc::clone(&edge.schema),
        };
        Some((edge, Arc::new(plan)))
    }
}

/// The rows of a table as those of a node.
fn edge_of(rows: &RecordBatch, key: &[(At<String>, ColumnType)]) -> Edge {
    let schema: SchemaRef = rows.schema();
    let key: Vec<usize> = key.iter().filter_map(|(name, _)| schema.index_of(name).ok()).collect();
    Edge {
        visible: schema.fields().len(),
        row_key: key.clone(),
        key,
        kind: EdgeKind::Append,
        reach: 0,
        retracts: false,
        placed: false,
        in_order: false,
        schema,
    }
}

#[derive(Clone)]
struct TablePlan {
    reference: Arc<Reference>,
    /// The columns of the key, and of event time, in the rows.
    key: Vec<usize>,
    time: Option<usize>,
    left: Arc<Schema>,
    visible: usize,
    /// Whether rows stay that are not in the table.
    outer: bool,
    /// What a joined row does to the one with its key, where rows are changes.
    op: Option<usize>,
    retracts: bool,
    output: SchemaRef,
    details: String,
}

impl OperatorPlan for TablePlan {
    fn build(&self, _context: &BuildContext) -> Result<Built> {
        let keys = KeyReader::new(&self.left, &self.key)?;
        Ok(Built::Stateless(Box::new(LookUp { plan: self.clone(), keys })))
    }

    fn details(&self) -> Vec<String> {
        vec![self.details.clone()]
    }
}

struct LookUp {
    plan: TablePlan,
    keys: KeyReader,
}

impl Transform for LookUp {
    fn rows(&mut self, Rows { data, source }: Rows, out: &mut Output) -> Result<()> {
        let plan = &self.plan;
        let times = times_of(&data, plan.time);
        let mut found: Vec<Option<u32>> = Vec::with_capacity(data.num_rows());
        let is_whole = whole_key(&data, &plan.key);
        let find = |row: usize, key: &[u8]| plan.reference.find(key, times[row]).filter(|_| is_whole(row));
        self.keys.for_each(&data, |row, key| found.push(find(row, key)))?;
        let found = UInt32Array::from(found);
        let (visible, hidden) = data.columns().split_at(plan.visible);
        let columns = visible.iter().cloned().chain(plan.reference.columns(&found)?).chain(hidden.iter().cloned());
        let mut joined = RecordBatch::try_new(Arc::clone(&plan.output), columns.collect())?;
        if !plan.outer {
            let is_found: BooleanArray = found.iter().map(|row| Some(row.is_some())).collect();
            joined = match plan.op {
                None => filter_record_batch(&joined, &is_found)?,
                Some(op) => filter_changes(&joined, &is_found, op, plan.retracts)?,
            };
        }
        out.rows.push(Rows { data: joined, source });
        Ok(())
    }
}
