//! The tables that the job writes, read by the bare driver.

use std::time::Duration;

use futures::TryStreamExt;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;

use super::flow::{KEYSPACE, SYMBOLS};
use crate::recovery::market::{COLUMNS, Values};
use crate::support::Row;

/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A table in the keyspace of the runs.
pub struct Stored<'a> {
    pub server: &'a str,
    pub name: String,
}

impl Stored<'_> {
    /// All its rows, each symbol's in the order of the key.
    pub fn rows(&self) -> Vec<(i64, Values)> {
        let columns = COLUMNS.join(", ");
        let query = format!("SELECT n, {columns} FROM {KEYSPACE}.{} WHERE symbol = ?", self.name);
        runtime().block_on(async {
            let session = self.session().await;
            let mut rows = Vec::new();
            for symbol in 0..SYMBOLS {
                let pages = session.query_iter(query.as_str(), (format!("S{symbol}"),)).await.expect("rows");
                let of_symbol = pages.rows_stream::<(i64, Option<f64>, Option<f64>, Option<f64>)>().expect("typed");
                let of_symbol = of_symbol.map_ok(|(n, mean, rsi, obv)| (n, [mean, rsi, obv]));
                rows.extend(of_symbol.try_collect::<Vec<_>>().await.expect("rows"));
            }
            rows
        })
    }

    /// All its rows with some of their columns, in any order.
    pub fn all(&self, columns: &[&str]) -> Vec<Row> {
        let query = format!("SELECT JSON {} FROM {KEYSPACE}.{}", columns.join(", "), self.name);
        runtime().block_on(async {
            let pages = self.session().await.query_iter(query, ()).await.expect("rows");
            let rows = pages.rows_stream::<(String,)>().expect("typed");
            let rows = rows.map_ok(|(row,)| serde_json::from_str(&row).expect("JSON"));
            rows.try_collect().await.expect("rows")
        })
    }

    /// Removes it, with what it holds.
    pub fn remove(&self) {
        runtime().block_on(async {
            let drop = format!("DROP TABLE {KEYSPACE}.{}", self.name);
            self.session().await.query_unpaged(drop, ()).await.expect("dropped");
        });
    }

    async fn session(&self) -> Session {
        let profile = ExecutionProfile::builder().request_timeout(Some(PATIENCE)).build();
        let builder =
            SessionBuilder::new().known_node(self.server).default_execution_profile_handle(profile.into_handle());
        builder.build().await.expect("a session")
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("threads")
}
