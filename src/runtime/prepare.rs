//! The first of the two steps of an installation: everything that may fail, once in every process.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::boundaries::Boundaries;
use super::idle::Idle;
use super::settings::Settings;
use super::{Begin, Checkpointing, Decision, GoOn, InForce, Job, Lease, Recovery, Resumed, epochs, write_down};
use crate::batch::Epoch;
use crate::error::{Error, Result};
use crate::metrics::Meter;
use crate::sinks::PreparedSink;
use crate::sinks::dead_letters::{DeadLetters, InFolder, Refusals};
use crate::sinks::dead_letters_kafka::in_topic;
use crate::sources::shape::OnError;
use crate::sources::{OnGap, PreparedSource};
use crate::spec::{DeadLettersTo, Plan, PlannedNode, Role};
use crate::state::{Checkpoints, SourceAt};

/// How long the last dead letters may take to be kept.
const KEPT: Duration = Duration::from_secs(30);

/// Epochs that may be opened before the leader has come round.
const FIRST_EPOCHS: Epoch = 16;

/// What sources and sinks are prepared with.
pub struct Prepare {
    /// The name of the job.
    pub job: String,
    /// The workers of this process, by their index in the cluster.
    pub local_workers: Range<usize>,
    /// How many workers there are in the cluster.
    pub workers: usize,
    /// How much each worker may have read and not yet written, in bytes.
    pub memory: u64,
    /// Where its state is kept, if it is.
    pub keeping: Option<Keeping>,
    /// Likewise: what is needed to go on from it.
    pub recovery: Option<Recovery>,
}

impl Prepare {
    /// To run `plan` on the local ones of so many workers, its state kept nowhere.
    pub fn new(plan: &Plan, local_workers: Range<usize>, workers: usize) -> Self {
        let memory = plan.job.settings.memory.0;
        Prepare { job: plan.job.name.clone(), local_workers, workers, memory, keeping: None, recovery: None }
    }

    /// The same, its state kept.
    pub fn keeping(self, keeping: Keeping) -> Self {
        let recovery = Recovery {
            job_id: keeping.id.clone(),
            generation: keeping.generation,
            last_workers: keeping.most_workers,
            process: keeping.process,
            processes: keeping.processes,
        };
        Prepare { keeping: Some(keeping), recovery: Some(recovery), ..self }
    }

    /// Where `node` stood in the checkpoint that the job goes on from.
    pub fn positions(&self, node: &str) -> impl Iterator<Item = (&[u8], &[u8])> {
        let resumed = self.keeping.as_ref().and_then(|keeping| keeping.resumed.as_ref());
        resumed.into_iter().flat_map(move |resumed| resumed.positions(node))
    }

    /// How far the partitions of `node` were given up while they were idle.
    pub fn idle(&self, node: &str) -> impl Iterator<Item = &Idle> {
        let all = self.keeping.iter().flat_map(|keeping| &keeping.idle);
        all.filter(move |idle| idle.source == node)
    }

    /// What is done where messages that the job would go on with are not there any more.
    pub fn on_gap(&self) -> OnGap {
        self.keeping.as_ref().map_or(OnGap::Fail, |keeping| keeping.go_on.on_offset_gap)
    }

    /// Whether what is kept of `node` and does not fit is left behind.
    pub fn forgets(&self, node: &str) -> bool {
        self.keeping.as_ref().is_some_and(|keeping| keeping.go_on.forget.iter().any(|forgotten| forgotten == node))
    }
}

/// How the state of a job is kept.
#[derive(Clone)]
pub struct Keeping {
    /// Where.
    pub checkpoints: Checkpoints,
    /// The generation of the cluster.
    pub generation: u64,
    /// This process, and how many there are.
    pub process: usize,
    /// How many processes there are.
    pub processes: usize,
    /// The most workers that any generation had.
    pub most_workers: usize,
    /// The id of the job.
    pub id: String,
    /// The number that its next checkpoint comes after.
    pub number: u64,
    /// The hash of its dataflow file.
    pub hash: String,
    /// What it goes on from.
    pub resumed: Option<Arc<Resumed>>,
    /// How far idle partitions were given up before.
    pub idle: Vec<Idle>,
    /// What is done where it cannot go on just as it was.
    pub go_on: GoOn,
    /// How far its epochs may go.
    pub lease: Arc<Lease>,
}

/// A plan whose sources and sinks are open in this process.
pub struct Prepared {
    /// The plan.
    pub plan: Plan,
    /// What the workers share.
    pub job: Arc<Job>,
    /// The first epoch.
    pub start: Epoch,
    sources: BTreeMap<usize, Arc<dyn PreparedSource>>,
    sinks: BTreeMap<usize, Arc<dyn PreparedSink>>,
    letters: Arc<dyn DeadLetters>,
    finished: OnceLock<()>,
    /// Its checkpoints, where there are any.
    pub kept: Option<Kept>,
}

