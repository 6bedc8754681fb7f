//! Sends batches of rows to the servers, as often as it takes.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use scylla::client::session::Session;
use scylla::errors::ExecutionError;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;

use super::failure::passes;
use super::rows::Row;
use crate::error::{Error, Result};
use crate::metrics::Meter;

/// How long a failed request waits for its next attempt: twice as long each time, up to the second of these.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How often failures are told.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What a table is written with.
pub struct Statements {
    /// Writes a row.
    pub insert: PreparedStatement,
    /// Removes one, where that is ever asked for.
    pub delete: Option<PreparedStatement>,
}

impl Statements {
    fn of(&self, row: &Row) -> &PreparedStatement {
        self.delete.as_ref().filter(|_| row.delete).unwrap_or(&self.insert)
    }
}

/// Writes into one table.
pub struct Requests {
    session: Arc<Session>,
    table: String,
    statements: Statements,
    /// Batches of 1, 2, 3 ... inserts, made when they are first needed.
    inserts: Vec<OnceLock<Batch>>,
    told: Mutex<Option<Instant>>,
}

impl Requests {
    /// Writes into `table`, at most `rows` rows a request.
    pub fn new(session: Arc<Session>, table: String, statements: Statements, rows: usize) -> Self {
        Requests { session, table, statements, inserts: vec![OnceLock::new(); rows], told: Mutex::default() }
    }

    /// Writes `rows`, which are of one partition; tries for as long as that may help.
    pub async fn write(&self, rows: &[Row], meter: &Meter) -> Result<()> {
        let mut wait = BACK_OFF.0;
        loop {
            let Err(error) = self.attempt(rows).await else { return Ok(()) };
            meter.write_errors.inc();
            if !passes(&error) {
                return Err(Error::run(format!("table {}: {error}", self.table)));
            }
            self.tell(&error);
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(BACK_OFF.1);
        }
    }

    async fn attempt(&self, rows: &[Row]) -> Result<(), ExecutionError> {
        match rows {
            [row] => self.session.execute_unpaged(self.statements.of(row), row).await.map(drop),
            rows if rows.iter().any(|row| row.delete) => {
                let batch = self.batch(rows.iter().map(|row| self.statements.of(row)));
                self.session.batch(&batch, rows).await.map(drop)
            }
            rows => {
                let inserts = || self.batch(rows.iter().map(|_| &self.statements.insert));
                let batch = self.inserts[rows.len() - 1].get_or_init(inserts);
                self.session.batch(batch, rows).await.map(drop)
            }
        }
    }

    fn batch<'a>(&self, statements: impl Iterator<Item = &'a PreparedStatement>) -> Batch {
        let statements = statements.map(|statement| statement.clone().into()).collect();
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        batch.set_is_idempotent(true);
        batch.set_request_timeout(self.statements.insert.get_request_timeout());
        let consistency = self.statements.insert.get_consistency();
        consistency.into_iter().for_each(|consistency| batch.set_consistency(consistency));
        batch
    }

    /// Says, now and then, that writes fail and are tried again.
    fn tell(&self, error: &ExecutionError) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(table = self.table, "writes fail and are tried again: {error}");
        }
    }
}
