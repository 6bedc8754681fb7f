//! Where rows stand among the others of their group: what `first` and `last` go by.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};

use crate::aggregates::Place;
use crate::sources::lanes::Lanes;
use crate::sources::{SEQ, TIME};
use crate::spec::Edge;

/// Reads the places of rows.
pub struct Places {
    time: Option<usize>,
    seq: Option<usize>,
    lanes: Arc<Lanes>,
}

impl Places {
    /// Of rows of `edge`: by event time and `seq`, as far as they have them.
    pub fn new(edge: &Edge, lanes: &Arc<Lanes>) -> Self {
        Places { time: edge.position(TIME), seq: edge.position(SEQ), lanes: Arc::clone(lanes) }
    }

    /// The place of each row of `data`, which comes from `source`.
    pub fn of(&self, data: &RecordBatch, source: u16) -> Vec<Place> {
        let times = self.time.map(|at| data.column(at).as_primitive::<TimestampNanosecondType>().values());
        let seqs = self.seq.map(|at| data.column(at).as_primitive::<Int64Type>().values());
        let place = |row: usize| {
            let at = seqs.map_or(0, |seqs| self.lanes.partition_first(source, seqs[row]));
            Place { time: times.map_or(0, |times| times[row]), source, at }
        };
        (0..data.num_rows()).map(place).collect()
    }
}
