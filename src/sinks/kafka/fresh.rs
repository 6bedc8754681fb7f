//! The rows of a batch that are not in the topic yet, and how far they take the slot.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use xxhash_rust::xxh3::xxh3_64;

use super::positions::Committed;
use crate::batch::Rows;
use crate::error::Result;
use crate::keys::{KEY_GROUPS, KeyReader};
use crate::sources::lanes::{Lane, Lanes, Place, PlaceColumns, Positions};

/// Leaves out what was committed before.
pub struct Fresh {
    /// What was.
    pub committed: Committed,
    /// Where rows stand.
    pub columns: PlaceColumns,
    /// Likewise.
    pub lanes: Arc<Lanes>,
    /// The key by which rows have come to this worker.
    pub key: KeyReader,
}

impl Fresh {
    /// The fresh rows of `rows`; the places they reach go to `reached`.
    pub fn of(&mut self, rows: &Rows, reached: &mut Positions) -> Result<RecordBatch> {
        if self.committed.is_empty() {
            let mut note = Note { reached, last: None };
            self.lanes.for_each(self.columns, rows, |_, lane, place| note.note(lane, place));
            note.end();
            return Ok(rows.data.clone());
        }
        let mut places = Vec::with_capacity(rows.data.num_rows());
        let mut doubtful = false;
        self.lanes.for_each(self.columns, rows, |_, lane, place| {
            let doubt = self.committed.in_doubt(lane, place);
            doubtful |= doubt;
            places.push((lane, place, doubt));
        });
        let mut fresh = vec![true; places.len()];
        if doubtful {
            self.key.for_each(&rows.data, |row, key| {
                let (lane, place, doubt) = places[row];
                fresh[row] = !doubt || !self.committed.holds(lane, place, xxh3_64(key) % KEY_GROUPS);
            })?;
        }
        let mut note = Note { reached, last: None };
        for ((lane, place, _), _) in places.iter().zip(&fresh).filter(|(_, fresh)| **fresh) {
            note.note(*lane, *place);
        }
        note.end();
        reached.iter().for_each(|(lane, place)| self.committed.pass(*lane, *place));
        if fresh.iter().all(|fresh| *fresh) {
            return Ok(rows.data.clone());
        }
        Ok(filter_record_batch(&rows.data, &BooleanArray::from(fresh))?)
    }
}

/// Notes places; those of one lane mostly come one after the other.
struct Note<'a> {
    reached: &'a mut Positions,
    last: Option<(Lane, Place)>,
}

impl Note<'_> {
    #[inline]
    fn note(&mut self, lane: Lane, place: Place) {
        match &mut self.last {
            Some((last, greatest)) if *last == lane => *greatest = place.max(*greatest),
            _ => {
                self.end();
                self.last = Some((lane, place));
            }
        }
    }

    fn end(&mut self) {
        if let Some((lane, place)) = self.last.take() {
            let reached = self.reached.entry(lane).or_insert(place);
            *reached = place.max(*reached);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::kafka::positions::{Claim, Slot};
    use crate::spec::{Files, Plan};
    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::{Int64Type, Schema};

    const FLOW: &str = "version = 1\nname = \"t\"\n[sources.s]\ntype = \"file\"\npath = \"s.csv\"\ntime = \"t\"\nkey = \"k\"\n\
        schema = { k = \"text\", t = \"bigint\" }\n[sinks.out]\ntype = \"discard\"\ninput = \"s\"\n";

    /// Rows `k` and `seq` of the first source; of partition 0 of a file.
    fn rows(plan: &Plan, of: &[(&str, i64)]) -> Rows {
        let schema = &plan.nodes[0].edge.schema;
        let columns = ["k", "seq"].map(|name| schema.index_of(name).expect("a column"));
        let schema = Arc::new(Schema::new(columns.map(|at| schema.field(at).clone()).to_vec()));
        let keys = StringArray::from_iter_values(of.iter().map(|row| row.0));
        let seqs = Int64Array::from_iter_values(of.iter().map(|row| row.1));
        Rows { data: RecordBatch::try_new(schema, vec![Arc::new(keys), Arc::new(seqs)]).expect("rows"), source: 0 }
    }

    #[test]
    fn rows_that_are_there_are_left_out_by_the_group_of_their_key() {
        let (plan, _, _) = Plan::of("t.toml".as_ref(), FLOW, &Files::default()).expect("a plan");
        let lanes = Arc::new(Lanes::of(&plan));
        let batch = rows(&plan, &[("A", 1), ("B", 2), ("C", 3), ("A", 4), ("B", 5), ("A", 6)]);
        let group = |key: &str| xxh3_64(key.as_bytes()) % KEY_GROUPS;
        // Every key group had a worker of its own: that of A came to 4, that of B to 2, that of C wrote nothing.
        let claim = |key: &str, seq| Claim {
            slot: Slot { number: group(key) as usize, of: KEY_GROUPS as usize },
            positions: [((0, 0), (0, seq))].into(),
        };
        let edge = crate::spec::Edge { schema: batch.data.schema(), key: vec![0], ..plan.nodes[0].edge.clone() };
        let mut fresh = Fresh {
            committed: Committed::of(Slot { number: 0, of: 1 }, &[claim("A", 4), claim("B", 2)]),
            columns: PlaceColumns::of(&edge).expect("a seq"),
            lanes,
            key: KeyReader::new(&edge.schema, &edge.key).expect("a reader"),
        };
        let seqs = |data: RecordBatch| data.column(1).as_primitive::<Int64Type>().values().to_vec();
        let mut reached = Positions::new();
        let early = Rows { data: batch.data.slice(0, 2), source: 0 };
        assert!(seqs(fresh.of(&early, &mut reached).expect("rows")).is_empty() && reached.is_empty());
        let late = Rows { data: batch.data.slice(2, 4), source: 0 };
        assert_eq!(seqs(fresh.of(&late, &mut reached).expect("rows")), [3, 5, 6]);
        assert_eq!(reached, [((0, 0), (0, 6))].into());
        assert!(fresh.committed.is_empty());
        assert_eq!(seqs(fresh.of(&batch, &mut reached).expect("rows")).len(), 6);
    }
}