/// The checkpoints of a job that is prepared.
pub struct Kept {
    /// The number of the checkpoint that says where it begins.
    pub first: u64,
    /// Takes the state of its nodes.
    pub checkpointing: Arc<Checkpointing>,
    /// How far its epochs may go.
    pub lease: Arc<Lease>,
    /// What it goes on from.
    pub resumed: Option<Arc<Resumed>>,
    /// What its leader has to know.
    pub settings: Settings,
}

impl Prepared {
    /// Opens the sources and sinks of `plan`. `start` must be the same in every process.
    pub fn new(plan: Plan, prepare: &Prepare, start: Epoch) -> Result<Prepared> {
        let (mut sources, mut sinks) = (BTreeMap::new(), BTreeMap::new());
        for (at, node) in plan.nodes.iter().enumerate() {
            match &node.role {
                Role::Source(source) => drop(sources.insert(at, source.prepare(prepare)?)),
                Role::Sink(sink) => drop(sinks.insert(at, sink.prepare(prepare)?)),
                Role::Operator(_) => {}
            }
        }
        let letters = dead_letters(&plan)?;
        let prepared = Prepared::with(plan, sources, sinks, letters, start);
        match &prepare.keeping {
            Some(keeping) => prepared.keeping(keeping, prepare.workers),
            None => Ok(prepared),
        }
    }

    fn keeping(self, keeping: &Keeping, workers: usize) -> Result<Prepared> {
        let Keeping { checkpoints, generation, process, processes, id, number, hash, resumed, lease, .. } =
            keeping.clone();
        let origin = resumed.as_ref().map_or(self.start, |resumed| resumed.origin(self.start));
        let name = self.plan.job.name.clone();
        let first = number + 1;
        let in_force = resumed.as_ref().map(|resumed| InForce::of(&resumed.manifest.in_force)).unwrap_or_default();
        let job = Job::within(&name, Boundaries::up_to(self.start + FIRST_EPOCHS, first), in_force);
        if let Some(resumed) = &resumed {
            job.kept(resumed.manifest.number, false);
        }
        let checkpointing = Checkpointing::new(checkpoints, generation, process, &job, Arc::clone(&self.letters));
        let (every, keep) = (self.plan.job.settings.checkpoint, self.plan.job.settings.keep);
        let (sources, sinks) = (self.sources_at(resumed.as_deref()), self.kinds_of_sinks());
        let settings = Settings { name, id, hash, generation, workers, processes, every, keep, origin, sources, sinks };
        Ok(Prepared { job, kept: Some(Kept { first, checkpointing, lease, resumed, settings }), ..self })
    }

    /// What its sources read, and from which epoch on they count: new ones from the first.
    fn sources_at(&self, resumed: Option<&Resumed>) -> BTreeMap<String, SourceAt> {
        let at = |(at, node): (usize, &PlannedNode)| {
            let Role::Source(source) = &node.role else { return None };
            let anew = self.sources.get(&at).is_none_or(|source| source.begins_anew());
            let origin = resumed.filter(|_| !anew).and_then(|resumed| resumed.origin_of(&node.name, self.start));
            Some((node.name.clone(), SourceAt { what: source.what(), origin: origin.unwrap_or(self.start) }))
        };
        self.plan.nodes.iter().enumerate().filter_map(at).collect()
    }

    fn kinds_of_sinks(&self) -> BTreeMap<String, String> {
        let sinks = self.plan.nodes.iter().filter(|node| matches!(node.role, Role::Sink(_)));
        sinks.map(|node| (node.name.clone(), node.kind.to_string())).collect()
    }

    /// Where its sources and sinks begin, as far as this process knows it.
    pub fn begins(&self) -> Result<Vec<Begin>> {
        let mut begins = Vec::new();
        for (at, node) in self.plan.nodes.iter().enumerate() {
            let entries = match (self.sources.get(&at), self.sinks.get(&at)) {
                (Some(source), _) => source.begins()?,
                (None, Some(sink)) => sink.begins(),
                (None, None) => Vec::new(),
            };
            begins.push(Begin { node: node.name.clone(), entries });
        }
        Ok(begins)
    }

    /// Writes down where all processes begin, before anything is read. To be called in one process.
    pub async fn write_down(&self, begins: Vec<Begin>) -> Result<()> {
        let Some(kept) = &self.kept else { return Ok(()) };
        kept.lease.cover(self.start + FIRST_EPOCHS).await?;
        write_down(kept, self.start, begins).await
    }

