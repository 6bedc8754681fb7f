//! `guarantee = "exactly_once"`: whole epochs in transactions, and of a replay only the rows that are not there yet.
//!
//! While a job is prepared, the transactional ids of the last generation are taken over, also those of slots that have
//! no worker any more: then nobody else can commit. Once all processes have done so, the markers are read, and until
//! then no row is taken.

use std::collections::BTreeMap;
use std::mem::replace;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, scope};
use std::time::Duration;

use super::claims::Claims;
use super::committer::{Committer, Desk, Marking, Parcel};
use super::fresh::Fresh;
use super::markers::Markers;
use super::positions::{Committed, Slot, inherited};
use super::{KafkaPlan, unprepared};
use crate::batch::{Epoch, Rows};
use crate::error::{Error, Result};
use crate::kafka::{Health, Transactions};
use crate::keys::KeyReader;
use crate::runtime::Prepare;
use crate::sabotage::breaks;
use crate::sinks::{PreparedSink, Sink, SinkContext};
use crate::sources::lanes::{PlaceColumns, Positions};
use crate::spec::Edge;

/// How long it may take to take the transactional ids over.
const TAKEN_OVER: Duration = Duration::from_secs(30);
/// How long brokers may be away before a transaction is lost: a process that dies leaves what it has open to the next
/// generation, which aborts it at once.
const OUTAGE: Duration = Duration::from_secs(300);
/// Likewise, where nobody will come: what is open holds readers back until then.
const ALONE: Duration = Duration::from_secs(60);

/// How a sink writes every row once.
#[derive(Clone)]
pub struct ExactlyOnce {
    /// The name of the sink.
    pub sink: String,
    /// The rows that come in.
    pub input: Edge,
    /// Where their places are.
    pub columns: PlaceColumns,
    /// The topic of the markers.
    pub markers: String,
    /// Also where nothing is kept of the job, so that readers never see half an epoch.
    pub always: bool,
}

impl ExactlyOnce {
    /// Takes over what an earlier generation may have open, and connects the workers of this process.
    pub fn prepare(&self, plan: &KafkaPlan, prepare: &Prepare) -> Result<Arc<dyn PreparedSink>> {
        let markers = prepare.recovery.as_ref().map(|recovery| Markers {
            connection: plan.connection.clone(),
            topic: self.markers.clone(),
            job: recovery.job_id.clone(),
            sink: self.sink.clone(),
            generation: recovery.generation,
        });
        if let Some(markers) = &markers {
            markers.make_topic()?;
        } else {
            let warning = "exactly_once holds while the job runs; nothing is kept of it, so a restart begins anew";
            tracing::warn!("`{}`: {warning}: give it a state store", self.sink);
        }
        let transactions = self.take_over(plan, prepare)?;
        Ok(Arc::new(Prepared {
            plan: plan.clone(),
            exactly: self.clone(),
            tidies: prepare.recovery.as_ref().is_some_and(|recovery| recovery.process == 0),
            transactions: Mutex::new(transactions),
            claims: Arc::new(Claims::of(markers.is_some())),
            markers,
        }))
    }

    /// The producers of the workers of this process. Slots without a worker are shared out among the processes.
    fn take_over(&self, plan: &KafkaPlan, prepare: &Prepare) -> Result<Vec<(usize, Transactions)>> {
        // Shared, so that what concerns all workers is told once.
        let health = Health::new(format!("topic {}", plan.topic));
        let timeout = if prepare.recovery.is_some() { OUTAGE } else { ALONE };
        let take = |slot: usize| -> Result<Transactions> {
            let id = self.transactional_id(plan, prepare, slot);
            let transactions = Transactions::new(&plan.connection, &id, timeout, health.clone())?;
            transactions.init(TAKEN_OVER).map(|()| transactions)
        };
        let (own, take) = (prepare.local_workers.clone(), &take);
        scope(|scope| {
            // At the same time, as each may take a second.
            let abandoned: Vec<_> = abandoned(prepare).map(|slot| scope.spawn(move || take(slot).map(drop))).collect();
            let own: Vec<_> = own.map(|slot| (slot, scope.spawn(move || take(slot)))).collect();
            let broken = |_| Error::run("a thread that took a transactional id over has panicked");
            abandoned.into_iter().try_for_each(|taken| taken.join().map_err(broken)?)?;
            own.into_iter().map(|(slot, taken)| Ok((slot, taken.join().map_err(broken)??))).collect()
        })
    }

    fn transactional_id(&self, plan: &KafkaPlan, prepare: &Prepare, slot: usize) -> String {
        let (job, sink) = (&prepare.job, &self.sink);
        match &prepare.recovery {
            Some(recovery) if breaks("fencing") => format!("{job}-{}-{slot}", recovery.generation),
            Some(recovery) => format!("tapeflow-{}-{job}-{sink}-{slot}", recovery.job_id),
            // Others may have jobs of this name, but hardly for this topic.
            None => format!("tapeflow-{job}-{sink}-{}-{slot}", plan.topic),
        }
    }
}

/// The slots of the last generation that have no worker any more, as far as this process looks after them.
fn abandoned(prepare: &Prepare) -> impl Iterator<Item = usize> + use<> {
    let (last, process, processes) = match &prepare.recovery {
        Some(recovery) => (recovery.last_workers, recovery.process, recovery.processes.max(1)),
        None => (0, 0, 1),
    };
    (prepare.workers..last).filter(move |slot| slot % processes == process)
}

struct Prepared {
    plan: KafkaPlan,
    exactly: ExactlyOnce,
    /// Whether it takes back what markers are not needed any more: one process does.
    tidies: bool,
    transactions: Mutex<Vec<(usize, Transactions)>>,
    /// Set where a later generation will look.
    markers: Option<Markers>,
    claims: Arc<Claims>,
}

