//! Feeds what a [`Reader`] finds into the dataflow: epochs, announcements, back-pressure.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::operators::probe::Handle as Probe;
use timely::dataflow::{Scope, Stream};
use timely::scheduling::{Activator, SyncActivator};

use super::letters::{LETTERS, Letters};
use super::outstanding::Outstanding;
use super::{Cut, Read, Reader};
use crate::batch::{Batch, Body, Epoch, Mark, Rows};
use crate::error::Result;
use crate::operators::keyed::NodeContext;
use crate::operators::ports::ROWS;
use crate::operators::state::StateKeeper;
use crate::runtime::AHEAD;
use crate::runtime::epochs::EpochClock;

/// Batches taken from the reader before the rest of the dataflow has its turn.
const BATCHES_A_TURN: usize = 4;
/// How many epochs a source may run ahead of what is durable.
const EPOCHS_AHEAD: usize = 512;
/// How often a source that waits for room looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What the feeding of one source on one worker depends on.
pub struct Feed {
    /// The node.
    pub node: NodeContext,
    /// How often the clock cuts.
    pub epoch: Duration,
    /// The first epoch.
    pub start: Epoch,
    /// Behind all sinks of the job.
    pub durable: Probe<Epoch>,
    /// How many bytes may be read and not yet durable.
    pub memory: usize,
    /// Writes down where the reader stands, where there are checkpoints.
    pub keeper: Option<StateKeeper>,
    /// The dead letters of the reader, where they are read in the dataflow.
    pub letters: Option<Arc<Letters>>,
}

/// The rows of the reader that `open` makes.
pub fn feed<'s>(
    scope: Scope<'s, Epoch>,
    feed: Feed,
    open: impl FnOnce(SyncActivator) -> Box<dyn Reader>,
) -> Stream<'s, Epoch, Batch> {
    let name = feed.node.name.clone();
    source::<Epoch, CapacityContainerBuilder<Batch>, _, _>(scope, &name, move |capability, info| {
        let activator = scope.activator_for(Rc::clone(&info.address));
        let wake = scope.worker().sync_activator_for(info.address.to_vec());
        feed.node.job.wake_source(wake.clone());
        let reader = open(wake);
        if reader.cut() == Cut::Clock {
            feed.node.job.cut_by_clock();
        }
        let mut state = Feeding::new(feed, reader, activator, capability);
        move |output| {
            state.turn(|capability, port, body| {
                output.session(capability).give_container(&mut Batch::of_port(port, body));
            });
        }
    })
}

struct Feeding {
    feed: Feed,
    reader: Box<dyn Reader>,
    activator: Activator,
    capability: Option<Capability<Epoch>>,
    clock: EpochClock,
    outstanding: Outstanding,
    waiting_since: Option<Instant>,
    announced: bool,
    /// When the clock wakes the source next.
    alarm: Option<Instant>,
    /// Rows of an epoch that may not be opened yet.
    ahead: Option<(Read, Option<RecordBatch>)>,
    /// Since when the reader has had nothing.
    idle: Option<Instant>,
}

impl Feeding {
    fn new(feed: Feed, reader: Box<dyn Reader>, activator: Activator, capability: Capability<Epoch>) -> Self {
        Feeding {
            clock: EpochClock::new(feed.start, feed.epoch),
            feed,
            reader,
            activator,
            capability: Some(capability),
            outstanding: Outstanding::default(),
            waiting_since: None,
            announced: false,
            alarm: None,
            ahead: None,
            idle: None,
        }
    }

    fn turn(&mut self, mut send: impl FnMut(&Capability<Epoch>, usize, Body)) {
        if self.feed.node.job.stopping() {
            self.capability = None;
            self.feed.node.standing.note(None, false);
        }
        self.end_at_the_last_boundary();
        let Some(capability) = &mut self.capability else { return };
        if !self.announced {
            self.announced = true;
            // In the epoch before the first, like all that comes before any row.
            capability.downgrade(&self.feed.node.first);
            for (origin, time) in self.reader.origins() {
                send(capability, ROWS, Body::Mark(Mark::Watermark { origin, time }));
            }
            capability.downgrade(&self.feed.start.max(1));
        }
        // An epoch that the reader cuts becomes durable only once it has been read to its end.
        let mut uncut = Some(*capability.time());
        if self.reader.cut() == Cut::Clock {
            let epoch = self.clock.now();
            let last = self.feed.node.job.boundaries.reach();
            uncut = None;
            // At the horizon, what comes still belongs before it; when it moves, the source is woken.
            self.advance(epoch.min(last));
            if epoch <= last {
                self.wake_at_next();
            }
        }
        let least = self.feed.durable.with_frontier(|frontier| frontier.first().copied()).unwrap_or(Epoch::MAX);
        self.outstanding.settle(least);
        self.reader.durable(least);
        let waited_for = self.outstanding.bytes - uncut.map_or(0, |epoch| self.outstanding.of(epoch));
        if waited_for > self.feed.memory || self.outstanding.epochs() > EPOCHS_AHEAD {
            self.waiting_since.get_or_insert_with(Instant::now);
            self.feed.node.standing.note(Some(least), false);
            self.activator.activate_after(LOOK_AGAIN);
            return;
        }
        if let Some(since) = self.waiting_since.take() {
            self.feed.node.meter.back_pressure.inc_by(since.elapsed().as_millis() as u64);
            self.feed.node.standing.note(None, true);
        }
        if self.is_held() {
            return;
        }
        for _ in 0..BATCHES_A_TURN {
            if !self.step(&mut send) {
                return;
            }
        }
        self.activator.activate();
    }

