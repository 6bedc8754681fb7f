//! `seq`: the place of a row in its source, in one number.

/// How `seq` is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeqLayout {
    /// Offset, then partition, then the row within a message: rows of all partitions interleave as they were
    /// written. With arrays of records in a message, 12 bits go to the row.
    Messages {
        /// Bits for the partition.
        partition: u32,
        /// Bits for the row within a message.
        row: u32,
    },
    /// Part (a file), then offset.
    Parts,
}

/// Bits of the offset within a part.
const PART_OFFSET: u32 = 40;

impl SeqLayout {
    /// Of a topic, whose messages may hold arrays of records.
    pub fn topic(arrays: bool) -> Self {
        SeqLayout::Messages { partition: 12, row: if arrays { 12 } else { 0 } }
    }

    /// How many partitions can be told apart.
    pub fn partitions(self) -> u64 {
        match self {
            SeqLayout::Messages { partition, .. } => 1 << partition,
            SeqLayout::Parts => 1 << (63 - PART_OFFSET),
        }
    }

    /// How many records a message may hold.
    pub fn rows(self) -> u64 {
        match self {
            SeqLayout::Messages { row, .. } => 1 << row,
            SeqLayout::Parts => 1,
        }
    }

    /// The `seq` of a row, where its numbers fit.
    #[inline]
    pub fn seq(self, partition: u64, offset: u64, row: u64) -> Option<i64> {
        let (high, bits, low) = match self {
            SeqLayout::Messages { partition: p, row: r } => (offset, p + r, (partition << r) | row),
            SeqLayout::Parts => (partition, PART_OFFSET, offset),
        };
        (partition < self.partitions() && row < self.rows() && high < 1 << (63 - bits) && low < 1 << bits)
            .then_some(((high << bits) | low) as i64)
    }

    /// The partition of a row.
    pub fn partition_of(self, seq: i64) -> i32 {
        match self {
            SeqLayout::Messages { partition, row } => ((seq >> row) & ((1 << partition) - 1)) as i32,
            SeqLayout::Parts => (seq >> PART_OFFSET) as i32,
        }
    }

    /// The same number for every row, but ordered by partition, then offset.
    #[inline]
    pub fn partition_first(self, seq: i64) -> i64 {
        match self {
            SeqLayout::Messages { partition: bits, row } => {
                let offset = seq >> (bits + row);
                let in_message = seq & ((1 << row) - 1);
                i64::from(self.partition_of(seq)) << (63 - bits) | offset << row | in_message
            }
            SeqLayout::Parts => seq,
        }
    }

    /// The offset of a row within its partition.
    pub fn offset_of(self, seq: i64) -> i64 {
        match self {
            SeqLayout::Messages { partition, row } => seq >> (partition + row),
            SeqLayout::Parts => seq & ((1 << PART_OFFSET) - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_and_offset_can_be_read_back_and_seq_rises_within_a_partition() {
        for layout in [SeqLayout::topic(false), SeqLayout::topic(true), SeqLayout::Parts] {
            let mut last = -1;
            for offset in [0, 1, 77, 1 << 30] {
                let seq = layout.seq(4095, offset, 0).expect("it fits");
                assert!(seq > last);
                assert_eq!((layout.partition_of(seq), layout.offset_of(seq)), (4095, offset as i64));
                last = seq;
            }
        }
    }

    #[test]
    fn rows_can_be_ordered_by_partition_first() {
        for layout in [SeqLayout::topic(false), SeqLayout::topic(true), SeqLayout::Parts] {
            let rows = [(0, 5), (0, 1 << 30), (1, 0), (7, 3), (4095, 0)];
            let seqs: Vec<i64> =
                rows.iter().map(|(partition, offset)| layout.seq(*partition, *offset, 0).expect("fits")).collect();
            let ordered: Vec<i64> = seqs.iter().map(|seq| layout.partition_first(*seq)).collect();
            assert!(ordered.is_sorted() && ordered[0] >= 0, "{ordered:?}");
        }
    }

    #[test]
    fn what_does_not_fit_has_no_seq() {
        assert_eq!(SeqLayout::topic(false).seq(4096, 0, 0), None);
        assert_eq!(SeqLayout::topic(false).seq(0, 0, 1), None);
        assert_eq!(SeqLayout::topic(true).seq(0, 1 << 39, 0), None);
        assert_eq!(SeqLayout::Parts.seq(0, 1 << 40, 0), None);
    }
}
