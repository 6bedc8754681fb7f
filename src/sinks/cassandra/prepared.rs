//! A sink that is connected in this process: its table is there and fits, its statement is prepared.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::CassandraPlan;
use super::existing::{self, Existing};
use super::requests::{Requests, Statements};
use super::rows::Encoder;
use super::sink::CassandraSink;
use super::writer::{Limits, Writer};
use crate::error::{Error, Result};
use crate::runtime::{Prepare, blocking, runtime};
use crate::sinks::progress::Progress;
use crate::sinks::{PreparedSink, Sink, SinkContext};

/// How many times the timeout of one request all of the preparation may take.
const REQUESTS: u32 = 6;

struct Prepared {
    requests: Arc<Requests>,
    encoder: Encoder,
    limits: Limits,
    overwrites: bool,
}

/// Connects, creates the table where that is wanted, compares it and prepares the statement.
pub fn prepare(plan: &CassandraPlan, prepare: &Prepare) -> Result<Arc<dyn PreparedSink>> {
    // Of several processes the first one creates: two at a time can make two tables of one name.
    let creates = plan.options.create && prepare.local_workers.contains(&0);
    let (plan, limit) = (plan.clone(), plan.connection.timeout * REQUESTS);
    Ok(Arc::new(blocking(limit, async move { connect(plan, creates).await })?))
}

/// Compares the table with what is to be written; one that would be created may be missing.
pub fn look(plan: &CassandraPlan) -> Result<()> {
    let (plan, limit) = (plan.clone(), plan.connection.timeout * REQUESTS);
    blocking(limit, async move {
        let session = plan.connection.session().await?;
        match Existing::look(&session, &plan.table, plan.connection.timeout).await? {
            Some(existing) => existing.adopt(&plan.table, &plan.projection).map(drop),
            None if plan.options.create => Ok(()),
            None => Err(existing::missing(&plan.table)),
        }
    })
}

async fn connect(plan: CassandraPlan, creates: bool) -> Result<Prepared> {
    let CassandraPlan { connection, options, projection, time, changes, overwrites, .. } = plan;
    let timeout = connection.timeout;
    let session = connection.session().await?;
    if creates {
        existing::create(&session, &plan.table, &options.replication, timeout).await?;
    }
    let existing = Existing::read(&session, &plan.table, timeout, options.create).await?;
    let table = existing.adopt(&plan.table, &projection)?;
    let name = table.full_name();
    let prepare = async |cql: String| {
        let prepared = session.prepare(cql).await;
        let mut prepared = prepared.map_err(|error| Error::run(format!("table {name}: {error}")))?;
        prepared.set_is_idempotent(true);
        prepared.set_consistency(options.consistency.into());
        prepared.set_request_timeout(Some(timeout));
        Ok::<_, Error>(prepared)
    };
    let insert = prepare(table.insert()).await?;
    let delete = if changes.is_some() { Some(prepare(table.delete()).await?) } else { None };
    let statements = Statements { insert, delete };
    let requests = Requests::new(Arc::clone(&session), name, statements, options.limits.batch.rows);
    let encoder = Encoder { projection, table, time, changes, ttl: options.ttl };
    Ok(Prepared { requests: Arc::new(requests), encoder, limits: options.limits, overwrites })
}

impl PreparedSink for Prepared {
    fn open(&self, context: SinkContext) -> Box<dyn Sink> {
        let progress = Arc::new(Progress::new(context.wake));
        let (sender, incoming) = mpsc::unbounded_channel();
        let share = |rate: f64| rate / context.workers as f64;
        let writer = Writer {
            incoming,
            requests: Arc::clone(&self.requests),
            limits: Limits { rows_per_second: self.limits.rows_per_second.map(share), ..self.limits },
            progress: Arc::clone(&progress),
            meter: context.meter.clone(),
        };
        match runtime() {
            Ok(runtime) => drop(runtime.spawn(writer.run())),
            Err(error) => progress.fail(error),
        }
        Box::new(CassandraSink {
            encoder: self.encoder.clone(),
            reduced: self.overwrites.then(Default::default),
            writer: sender,
            progress,
            refusals: context.refusals,
            meter: context.meter,
        })
    }
}