impl PreparedSink for Prepared {
    fn open(&self, context: SinkContext) -> Box<dyn Sink> {
        let mut transactions = self.transactions.lock().unwrap_or_else(PoisonError::into_inner);
        let own = transactions.iter().position(|(worker, _)| *worker == context.worker);
        let own = own.map(|at| transactions.swap_remove(at).1);
        let desk = Desk::default();
        desk.wake_by(context.wake.clone());
        let slots = self.tidies.then_some(context.workers);
        self.claims.ask(context.wake.clone(), self.markers.as_ref(), &context.lanes, slots);
        Box::new(ExactlyOnceSink {
            stage: own.map_or(Stage::Closed, Stage::Waiting),
            plan: self.plan.clone(),
            exactly: self.exactly.clone(),
            markers: self.markers.clone(),
            claims: Arc::clone(&self.claims),
            desk,
            open: BTreeMap::new(),
            context,
        })
    }
}

/// The sink of one worker.
struct ExactlyOnceSink {
    plan: KafkaPlan,
    exactly: ExactlyOnce,
    markers: Option<Markers>,
    claims: Arc<Claims>,
    desk: Desk,
    stage: Stage,
    /// Epochs that are not complete yet.
    open: BTreeMap<Epoch, Parcel>,
    context: SinkContext,
}

enum Stage {
    /// For the markers.
    Waiting(Transactions),
    /// Rows are taken.
    Running(Box<Fresh>),
    /// It has failed, or had nothing to write with from the beginning.
    Closed,
}

impl ExactlyOnceSink {
    /// Begins to take rows once it is known what was committed.
    fn begin(&mut self) -> Result<()> {
        let Stage::Waiting(_) = &self.stage else { return Ok(()) };
        let Some(claims) = self.claims.get() else { return Ok(()) };
        let Stage::Waiting(transactions) = replace(&mut self.stage, Stage::Closed) else { return Ok(()) };
        let claims = claims?;
        let slot = Slot { number: self.context.worker, of: self.context.workers };
        let committed = Committed::of(slot, &claims);
        let lanes = Arc::clone(&self.context.lanes);
        let marking = self.markers.clone().map(|markers| {
            let positions = inherited(slot, &claims);
            Marking { markers, slot, positions, lanes: Arc::clone(&lanes) }
        });
        let (topic, desk) = (self.plan.topic.clone(), self.desk.clone());
        let committer = Committer { transactions, topic, desk, marking };
        let thread = Builder::new().name("kafka-commit".to_string()).spawn(move || committer.run());
        thread.map_err(|error| Error::run(format!("cannot start a thread: {error}")))?;
        let key = KeyReader::new(&self.exactly.input.schema, &self.exactly.input.key)?;
        self.stage = Stage::Running(Box::new(Fresh { committed, columns: self.exactly.columns, lanes, key }));
        Ok(())
    }
}

impl Sink for ExactlyOnceSink {
    fn ready(&mut self) -> bool {
        if let Err(error) = self.begin() {
            self.desk.fail(error.to_string());
        }
        match &self.stage {
            Stage::Waiting(_) => false,
            Stage::Running(_) => self.desk.has_room(),
            // `write` says why there is none.
            Stage::Closed => true,
        }
    }

    fn write(&mut self, epoch: Epoch, rows: &Rows) -> Result<()> {
        let Stage::Running(fresh) = &mut self.stage else {
            self.desk.uncommitted()?;
            return Err(unprepared(&self.plan.topic));
        };
        let mut reached = Positions::new();
        let data = fresh.of(rows, &mut reached)?;
        self.context.meter.repeated.inc_by((rows.data.num_rows() - data.num_rows()) as u64);
        if data.num_rows() == 0 {
            return Ok(());
        }
        let parcel = self.open.entry(epoch).or_insert_with(|| Parcel { epoch, ..Parcel::default() });
        parcel.messages.push(self.plan.encoder.encode(&data)?);
        for (lane, place) in reached {
            let last = parcel.reached.entry(lane).or_insert(place);
            *last = place.max(*last);
        }
        Ok(())
    }

    fn flush(&mut self, frontier: Epoch) -> Result<()> {
        while let Some(first) = self.open.first_entry().filter(|first| *first.key() < frontier) {
            self.desk.hand_over(first.remove());
        }
        Ok(())
    }

    fn unacknowledged(&mut self) -> Result<Option<Epoch>> {
        let (least, messages) = self.desk.uncommitted().inspect_err(|_| self.context.meter.write_errors.inc())?;
        self.context.meter.in_flight.set(messages as i64);
        Ok(least.or(self.open.first_key_value().map(|(epoch, _)| *epoch)))
    }
}

impl Drop for ExactlyOnceSink {
    fn drop(&mut self) {
        self.desk.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Recovery;

    #[test]
    fn every_slot_of_the_last_generation_is_looked_after_by_one_process() {
        let of = |process: usize, last_workers: usize| {
            let recovery = Recovery { job_id: "1".to_string(), generation: 2, last_workers, process, processes: 2 };
            let local_workers = process * 2..process * 2 + 2;
            let prepare = Prepare {
                job: "j".to_string(),
                local_workers: local_workers.clone(),
                workers: 4,
                memory: 1,
                keeping: None,
                recovery: Some(recovery),
            };
            local_workers.chain(abandoned(&prepare)).collect::<Vec<_>>()
        };
        assert_eq!((of(0, 0), of(1, 4)), (vec![0, 1], vec![2, 3]));
        assert_eq!((of(0, 7), of(1, 7)), (vec![0, 1, 4, 6], vec![2, 3, 5]));
    }
}
