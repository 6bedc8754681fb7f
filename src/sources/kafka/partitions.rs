//! How far the partitions of a reader are.

use super::offsets::Range;

struct Partition {
    number: i32,
    /// The next offset.
    position: i64,
    stop: Option<i64>,
    ended: bool,
    /// Its end was not told yet.
    news: bool,
}

/// The partitions of one reader; each has a place, counted from 0.
pub struct Partitions {
    list: Vec<Partition>,
    /// The place of each partition, by its number.
    places: Vec<u32>,
    open: usize,
    /// The sum of all positions when it was asked for last.
    counted: i64,
}

impl Partitions {
    /// At the beginning of their ranges.
    pub fn new(ranges: &[Range]) -> Self {
        let partition = |range: &Range| Partition {
            number: range.partition,
            position: range.start,
            stop: range.stop,
            ended: range.is_empty(),
            news: range.is_empty(),
        };
        let list: Vec<Partition> = ranges.iter().map(partition).collect();
        let mut places = vec![0; list.iter().map(|own| own.number as usize + 1).max().unwrap_or(0)];
        for (at, own) in list.iter().enumerate() {
            places[own.number as usize] = at as u32;
        }
        let open = list.iter().filter(|own| !own.ended).count();
        let counted = list.iter().map(|own| own.position).sum();
        Partitions { list, places, open, counted }
    }

    /// The place of partition `number`.
    #[inline]
    pub fn place(&self, number: i32) -> usize {
        self.places[number as usize] as usize
    }

    /// The number of the partition at `place`.
    pub fn number(&self, place: usize) -> i32 {
        self.list[place].number
    }

    /// The numbers of all partitions.
    pub fn numbers(&self) -> impl Iterator<Item = i32> {
        self.list.iter().map(|own| own.number)
    }

    /// Number, next offset and end of each partition.
    pub fn list(&self) -> impl Iterator<Item = (i32, i64, Option<i64>)> {
        self.list.iter().map(|own| (own.number, own.position, own.stop))
    }

    /// The next offset of each partition.
    pub fn positions(&self) -> impl Iterator<Item = i64> {
        self.list.iter().map(|own| own.position)
    }

    /// Moves past a message, and tells whether it is to be read.
    #[inline]
    pub fn pass(&mut self, place: usize, offset: i64) -> bool {
        let own = &mut self.list[place];
        if own.ended {
            return false;
        }
        let wanted = own.stop.is_none_or(|stop| offset < stop);
        self.reach(place, offset + 1);
        wanted
    }

    /// There is nothing before `offset` any more. Offsets of transactions and compacted messages never come.
    #[inline]
    pub fn reach(&mut self, place: usize, offset: i64) {
        let own = &mut self.list[place];
        own.position = own.position.max(offset);
        if let Some(stop) = own.stop.filter(|stop| *stop <= own.position && !own.ended) {
            (own.position, own.ended, own.news) = (stop, true, true);
            self.open -= 1;
        }
    }

    /// Whether all have ended.
    pub fn all_ended(&self) -> bool {
        self.open == 0
    }

    /// The places of the partitions that have ended since this was asked last.
    pub fn ended(&mut self) -> impl Iterator<Item = usize> + use<> {
        let news = |(at, own): (usize, &mut Partition)| std::mem::take(&mut own.news).then_some(at);
        let places: Vec<usize> = self.list.iter_mut().enumerate().filter_map(news).collect();
        places.into_iter()
    }

    /// By how much the positions have moved since this was asked last.
    pub fn advanced(&mut self) -> u64 {
        let sum = self.list.iter().map(|own| own.position).sum();
        let before = std::mem::replace(&mut self.counted, sum);
        (sum - before).max(0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(partition: i32, start: i64, stop: i64) -> Range {
        Range { partition, start, stop: Some(stop), watermark: None }
    }

    #[test]
    fn a_partition_ends_at_its_stop_however_it_gets_there() {
        let mut partitions = Partitions::new(&[range(1, 0, 0), range(3, 5, 8), range(5, 0, 10), range(7, 0, 3)]);
        assert_eq!(partitions.ended().collect::<Vec<_>>(), vec![0]);
        assert_eq!(partitions.place(3), 1);
        // By its last message; what comes behind it is not read.
        assert!(partitions.pass(1, 7));
        assert!(!partitions.pass(1, 8));
        // By a message behind the end: the last offsets were no messages.
        assert!(partitions.pass(2, 3));
        assert!(!partitions.pass(2, 12));
        // By the end of the partition.
        partitions.reach(3, 3);
        assert_eq!(partitions.ended().collect::<Vec<_>>(), vec![1, 2, 3]);
        assert!(partitions.all_ended());
        assert_eq!(partitions.advanced(), 3 + 10 + 3);
        assert_eq!(partitions.advanced(), 0);
    }

    #[test]
    fn without_a_stop_there_is_no_end() {
        let mut partitions = Partitions::new(&[Range { partition: 0, start: 4, stop: None, watermark: None }]);
        assert!(partitions.pass(0, 1 << 40));
        assert!(!partitions.all_ended());
    }
}
