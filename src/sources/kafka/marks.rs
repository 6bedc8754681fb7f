//! Watermarks of partitions: at most one mark a partition and epoch.

use std::collections::VecDeque;
use std::time::Instant;

use super::idle::Idling;
use crate::batch::{Epoch, Mark, Origin};
use crate::operators::watermarks::origin;

/// What a partition has shown of event time.
pub struct Shown {
    partition: i32,
    origin: Origin,
    /// The greatest event time less the lateness, or what the partition was given while it was idle.
    watermark: i64,
    sent: i64,
    marked: Epoch,
    /// Since when nothing has come, where all there is was read, and the offset of what will come.
    quiet: Option<(Instant, i64)>,
    /// What it was given before a restart: from which offset on, and up to when; the first one last.
    given: Vec<(i64, i64)>,
    /// What it is given now, until that is written down.
    asked: Option<i64>,
    closed: bool,
}

impl Shown {
    /// What comes is of `offset` or a later one.
    #[inline]
    fn reach(&mut self, offset: i64) {
        while let Some((_, time)) = self.given.pop_if(|(from, _)| *from <= offset) {
            self.watermark = self.watermark.max(time);
        }
    }
}

/// The marks of one reader.
pub struct Marks {
    shown: Vec<Shown>,
    due: VecDeque<Mark>,
    lateness: i64,
    idling: Idling,
}

impl Marks {
    /// Of these partitions of the source at position `node`, and the watermarks they have shown before.
    pub fn new(
        node: usize,
        partitions: impl Iterator<Item = (i32, Option<i64>)>,
        lateness: i64,
        idling: Idling,
    ) -> Self {
        let shown = |(partition, watermark): (i32, Option<i64>)| Shown {
            partition,
            origin: origin(node, partition as usize),
            given: idling.given(partition),
            asked: None,
            watermark: watermark.unwrap_or(i64::MIN),
            sent: i64::MIN,
            marked: 0,
            quiet: None,
            closed: false,
        };
        Marks { shown: partitions.map(shown).collect(), due: VecDeque::new(), lateness, idling }
    }

    /// Everyone who sends marks.
    pub fn origins(&self) -> impl Iterator<Item = Origin> {
        self.shown.iter().map(|shown| shown.origin)
    }

    /// The watermark of each partition, where it has one.
    pub fn watermarks(&self) -> impl Iterator<Item = Option<i64>> {
        self.shown.iter().map(|shown| Some(shown.watermark).filter(|watermark| *watermark > i64::MIN))
    }

    /// The partition at position `at` has shown a row at `offset` of event time `time`; its watermark before that.
    #[inline]
    pub fn show(&mut self, at: usize, offset: i64, time: i64) -> i64 {
        let shown = &mut self.shown[at];
        shown.reach(offset);
        let before = shown.watermark;
        shown.watermark = before.max(time.saturating_sub(self.lateness));
        before
    }

    /// The partition at position `at` has messages again.
    #[inline]
    pub fn wake(&mut self, at: usize) {
        self.shown[at].quiet = None;
    }

    /// All there is of the partition at position `at` was read; what comes next is of `offset` or a later one.
    pub fn quiet(&mut self, at: usize, offset: i64) {
        let shown = &mut self.shown[at];
        shown.reach(offset);
        shown.quiet.get_or_insert_with(|| (Instant::now(), offset));
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
        let greatest = self.idling.greatest(self.shown.iter().map(|shown| shown.watermark).max());
        for shown in self.shown.iter_mut().filter(|shown| !shown.closed && shown.marked != epoch) {
            if let Some((_, offset)) = shown.quiet.filter(|(since, _)| self.idling.is_over(*since))
                && shown.asked.is_none()
                && greatest > shown.watermark
            {
                // From here on what is earlier is late. Nothing is told of it before it is written down: whatever has left
                // by then has left without it.
                shown.watermark = greatest;
                shown.asked = Some(greatest);
                self.idling.ask(shown.partition, offset, greatest);
            }
            if shown.asked.is_some_and(|time| !self.idling.is_written(shown.partition, time)) {
                continue;
            }
            shown.asked = None;
            if shown.watermark > shown.sent {
                (shown.sent, shown.marked) = (shown.watermark, epoch);
                self.due.push_back(Mark::Watermark { origin: shown.origin, time: shown.watermark });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runtime::idle::Idle;
    use crate::runtime::{Boundaries, InForce, Job};

    fn marks(idling: Idling) -> Marks {
        Marks::new(3, [(1, None), (5, None)].into_iter(), 10, idling)
    }

    fn all(marks: &mut Marks) -> Vec<Mark> {
        std::iter::from_fn(|| marks.next()).collect()
    }

    #[test]
    fn a_partition_marks_once_an_epoch_and_only_when_it_has_risen() {
        let mut marks = marks(Idling::default());
        marks.show(1, 0, 100);
        marks.show(1, 1, 90);
        marks.look(1);
        assert_eq!(all(&mut marks), vec![Mark::Watermark { origin: origin(3, 5), time: 90 }]);
        marks.show(1, 2, 200);
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
        let mut marks = marks(Idling::after(Duration::ZERO));
        marks.show(1, 0, 100);
        marks.quiet(0, 7);
        marks.look(1);
        let expected = [1, 5].map(|partition| Mark::Watermark { origin: origin(3, partition), time: 90 });
        assert_eq!(all(&mut marks), expected);
        marks.wake(0);
        assert_eq!(marks.show(0, 7, 60), 90, "it is late by what was given away");
        marks.show(1, 1, 150);
        marks.look(2);
        assert_eq!(all(&mut marks), vec![Mark::Watermark { origin: origin(3, 5), time: 140 }]);
    }

    #[test]
    fn what_an_idle_partition_is_given_is_written_down_before_anybody_hears_of_it() {
        let job = Job::within("j", Boundaries::up_to(100, 0), InForce::default());
        let mut marks = marks(Idling::after(Duration::ZERO).of(&job));
        marks.show(1, 0, 100);
        marks.quiet(0, 7);
        marks.look(1);
        let of_other = Mark::Watermark { origin: origin(3, 5), time: 90 };
        assert_eq!(all(&mut marks), vec![of_other]);
        let asked = job.idle.asked();
        assert_eq!(asked, [Idle { source: String::new(), partition: 1, offset: 7, time: 90 }]);
        marks.wake(0);
        assert_eq!(marks.show(0, 7, 60), 90, "late already");
        marks.look(2);
        assert_eq!((all(&mut marks), job.idle.asked()), (vec![], vec![]));
        job.take_idle(asked);
        marks.look(3);
        assert_eq!(all(&mut marks), vec![Mark::Watermark { origin: origin(3, 1), time: 90 }]);
    }

    #[test]
    fn what_was_given_before_a_restart_is_given_again_at_the_same_offset() {
        let given = [(5, 50), (7, 90), (7, 95)].map(|(offset, time)| Idle {
            source: String::new(),
            partition: 1,
            offset,
            time,
        });
        let mut marks = marks(Idling::having_given(&given));
        assert_eq!(
            [(4, 20), (6, 20), (7, 20), (8, 200)].map(|(offset, time)| marks.show(0, offset, time)),
            [i64::MIN, 50, 95, 95]
        );
        assert_eq!(marks.show(1, 9, 20), i64::MIN, "others were given nothing");
    }
}