    /// Looks whether all that `plan` needs is there; changes nothing. Everything that is wrong.
    pub fn look(plan: &Plan) -> Vec<Error> {
        let look = |node: &PlannedNode| match &node.role {
            Role::Source(source) => source.look(),
            Role::Sink(sink) => sink.look(),
            Role::Operator(_) => Ok(()),
        };
        let nodes = plan.nodes.iter().filter_map(|node| Some((format!("`{}`", node.name), look(node).err()?)));
        let letters = dead_letters(plan).err().map(|error| ("dead letters".to_string(), error));
        nodes.chain(letters).map(|(what, error)| error.of(&what)).collect()
    }

    /// A plan with sources and sinks that are open already.
    pub fn with(
        plan: Plan,
        sources: BTreeMap<usize, Arc<dyn PreparedSource>>,
        sinks: BTreeMap<usize, Arc<dyn PreparedSink>>,
        letters: Arc<dyn DeadLetters>,
        start: Epoch,
    ) -> Prepared {
        let (job, finished) = (Job::new(&plan.job.name), OnceLock::new());
        Prepared { job, plan, start, sources, sinks, letters, finished, kept: None }
    }

    /// The source at position `node` of the plan.
    pub fn source(&self, node: usize) -> Option<&Arc<dyn PreparedSource>> {
        self.sources.get(&node)
    }

    /// The sink at position `node` of the plan.
    pub fn sink(&self, node: usize) -> Option<&Arc<dyn PreparedSink>> {
        self.sinks.get(&node)
    }

    /// What `node` does with records it cannot use.
    pub fn refusals(&self, node: &str, on_error: OnError, meter: Meter) -> Refusals {
        let (job, node) = (self.plan.job.name.clone(), node.to_string());
        Refusals { job, node, on_error, letters: Arc::clone(&self.letters), meter, read: None }
    }

    /// A decision of the job's leader takes effect in this process.
    pub fn take(&self, decision: Decision) {
        if let Decision::Complete { number, .. } = decision
            && number > self.job.boundaries.complete()
        {
            for (node, sink) in &self.sinks {
                if let Err(error) = sink.completed(number) {
                    self.job.fail(error.of_node(&self.plan.nodes[*node].name));
                }
            }
        }
        decision.take(&self.job);
    }

    /// Ends the job when all its dead letters are kept. This waits, and so does who comes second until the first has
    /// done it: workers must not.
    pub fn finish(&self) {
        self.finished.get_or_init(|| {
            if let Err(error) = self.letters.flush(KEPT) {
                self.job.fail(error);
            }
            self.job.end();
        });
    }

    /// Likewise, but beside the caller.
    pub fn finish_aside(self: &Arc<Self>) {
        let prepared = Arc::clone(self);
        match runtime() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || prepared.finish())),
            // Whoever waits for the job finishes it.
            Err(error) => self.job.fail(error),
        }
    }

    /// How much all bounded sources hold together, and how much of it was read.
    pub fn extent(&self) -> Option<(u64, u64)> {
        let mut sum = (0, 0);
        for (at, source) in &self.sources {
            sum.1 += source.extent()?;
            sum.0 += self.job.total(&self.plan.nodes[*at].name, |meter| meter.progress.get());
        }
        (!self.sources.is_empty()).then_some(sum)
    }
}

fn dead_letters(plan: &Plan) -> Result<Arc<dyn DeadLetters>> {
    match &plan.job.settings.dead_letters {
        DeadLettersTo::Folder(folder) => Ok(Arc::new(InFolder::new(&plan.job.base.join(folder), &plan.job.name))),
        DeadLettersTo::Kafka(topic) => in_topic(plan.job.settings.kafka.as_ref(), topic),
    }
}

/// The first epoch of a job that starts now.
pub fn start() -> Epoch {
    epochs::now()
}

static RUNTIME: LazyLock<std::io::Result<Runtime>> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(2).thread_name("tapeflow-io").enable_all().build());

/// Where blocking clients and servers live, beside the workers.
pub fn runtime() -> Result<&'static Runtime> {
    RUNTIME.as_ref().map_err(|error| Error::run(format!("cannot start threads: {error}")))
}

/// Waits, outside of any worker, for `work`; at most for `timeout`.
pub fn blocking<T: Send + 'static>(
    timeout: Duration,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let (done, result) = std::sync::mpsc::channel();
    runtime()?.spawn(async move {
        let result = tokio::time::timeout(timeout, work).await;
        let late = || Error::TimedOut(format!("nothing happened for {timeout:?}"));
        // Nobody may be listening any more: then nobody needs the result.
        let _ = done.send(result.unwrap_or_else(|_| Err(late())));
    });
    result.recv().unwrap_or_else(|_| Err(Error::run("a task ended without a result")))
}
