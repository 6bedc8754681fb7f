//! The table as it is in the servers: created where that is wanted, and compared with what is to be written.

use std::collections::BTreeMap;
use std::time::Duration;

use scylla::client::session::Session;
use scylla::errors::ExecutionError;
use scylla::statement::Consistency;
use scylla::statement::unprepared::Statement;

use super::table::{Order, Table, Values, create_keyspace, identifier};
use super::types::CqlType;
use crate::error::{Error, Result};
use crate::formats::ColumnType;
use crate::spec::{Projection, did_you_mean};

/// How often a process looks whether another one has created the table.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The columns of a table in the servers.
pub struct Existing {
    columns: BTreeMap<String, String>,
    partition: Vec<String>,
    clustering: Vec<(String, Order)>,
}

/// Creates the keyspace and the table where they are missing.
pub async fn create(
    session: &Session,
    table: &Table,
    replication: &[(String, String)],
    timeout: Duration,
) -> Result<()> {
    for cql in [create_keyspace(&table.keyspace, replication), table.create()] {
        let cannot = |error: ExecutionError| Error::run(format!("cannot create table {}: {error}", table.full_name()));
        let mut statement = Statement::new(cql);
        statement.set_request_timeout(Some(timeout));
        session.query_unpaged(statement, &[]).await.map_err(cannot)?;
    }
    Ok(())
}

/// The error of a table that is not there.
pub fn missing(table: &Table) -> Error {
    Error::run(format!("there is no table {}: create it, or write create = true", table.full_name()))
}

impl Existing {
    /// The table in the servers; with `wait`, as soon as it is there.
    pub async fn read(session: &Session, table: &Table, timeout: Duration, wait: bool) -> Result<Existing> {
        let until = tokio::time::Instant::now() + timeout;
        loop {
            if let Some(existing) = Self::look(session, table, timeout).await? {
                return Ok(existing);
            }
            if !wait || tokio::time::Instant::now() >= until {
                return Err(missing(table));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The table in the servers, where there is one.
    pub async fn look(session: &Session, table: &Table, timeout: Duration) -> Result<Option<Existing>> {
        let cannot =
            |error: &dyn std::fmt::Display| Error::run(format!("cannot look up table {}: {error}", table.full_name()));
        let mut statement = Statement::new(
            "SELECT column_name, type, kind, position, clustering_order FROM system_schema.columns \
             WHERE keyspace_name = ? AND table_name = ?",
        );
        statement.set_consistency(Consistency::LocalOne);
        statement.set_request_timeout(Some(timeout));
        let result =
            session.query_unpaged(statement, (&table.keyspace, &table.name)).await.map_err(|error| cannot(&error))?;
        let rows = result.into_rows_result().map_err(|error| cannot(&error))?;
        let rows = rows.rows::<(String, String, String, i32, String)>().map_err(|error| cannot(&error))?;
        let mut columns = BTreeMap::new();
        let (mut partition, mut clustering) = (BTreeMap::new(), BTreeMap::new());
        for row in rows {
            let (name, kind, role, position, order) = row.map_err(|error| cannot(&error))?;
            match role.as_str() {
                "partition_key" => drop(partition.insert(position, name.clone())),
                "clustering" => {
                    drop(clustering.insert(position, (name.clone(), order.parse().unwrap_or(Order::Ascending))))
                }
                _ => {}
            }
            columns.insert(name, kind);
        }
        let (partition, clustering) = (partition.into_values().collect(), clustering.into_values().collect());
        Ok((!columns.is_empty()).then_some(Existing { columns, partition, clustering }))
    }

    /// `table` with the types of this one; an error names all that does not fit.
    pub fn adopt(&self, table: &Table, projection: &Projection) -> Result<Table> {
        let mut mistakes = Vec::new();
        let mut adopted = table.clone();
        for column in &mut adopted.columns {
            let written = match column.values {
                Values::Column(at) => ColumnType::of(projection.schema().field(at)),
                Values::Bucket(_) => None,
            };
            match self.columns.get(&column.name) {
                None => {
                    let near = did_you_mean(&column.name, self.columns.keys().map(String::as_str));
                    let add =
                        format!("ALTER TABLE {} ADD {} {}", table.full_name(), identifier(&column.name), column.kind);
                    mistakes.push(format!("it has no column `{}`{near} (to add it: {add})", column.name));
                }
                Some(name) => match CqlType::named(name).filter(|kind| holds(*kind, written, column.kind)) {
                    Some(kind) => column.kind = kind,
                    None => {
                        let written = written.map_or(column.kind.to_string(), |kind| kind.to_string());
                        let message =
                            format!("its column `{}` is {name}, which cannot hold {written} without loss", column.name);
                        mistakes.push(message);
                    }
                },
            }
        }
        mistakes.extend(self.key_mistakes(table));
        if mistakes.is_empty() {
            return Ok(adopted);
        }
        Err(Error::run(format!("table {} does not fit: {}", table.full_name(), mistakes.join("; "))))
    }

    fn key_mistakes(&self, table: &Table) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.partition != table.partition_key() {
            let (there, here) = (self.partition.join(", "), table.partition_key().join(", "));
            mistakes.push(format!("its partition key is ({there}), not ({here})"));
        }
        let clustering: Vec<_> = table.clustering_key().map(|(column, order)| (column.name.as_str(), order)).collect();
        // An order that is not written is whatever it is there.
        let same = |((there, is), (here, wanted)): (&(String, Order), &(&str, Option<Order>))| {
            there == here && wanted.is_none_or(|wanted| wanted == *is)
        };
        if self.clustering.len() != clustering.len() || !self.clustering.iter().zip(&clustering).all(same) {
            let there: Vec<_> = self.clustering.iter().map(|(name, order)| format!("{name} {order}")).collect();
            let show = |(name, order): &(&str, Option<Order>)| {
                order.map_or(name.to_string(), |order| format!("{name} {order}"))
            };
            let here: Vec<_> = clustering.iter().map(show).collect();
            mistakes.push(format!("its clustering key is ({}), not ({})", there.join(", "), here.join(", ")));
        }
        mistakes
    }
}

fn holds(there: CqlType, written: Option<ColumnType>, kind: CqlType) -> bool {
    written.map_or(there == kind, |written| there.holds(written))
}
