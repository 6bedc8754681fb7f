//! The agent of one worker, beside it on the I/O runtime: gathers rows and delivers them, one delivery after the other.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::back_off::BackOff;
use super::waiting::{Gather, Waiting};
use super::{Courier, Outcome, Parcel};
use crate::error::{Error, Result};
use crate::metrics::Meter;
use crate::sinks::dead_letters::Refusals;
use crate::sinks::progress::Progress;
use crate::spec::masked;

/// How often failures are told.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What a sink asks of its agent.
pub enum Errand {
    /// To deliver these rows.
    Deliver(Vec<Parcel>),
    /// Not to wait for further rows of the epochs of those it has; with `end` for none at all.
    Flush {
        /// Nothing comes any more.
        end: bool,
    },
}

/// Delivers what comes through `incoming`, until nothing can come any more.
pub struct Agent<C> {
    /// Where errands come from.
    pub incoming: mpsc::UnboundedReceiver<Errand>,
    /// Which rows go together.
    pub gather: Gather,
    /// How they are delivered.
    pub attempts: Arc<Attempts<C>>,
    /// Where it is told.
    pub progress: Arc<Progress>,
}

type Delivering = Pin<Box<dyn Future<Output = (Vec<Parcel>, Result<()>)> + Send>>;

impl<C: Courier> Agent<C> {
    /// Runs it. Once the sink is gone, so is the need for what is on its way: a sink that ends well waits for it.
    pub async fn run(mut self) {
        let mut waiting = Waiting::new(self.gather);
        let mut delivering: Option<Delivering> = None;
        loop {
            if delivering.is_none() {
                let parcels = waiting.next(Instant::now());
                delivering = parcels.map(|parcels| Box::pin(Arc::clone(&self.attempts).deliver(parcels)) as Delivering);
            }
            let due = waiting.due().filter(|_| delivering.is_none());
            tokio::select! {
                errand = self.incoming.recv() => match errand {
                    Some(Errand::Deliver(parcels)) => waiting.push(parcels, Instant::now()),
                    Some(Errand::Flush { end }) => waiting.flush(end, Instant::now()),
                    None => break,
                },
                (parcels, result) = delivered(&mut delivering) => {
                    delivering = None;
                    match result {
                        Ok(()) => self.progress.acknowledge(&parcels),
                        Err(error) => {
                            self.progress.fail(error);
                            break;
                        }
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }
}

/// Waits for the end of what is under way, if anything is.
async fn delivered(delivering: &mut Option<Delivering>) -> (Vec<Parcel>, Result<()>) {
    match delivering {
        Some(delivering) => delivering.await,
        None => std::future::pending().await,
    }
}

/// Delivers rows, in as many attempts as it takes.
pub struct Attempts<C> {
    courier: Arc<C>,
    give_up_after: Option<Duration>,
    meter: Meter,
    refusals: Refusals,
    told: Mutex<Option<Instant>>,
}

impl<C: Courier> Attempts<C> {
    /// By `courier`, for so long; what is refused goes to `refusals`.
    pub fn new(courier: Arc<C>, give_up_after: Option<Duration>, meter: Meter, refusals: Refusals) -> Arc<Self> {
        Arc::new(Attempts { courier, give_up_after, meter, refusals, told: Mutex::default() })
    }

    async fn deliver(self: Arc<Self>, parcels: Vec<Parcel>) -> (Vec<Parcel>, Result<()>) {
        self.meter.in_flight.add(parcels.len() as i64);
        let _landed = Landed(&self.meter, parcels.len() as i64);
        match self.attempt(&parcels).await {
            Ok(()) => (parcels, Ok(())),
            Err(reason) => self.refuse(parcels, reason).await,
        }
    }

    /// Tries for as long as that may help; else, why it does not.
    async fn attempt(&self, parcels: &[Parcel]) -> Result<(), String> {
        let (began, mut back_off) = (Instant::now(), BackOff::new());
        loop {
            let (reason, after) = match self.courier.attempt(parcels).await {
                Outcome::Delivered => return Ok(()),
                Outcome::Later { reason, after } => (reason, after),
                Outcome::Refused(reason) => {
                    self.meter.write_errors.inc();
                    self.tell("rows become dead letters", &reason);
                    return Err(reason);
                }
            };
            self.meter.write_errors.inc();
            let wait = back_off.next(after);
            if self.give_up_after.is_some_and(|limit| began.elapsed() + wait > limit) {
                self.tell("given up, rows become dead letters", &reason);
                return Err(format!("given up: {reason}"));
            }
            self.tell("tried again", &reason);
            sleep(wait).await;
        }
    }

    /// Makes dead letters of rows. That may block.
    async fn refuse(&self, parcels: Vec<Parcel>, reason: String) -> (Vec<Parcel>, Result<()>) {
        let refusals = self.refusals.clone();
        let refuse = move || {
            let kept = parcels.iter().try_for_each(|parcel| refusals.refuse_json(&parcel.row, &masked(&reason)));
            (parcels, kept)
        };
        let refused = tokio::task::spawn_blocking(refuse).await;
        refused.unwrap_or_else(|error| (Vec::new(), Err(Error::run(format!("dead letters: {error}")))))
    }

    /// Says, now and then, that something fails.
    fn tell(&self, consequence: &str, reason: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(job = self.refusals.job, "`{}`: {reason}; {consequence}", self.refusals.node);
        }
    }
}

/// Rows are in flight until this is gone.
struct Landed<'a>(&'a Meter, i64);

impl Drop for Landed<'_> {
    fn drop(&mut self) {
        self.0.in_flight.sub(self.1);
    }
}
