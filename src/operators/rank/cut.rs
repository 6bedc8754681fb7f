//! Rows that are only appended: those of a batch that are not among the first of their group there are not among the first
//! of all.

use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::RankPlan;
use super::place::Places;
use crate::batch::Rows;
use crate::error::Result;
use crate::keys::KeyReader;
use crate::operators::{Output, Transform};
use crate::spec::Edge;

/// The column that says which source a row is from: what rows are known by they are within their source.
const SOURCE: &str = "_source";

/// The rows of `edge`, known also by their source.
pub fn with_source(edge: &Edge) -> Edge {
    let fields = edge.schema.fields().iter().map(|field| field.as_ref().clone());
    let fields: Vec<Field> = fields.chain([Field::new(SOURCE, DataType::Int32, false)]).collect();
    let row_key = edge.row_key.iter().copied().chain([fields.len() - 1]).collect();
    Edge { schema: Arc::new(Schema::new(fields)), row_key, ..edge.clone() }
}

/// Leaves out rows that cannot be among the first.
pub struct Cut {
    schema: SchemaRef,
    groups: KeyReader,
    places: Places,
    limit: usize,
}

impl Cut {
    /// Makes rows of `output`.
    pub fn new(plan: &RankPlan, output: &Edge) -> Result<Self> {
        Ok(Cut {
            schema: Arc::clone(&output.schema),
            groups: KeyReader::new(&output.schema, &output.key)?,
            places: Places::new(&plan.order, output)?,
            limit: plan.limit,
        })
    }

    /// The positions of the first rows of each group, in order.
    fn firsts(&self, data: &RecordBatch) -> Result<Vec<u32>> {
        let places = self.places.of(data)?;
        let mut groups: BTreeMap<Vec<u8>, BinaryHeap<(&[u8], u32)>> = BTreeMap::new();
        self.groups.for_each(data, |row, group| {
            let place = places.row(row).data();
            let firsts = match groups.get_mut(group) {
                Some(firsts) => firsts,
                None => groups.entry(group.to_vec()).or_default(),
            };
            if firsts.len() < self.limit {
                firsts.push((place, row as u32));
            } else if let Some(mut last) = firsts.peek_mut().filter(|last| place < last.0) {
                *last = (place, row as u32);
            }
        })?;
        let mut rows: Vec<u32> = groups.into_values().flatten().map(|(_, row)| row).collect();
        rows.sort_unstable();
        Ok(rows)
    }
}

impl Transform for Cut {
    fn rows(&mut self, rows: Rows, out: &mut Output) -> Result<()> {
        let mut columns: Vec<ArrayRef> = rows.data.columns().to_vec();
        columns.push(Arc::new(Int32Array::from(vec![i32::from(rows.source); rows.data.num_rows()])));
        let data = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let firsts = self.firsts(&data)?;
        let data =
            if firsts.len() < data.num_rows() { take_record_batch(&data, &UInt32Array::from(firsts))? } else { data };
        out.rows.push(Rows { data, source: rows.source });
        Ok(())
    }
}
