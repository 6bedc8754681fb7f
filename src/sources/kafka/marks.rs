//! Watermarks of partitions: at most one mark a partition and epoch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::batch::{Epoch, Mark, Origin};
use crate::operators::watermarks::origin;

/// What a partition has shown of event time.
pub struct Shown {
    origin: Origin,
    /// The greatest event time less the lateness.
    watermark: i64,
    sent: i64,
    marked: Epoch,
    /// Since when nothing has come, where all there is was read.
    quiet: Option<Instant>,
    closed: bool,
}

/// The marks of one reader.
pub struct Marks {
    shown: Vec<Shown>,
    due: VecDeque<Mark>,
    lateness: i64,
    idle_timeout: Option<Duration>,
    /// The greatest watermark of any partition of the source in this process: what an idle one is given.
    greatest: Arc<AtomicI64>,
}

impl Marks {
    /// Of these partitions of the source at position `node`, and the watermarks they have shown before.
    pub fn new(
        node: usize,
        partitions: impl Iterator<Item = (i32, Option<i64>)>,
        lateness: i64,
        idle_timeout: Option<Duration>,
        greatest: Arc<AtomicI64>,
    ) -> Self {
        let shown = |(partition, watermark): (i32, Option<i64>)| Shown {
            origin: origin(node, partition as usize),
            watermark: watermark.unwrap_or(i64::MIN),
            sent: i64::MIN,
            marked: 0,
            quiet: None,
            closed: false,
        };
        Marks { shown: partitions.map(shown).collect(), due: VecDeque::new(), lateness, idle_timeout, greatest }
    }

    /// Everyone who sends marks.
    pub fn origins(&self) -> impl Iterator<Item = Origin> {
        self.shown.iter().map(|shown| shown.origin)
    }

    /// The watermark of each partition, where it has one.
    pub fn watermarks(&self) -> impl Iterator<Item = Option<i64>> {
        self.shown.iter().map(|shown| Some(shown.watermark).filter(|watermark| *watermark > i64::MIN))
    }

    /// The partition at position `at` has shown a row of event time `time`; its watermark before that.
    #[inline]
    pub fn show(&mut self, at: usize, time: i64) -> i64 {
        let shown = &mut self.shown[at];
        let before = shown.watermark;
        shown.watermark = before.max(time.saturating_sub(self.lateness));
        before
    }

    /// The partition at position `at` has messages again.
    #[inline]
    pub fn wake(&mut self, at: usize) {
        self.shown[at].quiet = None;
    }

    /// All there is of the partition at position `at` was read.
    pub fn quiet(&mut self, at: usize) {
        self.shown[at].quiet.get_or_insert_with(Instant::now);
    }

    /// The partition at position `at` has ended.
    pub fn close(&mut self, at: usize) {
        let shown = &mut self.shown[at];
        if !std::mem::replace(&mut shown.closed, true) {
            self.due.push_back(Mark::Close { origin: shown.origin });
        }
    }

    /// The next mark that is to be sent.
    pub fn next(&mut self) -> Option<Mark> {
        self.due.pop_front()
    }

    /// Looks which watermarks have risen, in partitions that have sent no mark in `epoch`.
    pub fn look(&mut self, epoch: Epoch) {
        let least_greatest = self.shown.iter().map(|shown| shown.watermark).max().unwrap_or(i64::MIN);
        let greatest = self.greatest.fetch_max(least_greatest, Ordering::Relaxed).max(least_greatest);
        for shown in self.shown.iter_mut().filter(|shown| !shown.closed && shown.marked != epoch) {
            let idle = self.idle_timeout.zip(shown.quiet).is_some_and(|(timeout, quiet)| quiet.elapsed() >= timeout);
            let time = if idle { shown.watermark.max(greatest) } else { shown.watermark };
            if time > shown.sent {
                (shown.sent, shown.marked) = (time, epoch);
                self.due.push_back(Mark::Watermark { origin: shown.origin, time });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(idle_timeout: Option<Duration>) -> Marks {
        Marks::new(3, [(1, None), (5, None)].into_iter(), 10, idle_timeout, Arc::new(AtomicI64::new(i64::MIN)))
    }

    fn all(marks: &mut Marks) -> Vec<Mark> {
        std::iter::from_fn(|| marks.next()).collect()
    }

    #[test]
    fn a_partition_marks_once_an_epoch_and_only_when_it_has_risen() {
        let mut marks = marks(None);
        marks.show(1, 100);
        marks.show(1, 90);
        marks.look(1);
        assert_eq!(all(&mut marks), vec![Mark::Watermark { origin: origin(3, 5), time: 90 }]);
        marks.show(1, 200);
        marks.look(1);
        assert_eq!(all(&mut marks), vec![]);
        marks.look(2);
        assert_eq!(all(&mut marks), vec![Mark::Watermark { origin: origin(3, 5), time: 190 }]);
        marks.look(3);
        marks.close(0);
        marks.close(0);
        assert_eq!(all(&mut marks), vec![Mark::Close { origin: origin(3, 1) }]);
    }

    #[test]
    fn an_idle_partition_follows_the_others() {
        let mut marks = marks(Some(Duration::ZERO));
        marks.show(1, 100);
        marks.quiet(0);
        marks.look(1);
        let expected = [1, 5].map(|partition| Mark::Watermark { origin: origin(3, partition), time: 90 });
        assert_eq!(all(&mut marks), expected);
        marks.wake(0);
        marks.show(0, 60);
        marks.show(1, 150);
        marks.look(2);
        assert_eq!(all(&mut marks), vec![Mark::Watermark { origin: origin(3, 5), time: 140 }]);
    }
}
