//! Sends rows to the worker that owns their key, and marks to every worker.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator as _;
use xxhash_rust::xxh3::xxh3_64;

use crate::batch::{Batch, Body, Epoch, Rows, register_schema};
use crate::error::Result;
use crate::keys::{KeyReader, owner};
use crate::runtime::Job;
use crate::spec::Edge;
use std::sync::Arc;

/// Where rows go.
pub enum To {
    /// To the worker that owns their key.
    Owner(KeyReader),
    /// All to this worker.
    One(usize),
}

/// Splits and addresses the batches of `stream`, whose rows are of `edge`; the next operator takes them with
/// the pact `ByAddress`.
///
/// It is an operator of its own because timely counts what leaves an operator before the pact sees it: a mark
/// that is to reach every worker must already be one mark for each.
pub fn address<'s>(stream: Stream<'s, Epoch, Batch>, edge: &Edge, to: To, job: Arc<Job>) -> Stream<'s, Epoch, Batch> {
    let workers = stream.scope().peers();
    let schema = register_schema(&edge.schema);
    let mut splitter = Splitter { to, indices: vec![Vec::new(); workers] };
    stream.unary::<CapacityContainerBuilder<Batch>, _, _, _>(Pipeline, "Address", move |_, _| {
        move |input, output| {
            input.for_each(|capability, batch| {
                let mut session = output.session(&capability);
                match batch.take() {
                    Body::Empty => {}
                    Body::Mark(mark) => {
                        for worker in 0..workers {
                            session.give_container(&mut Batch::addressed(Body::Mark(mark), worker, schema));
                        }
                    }
                    Body::Rows(rows) => match splitter.split(rows) {
                        Ok(parts) => {
                            for (worker, rows) in parts {
                                session.give_container(&mut Batch::addressed(Body::Rows(rows), worker, schema));
                            }
                        }
                        Err(error) => job.fail(error),
                    },
                }
            });
        }
    })
}

struct Splitter {
    to: To,
    indices: Vec<Vec<u32>>,
}

impl Splitter {
    fn split(&mut self, rows: Rows) -> Result<Vec<(usize, Rows)>> {
        let keys = match &self.to {
            To::One(worker) => return Ok(vec![(*worker, rows)]),
            To::Owner(keys) => keys,
        };
        let workers = self.indices.len();
        self.indices.iter_mut().for_each(Vec::clear);
        keys.for_each(&rows.data, |row, key| self.indices[owner(xxh3_64(key), workers)].push(row as u32))?;
        let mut parts = Vec::with_capacity(workers);
        for (worker, indices) in self.indices.iter().enumerate() {
            if !indices.is_empty() {
                parts.push((worker, Rows { data: pick(&rows.data, indices)?, source: rows.source }));
            }
        }
        Ok(parts)
    }
}

fn pick(data: &RecordBatch, indices: &[u32]) -> Result<RecordBatch> {
    if indices.len() == data.num_rows() {
        return Ok(data.clone());
    }
    Ok(take_record_batch(data, &UInt32Array::from(indices.to_vec()))?)
}
