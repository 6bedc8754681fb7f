//! Where a row stands: in which lane of its source, and where in that lane. Rows of a lane that meet in one worker
//! come in order of their places, so that one place tells of all rows up to it.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampNanosecondType};

use super::seq::SeqLayout;
use super::{ORDER, SEQ};
use crate::batch::Rows;
use crate::spec::{Edge, Plan, Role};

/// A lane: the position of a source in the plan and a part of it that is in order in itself.
pub type Lane = (u16, u32);

/// A place in a lane: [`ORDER`] (0 where the source is not ordered by event time), then `seq`.
pub type Place = (i64, i64);

/// A place in each of some lanes.
pub type Positions = BTreeMap<Lane, Place>;

/// The lanes of the sources of a job, and of operators whose rows have an order of their own.
#[derive(Clone, Debug, Default)]
pub struct Lanes {
    sources: BTreeMap<u16, Source>,
}

#[derive(Clone, Debug)]
struct Source {
    name: String,
    layout: SeqLayout,
    by_time: bool,
    shows_lateness: bool,
}

impl Lanes {
    /// Those of `plan`.
    pub fn of(plan: &Plan) -> Self {
        let mut sources = BTreeMap::new();
        for (at, node) in plan.nodes.iter().enumerate() {
            if let Role::Source(source) = &node.role {
                let shape = source.shape();
                let by_time = shape.order.is_some();
                sources.insert(
                    at as u16,
                    Source { name: node.name.clone(), layout: shape.layout, by_time, shows_lateness: true },
                );
            }
            if let Role::Operator(operator) = &node.role
                && operator.appends_by_time()
            {
                let (name, layout) = (node.name.clone(), SeqLayout::Parts);
                let shows_lateness = operator.shows_lateness();
                sources.insert(at as u16, Source { name, layout, by_time: true, shows_lateness });
            }
        }
        Lanes { sources }
    }

    /// The `seq` of a row of a source as a number that is ordered by partition, then offset.
    #[inline]
    pub fn partition_first(&self, source: u16, seq: i64) -> i64 {
        self.sources.get(&source).map_or(seq, |source| source.layout.partition_first(seq))
    }

    /// The nodes whose rows are in order of event time.
    pub fn by_time(&self) -> Vec<u16> {
        self.sources.iter().filter(|(_, source)| source.by_time).map(|(at, _)| *at).collect()
    }

    /// Whether a row of a source whose place is behind its event time has come late.
    pub fn shows_lateness(&self, source: u16) -> bool {
        self.sources.get(&source).is_none_or(|source| source.shows_lateness)
    }

    /// The name of a source.
    pub fn name(&self, source: u16) -> Option<&str> {
        self.sources.get(&source).map(|source| source.name.as_str())
    }

    /// The source of this name.
    pub fn source(&self, name: &str) -> Option<u16> {
        self.sources.iter().find(|(_, source)| source.name == name).map(|(at, _)| *at)
    }

    /// Calls `each` with the position, lane and place of every row, in order.
    pub fn for_each(&self, columns: PlaceColumns, rows: &Rows, mut each: impl FnMut(usize, Lane, Place)) {
        let seqs = rows.data.column(columns.seq).as_primitive::<Int64Type>().values();
        let Some(source) = self.sources.get(&rows.source) else { return };
        let order = columns.order.filter(|_| source.by_time);
        let order = order.map(|at| rows.data.column(at).as_primitive::<TimestampNanosecondType>().values());
        for (row, seq) in seqs.iter().enumerate() {
            // In order of event time all partitions are one lane.
            let (lane, place) = order.map_or_else(|| (source.lane(*seq), 0), |order| (0, order[row]));
            each(row, (rows.source, lane), (place, *seq));
        }
    }
}

impl Source {
    fn lane(&self, seq: i64) -> u32 {
        match self.layout {
            SeqLayout::Messages { .. } => self.layout.partition_of(seq) as u32,
            // Files are read one after the other, and their rows are numbered so.
            SeqLayout::Parts => 0,
        }
    }
}

/// The columns of an edge that tell where its rows stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceColumns {
    seq: usize,
    /// None also where the rows are dead letters of a source in order of event time: they are not ordered.
    order: Option<usize>,
}

impl PlaceColumns {
    /// Of rows of `edge`; none where its rows are not those of sources.
    pub fn of(edge: &Edge) -> Option<Self> {
        Some(PlaceColumns { seq: edge.position(SEQ)?, order: edge.position(ORDER) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch, TimestampNanosecondArray};
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

    fn places(layout: SeqLayout, by_time: bool, rows: &[(i64, i64)]) -> Vec<(u32, Place)> {
        let schema = Schema::new(vec![
            Field::new(ORDER, DataType::Timestamp(TimeUnit::Nanosecond, None), false),
            Field::new(SEQ, DataType::Int64, false),
        ]);
        let times = TimestampNanosecondArray::from_iter_values(rows.iter().map(|row| row.0));
        let seqs = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
        let data = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(times), Arc::new(seqs)]).expect("rows");
        let lanes =
            Lanes { sources: [(3, Source { name: "s".to_string(), layout, by_time, shows_lateness: true })].into() };
        let mut found = Vec::new();
        let columns = PlaceColumns { seq: 1, order: Some(0) };
        lanes.for_each(columns, &Rows { data, source: 3 }, |_, (_, lane), place| found.push((lane, place)));
        found
    }

    #[test]
    fn partitions_are_lanes_unless_the_source_is_in_one_order() {
        let topic = SeqLayout::topic(false);
        let seq = |partition, offset| topic.seq(partition, offset, 0).expect("it fits");
        let rows = [(30, seq(1, 7)), (20, seq(2, 5))];
        assert_eq!(places(topic, false, &rows), [(1, (0, seq(1, 7))), (2, (0, seq(2, 5)))]);
        assert_eq!(places(topic, true, &rows), [(0, (30, seq(1, 7))), (0, (20, seq(2, 5)))]);
        let file = SeqLayout::Parts.seq(4, 9, 0).expect("it fits");
        assert_eq!(places(SeqLayout::Parts, false, &[(30, file)]), [(0, (0, file))]);
    }
}
