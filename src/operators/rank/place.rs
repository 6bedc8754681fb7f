//! Where rows stand in their groups: as bytes, which compare as `order` says, and then as what the rows are known by.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::row::{RowConverter, Rows as PackedRows, SortField};

use super::Ordered;
use crate::error::Result;
use crate::memory::Heap;
use crate::spec::Edge;

/// How many words of a place stand in it, and not behind it.
const HEAD: usize = 3;

/// Where a row stands. No two rows of a group have the same place.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The first bytes, as numbers: most places have no others, and moving them about takes no memory.
    head: [u64; HEAD],
    tail: Box<[u8]>,
}

impl From<&[u8]> for Place {
    /// No place begins with all the bytes of another one, so they may be filled up.
    fn from(bytes: &[u8]) -> Place {
        let (head, tail) = bytes.split_at(bytes.len().min(HEAD * 8));
        let mut words = [0; HEAD];
        for (word, bytes) in words.iter_mut().zip(head.chunks(8)) {
            let mut filled = [0; 8];
            filled[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_be_bytes(filled);
        }
        Place { head: words, tail: tail.into() }
    }
}

impl Heap for Place {
    fn heap_bytes(&self) -> usize {
        self.tail.heap_bytes()
    }
}

/// Tells the places of rows.
pub struct Places {
    columns: Vec<usize>,
    converter: RowConverter,
}

impl Places {
    /// Of rows of `edge` in this order.
    pub fn new(order: &[Ordered], edge: &Edge) -> Result<Self> {
        let kind = |at: usize| edge.schema.field(at).data_type().clone();
        let ordered = order.iter().map(|ordered| SortField::new_with_options(kind(ordered.at), ordered.options()));
        let known_by = edge.row_key.iter().map(|at| SortField::new(kind(*at)));
        let columns = order.iter().map(|ordered| ordered.at).chain(edge.row_key.iter().copied()).collect();
        Ok(Places { columns, converter: RowConverter::new(ordered.chain(known_by).collect())? })
    }

    /// The places of these rows, as bytes.
    pub fn of(&self, data: &RecordBatch) -> Result<PackedRows> {
        let columns: Vec<ArrayRef> = self.columns.iter().map(|at| Arc::clone(data.column(*at))).collect();
        Ok(self.converter.convert_columns(&columns)?)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, StringArray};
    use arrow::compute::{SortColumn, SortOptions, lexsort_to_indices};
    use arrow::datatypes::{DataType, Field, Schema};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::spec::EdgeKind;

    #[test]
    fn places_compare_as_arrow_sorts() {
        let mut rng = StdRng::seed_from_u64(3);
        let specials = [0.0, 1.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MIN_POSITIVE];
        let price = |rng: &mut StdRng| match rng.random_range(0..3) {
            0 => None,
            1 => Some(specials[rng.random_range(0..specials.len())]),
            _ => Some(rng.random_range(-2.0..2.0)),
        };
        let prices: Float64Array = (0..500).map(|_| price(&mut rng)).collect();
        let names: Vec<String> = (0..500).map(|at| format!("{}{at}", "x\0ÿ".repeat(rng.random_range(0..20)))).collect();
        let schema = Arc::new(Schema::new(vec![
            Field::new("price", DataType::Float64, true),
            Field::new("name", DataType::Utf8, true),
        ]));
        let columns: [ArrayRef; 2] = [Arc::new(prices), Arc::new(StringArray::from(names))];
        let data = RecordBatch::try_new(Arc::clone(&schema), columns.to_vec()).expect("rows");
        for descending in [false, true] {
            let edge = Edge {
                schema: Arc::clone(&schema),
                visible: 2,
                key: vec![],
                row_key: vec![1],
                kind: EdgeKind::Append,
                reach: 0,
                retracts: false,
                placed: true,
                in_order: true,
            };
            let order = [Ordered { at: 0, descending, text: "price".to_string() }];
            let places = Places::new(&order, &edge).expect("types");
            let rows = places.of(&data).expect("places");
            let mut found: Vec<u32> = (0..500).collect();
            found.sort_by_key(|at| Place::from(rows.row(*at as usize).as_ref()));
            let by = |at: usize, options| SortColumn { values: Arc::clone(&columns[at]), options };
            let options = SortOptions { descending, nulls_first: false };
            let expected = lexsort_to_indices(&[by(0, Some(options)), by(1, None)], None).expect("sorted");
            assert_eq!(found, expected.values().to_vec());
        }
    }
}
