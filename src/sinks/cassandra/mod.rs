//! `cassandra`: a table in Cassandra or Scylla.
//!
//! A row goes out as soon as it comes, in one request with what waits for the same partition ([`writer`]). Its
//! write time is its epoch, so that a replay or a straggler hides nothing newer. Where two rows may have the same
//! key, an epoch is reduced to the last row of each key before it is written: two writes with one time would leave
//! it to chance which of them stays, and how an epoch falls into flushes is not the same at a replay.

mod cells;
mod connection;
mod existing;
mod failure;
mod key;
mod options;
mod prepared;
mod requests;
mod rows;
mod sink;
mod table;
#[cfg(test)]
mod tests;
mod tls;
mod types;
mod waiting;
mod writer;

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};

use super::columns::{ColumnsSpec, op_of};
use super::{Placement, PreparedSink, SinkPlan, SinkSpec};
use crate::error::Result;
use crate::operators::NULL_UNTIL_WARM;
use crate::runtime::Prepare;
use crate::sources::TIME;
use crate::spec::{At, Check, Edge, Fields, Findings, Projection};
use connection::{Connection, ConnectionSpec};
use key::{KeySpec, Keyed};
use options::{Options, OptionsSpec};
use table::{Table, Values, create_keyspace};

struct CassandraSpec {
    connection: ConnectionSpec,
    key: KeySpec,
    options: OptionsSpec,
    columns: ColumnsSpec,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn SinkSpec> {
    Box::new(CassandraSpec {
        connection: ConnectionSpec::read(fields),
        key: KeySpec::read(fields),
        options: OptionsSpec::read(fields),
        columns: ColumnsSpec::read(fields),
    })
}

impl SinkSpec for CassandraSpec {
    fn plan(&self, name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<Arc<dyn SinkPlan>> {
        let findings = check.findings;
        let connection = self.connection.plan(check);
        let options = self.options.plan(findings);
        let projection = self.columns.plan_without_op(input, check)?;
        let expires = options.as_ref().is_some_and(|options| options.ttl.is_some());
        let keyed = self.key.plan(input, &projection, expires, check);
        let time = input.position(TIME);
        let Keyed { table, overwrites } = keyed?;
        let needs_time = expires || table.columns.iter().any(|column| matches!(column.values, Values::Bucket(_)));
        if needs_time && time.is_none() {
            findings.mistake(&name.span, "`bucket` and `ttl` need event time, which these rows do not have");
            return None;
        }
        let changes = op_of(input);
        warn(name, &projection, findings);
        let placement = placement(input, &projection, &table, overwrites);
        Some(Arc::new(CassandraPlan {
            connection: connection?,
            options: options?,
            table,
            projection,
            time,
            changes,
            placement,
            overwrites,
        }))
    }
}

fn warn(name: &At<String>, projection: &Projection, findings: &Findings) {
    for (at, field) in projection.schema().fields().iter().enumerate() {
        let finer = matches!(field.data_type(), DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _));
        // What an expression makes is always in ns, whatever it is made of.
        if finer && projection.source(at).is_some() {
            let message =
                format!("`{}` is finer than Cassandra's timestamps, which are rounded down to ms", field.name());
            findings.warning(&name.span, message);
        }
        if field.metadata().contains_key(NULL_UNTIL_WARM) {
            let message = format!(
                "`{}` is null until it is warm (emit = \"all\"): such a cell is left empty, and Grafana draws it as 0",
                field.name()
            );
            findings.warning(&name.span, message);
        }
    }
}

/// A partition is written by one worker. Rows that may overwrite each other must also come in an order that is the
/// same at every replay: it is, where all rows of a key come in order, and where they are sorted.
fn placement(input: &Edge, projection: &Projection, table: &Table, overwrites: bool) -> Placement {
    let sources = |columns: &[table::Column]| -> Vec<usize> {
        let source = |column: &table::Column| match column.values {
            Values::Column(at) => projection.source(at),
            Values::Bucket(_) => None,
        };
        columns.iter().filter_map(source).collect()
    };
    let partition = sources(&table.columns[..table.partition]);
    let key = sources(&table.columns[..table.key()]);
    let holds = |columns: &[usize]| !input.key.is_empty() && input.key.iter().all(|at| columns.contains(at));
    if overwrites && !(input.in_order && holds(&key)) {
        return if partition.is_empty() { Placement::Gathered } else { Placement::ByColumnsSorted(partition) };
    }
    match partition.is_empty() || input.placed && holds(&partition) {
        true => Placement::Anywhere,
        false => Placement::ByColumns(partition),
    }
}

#[derive(Clone)]
struct CassandraPlan {
    connection: Connection,
    options: Options,
    table: Table,
    projection: Projection,
    time: Option<usize>,
    changes: Option<usize>,
    placement: Placement,
    overwrites: bool,
}

impl SinkPlan for CassandraPlan {
    fn placement(&self) -> Placement {
        self.placement.clone()
    }

    fn prepare(&self, prepare: &Prepare) -> Result<Arc<dyn PreparedSink>> {
        prepared::prepare(self, prepare)
    }

    fn look(&self) -> Result<()> {
        prepared::look(self)
    }

    fn details(&self) -> Vec<String> {
        let Options { consistency, create, ttl, replication, .. } = &self.options;
        let written = if self.overwrites { "the last row of each key, epoch by epoch" } else { "rows as they come" };
        let mut lines =
            vec![format!("{} at {}, consistency {consistency}: {written}", self.table.full_name(), self.connection)];
        lines.extend(
            ttl.map(|ttl| format!("rows are kept until {} after their event time", humantime::format_duration(ttl))),
        );
        lines.extend(create.then(|| create_keyspace(&self.table.keyspace, replication)));
        lines.extend(self.table.create().lines().map(String::from));
        lines
    }
}
