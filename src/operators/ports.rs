//! Further outputs of a node, besides its rows: dead letters of a source, late rows of a window.
//!
//! A node has one stream, whose batches say by which port they leave. Where a further output is read, the stream is
//! parted right behind the node; where none is, nothing is rendered and the node sends nothing but its rows. Marks
//! hold for all outputs.

use std::collections::BTreeMap;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;

use crate::batch::{Batch, Body, Epoch};

/// The port by which the rows of a node leave it.
pub const ROWS: usize = 0;

/// The outputs of a node, by their ports.
pub type Outputs<'s> = BTreeMap<usize, Stream<'s, Epoch, Batch>>;

/// Parts the stream of a node whose further outputs `read` are read.
pub fn part<'s>(stream: Stream<'s, Epoch, Batch>, read: &[usize]) -> Outputs<'s> {
    if read.is_empty() {
        return Outputs::from([(ROWS, stream)]);
    }
    let mut builder = OperatorBuilder::new("Ports".to_string(), stream.scope());
    let mut input = builder.new_input(stream, Pipeline);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (mut ports, mut streams) = (Vec::new(), Outputs::new());
    for port in std::iter::once(ROWS).chain(read.iter().copied()) {
        let (output, stream) = builder.new_output();
        ports.push((port, OutputBuilder::<_, CapacityContainerBuilder<Batch>>::from(output)));
        streams.insert(port, stream);
    }
    builder.build(move |_| {
        move |_frontiers| {
            let mut outputs: Vec<_> = ports.iter_mut().map(|(port, output)| (*port, output.activate())).collect();
            input.for_each(|capability, batch| {
                let from = batch.port;
                let body = batch.take();
                let for_all = matches!(body, Body::Mark(_));
                for (_, output) in outputs.iter_mut().filter(|(port, _)| for_all || *port == from) {
                    output.session(&capability).give_container(&mut Batch::new(body.clone()));
                }
            });
        }
    });
    streams
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use arrow::array::{Int64Array, RecordBatch};
    use timely::dataflow::operators::generic::operator::{Operator as _, source};

    use super::*;
    use crate::batch::{Mark, Rows};

    /// What came out of each port: how many rows at a time, or a mark.
    fn parted(read: &'static [usize]) -> BTreeMap<usize, Vec<Option<usize>>> {
        let seen = Arc::new(Mutex::new(BTreeMap::<usize, Vec<Option<usize>>>::new()));
        let all = Arc::clone(&seen);
        timely::execute_directly(move |worker| {
            worker.dataflow::<Epoch, _, _>(|scope| {
                let node = source::<Epoch, CapacityContainerBuilder<Batch>, _, _>(scope, "Node", |capability, _| {
                    let mut capability = Some(capability);
                    move |output| {
                        let Some(capability) = capability.take() else { return };
                        for (port, count) in [(0, 1), (1, 2), (0, 3), (2, 4), (1, 5)] {
                            let mut batch = Batch::of_port(port, Body::Rows(rows(count)));
                            output.session(&capability).give_container(&mut batch);
                        }
                        let mark = Body::Mark(Mark::Close { origin: 7 });
                        output.session(&capability).give_container(&mut Batch::new(mark));
                    }
                });
                for (port, stream) in part(node, read) {
                    let all = Arc::clone(&all);
                    stream.sink(Pipeline, "Look", move |(input, _)| {
                        input.for_each(|_, batch| {
                            let count = match batch.take() {
                                Body::Rows(rows) => Some(rows.data.num_rows()),
                                _ => None,
                            };
                            all.lock().expect("no panic").entry(port).or_default().push(count);
                        });
                    });
                }
            });
        });
        Arc::into_inner(seen).expect("the workers have ended").into_inner().expect("no panic")
    }

    fn rows(count: i64) -> Rows {
        let column: arrow::array::ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
        Rows { data: RecordBatch::try_from_iter([("n", column)]).expect("rows"), source: 0 }
    }

    #[test]
    fn rows_leave_by_their_port_and_marks_by_all() {
        let expected = [(0, vec![Some(1), Some(3), None]), (1, vec![Some(2), Some(5), None]), (2, vec![Some(4), None])];
        assert_eq!(parted(&[1, 2]), expected.into());
    }

    #[test]
    fn what_nobody_reads_goes_nowhere() {
        assert_eq!(parted(&[2]), [(0, vec![Some(1), Some(3), None]), (2, vec![Some(4), None])].into());
    }
}