    /// Whether the clock has come to a horizon that is held: what is read there would belong behind it. When it moves, the
    /// source is woken.
    fn is_held(&self) -> bool {
        let horizon = self.feed.node.job.boundaries.horizon();
        self.reader.cut() == Cut::Clock
            && self.capability.as_ref().is_some_and(|capability| *capability.time() >= horizon)
    }

    /// Moves on to `epoch`, where it is a later one.
    fn advance(&mut self, epoch: Epoch) {
        if self.capability.as_ref().is_some_and(|capability| epoch > *capability.time()) {
            self.pass(epoch);
            self.capability.as_mut().into_iter().for_each(|capability| capability.downgrade(&epoch));
        }
    }

    /// Lets go of the capability. The operator is not asked again after that.
    fn end(&mut self) {
        if let Some(keeper) = self.feed.keeper.take() {
            let reader = &self.reader;
            keeper.end(|boundary| reader.position(boundary.epoch));
        }
        self.capability = None;
    }

    /// Nothing before `epoch` is read any more: where the reader stands belongs to the checkpoints before it.
    fn pass(&mut self, epoch: Epoch) {
        let (keeper, reader) = (&mut self.feed.keeper, &self.reader);
        if let Some(keeper) = keeper {
            keeper.pass(epoch, |boundary| reader.position(boundary.epoch));
        }
    }

    /// The clock opens no epoch behind the last boundary; a reader that cuts epochs has to come to it first.
    fn end_at_the_last_boundary(&mut self) {
        if self.capability.is_none() || self.feed.node.job.boundaries.last().is_none() {
            return;
        }
        // A reader that paces its rows names epochs as time goes by: it is past the boundary when it has been idle for
        // longer than the horizon is ahead.
        let paced = self.idle.is_some_and(|idle| idle.elapsed() > 2 * AHEAD);
        if self.reader.cut() == Cut::Clock || self.ahead.is_some() || paced {
            self.end();
        }
    }

    /// One alarm at a time: a busy source has thousands of turns in an epoch.
    fn wake_at_next(&mut self) {
        let now = Instant::now();
        if self.alarm.is_none_or(|alarm| alarm <= now) {
            let wait = self.clock.until_next();
            self.activator.activate_after(wait);
            self.alarm = Some(now + wait);
        }
    }

    /// Takes one thing from the reader; whether there may be more.
    fn step(&mut self, send: &mut impl FnMut(&Capability<Epoch>, usize, Body)) -> bool {
        let (read, letters) = match self.next() {
            Ok(next) => next,
            Err(error) => {
                self.feed.node.job.fail(error.of_node(&self.feed.node.name));
                self.capability = None;
                return false;
            }
        };
        if let Some(epoch) = opens(&read) {
            if !self.feed.node.job.boundaries.may_open(epoch) {
                self.ahead = Some((read, letters));
                // Nothing comes before the horizon any more: boundaries up to there need not wait until it moves.
                let last = self.feed.node.job.boundaries.reach();
                self.advance(epoch.min(last));
                self.end_at_the_last_boundary();
                return false;
            }
            self.advance(epoch);
        }
        let Some(capability) = &self.capability else { return false };
        let source = self.feed.node.index as u16;
        if let Some(data) = letters {
            self.outstanding.add(*capability.time(), data.get_array_memory_size());
            send(capability, LETTERS, Body::Rows(Rows { data, source }));
        }
        match read {
            Read::Rows { data, bytes, extent, .. } => {
                self.idle = None;
                self.outstanding.add(*capability.time(), bytes);
                let meter = &self.feed.node.meter;
                meter.rows_out.inc_by(data.num_rows() as u64);
                meter.bytes_in.inc_by(bytes as u64);
                meter.progress.inc_by(extent);
                if data.num_rows() > 0 {
                    self.feed.node.tap.show(&data);
                    send(capability, ROWS, Body::Rows(Rows { data, source }));
                }
                true
            }
            Read::Mark(mark) => {
                send(capability, ROWS, Body::Mark(mark));
                true
            }
            Read::Advance(_) => true,
            Read::Idle(after) => {
                self.idle.get_or_insert_with(Instant::now);
                if let Some(after) = after {
                    self.activator.activate_after(after);
                }
                false
            }
            Read::End => {
                for (origin, _) in self.reader.origins() {
                    send(capability, ROWS, Body::Mark(Mark::Close { origin }));
                }
                self.end();
                false
            }
        }
    }

    /// What was read too early, or the next thing the reader has.
    fn next(&mut self) -> Result<(Read, Option<RecordBatch>)> {
        match self.ahead.take() {
            Some(ahead) => Ok(ahead),
            None => read(self.reader.as_mut(), self.feed.letters.as_deref()),
        }
    }
}

/// The epoch that a reader opens by what it has read.
fn opens(read: &Read) -> Option<Epoch> {
    match read {
        Read::Rows { epoch, .. } => *epoch,
        Read::Advance(epoch) => Some(*epoch),
        _ => None,
    }
}

/// The next thing there is, and the dead letters that came with it.
fn read(reader: &mut dyn Reader, letters: Option<&Letters>) -> Result<(Read, Option<RecordBatch>)> {
    let read = reader.read()?;
    let rows = if let Read::Rows { data, .. } = &read { Some(data) } else { None };
    let letters = letters.map_or(Ok(None), |letters| letters.take(rows))?;
    Ok((read, letters))
}
