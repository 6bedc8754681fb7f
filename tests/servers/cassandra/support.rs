//! A keyspace for each test, the dataflow files that write into it, and what can then be read there.

use std::sync::Arc;

use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::deserialize::row::DeserializeRow;
use tapeflow::runtime::{Prepare, Prepared};
use tapeflow::spec::{Files, Plan};
use tokio::runtime::Runtime;

use crate::support::{Ended, Folder};

/// Where the server is.
pub fn server() -> String {
    std::env::var("CASSANDRA").expect("CASSANDRA names the server of these tests; `make test` starts one")
}

/// A keyspace that is gone when the test ends, and a folder for its files.
pub struct Keyspace {
    pub name: String,
    pub folder: Folder,
    pub session: Session,
    runtime: Runtime,
}

impl Keyspace {
    pub fn new(test: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        let session =
            runtime.block_on(SessionBuilder::new().known_node(server()).build()).expect("a server that answers");
        let keyspace =
            Keyspace { name: format!("test_{test}_{}", std::process::id()), folder: Folder::new(), session, runtime };
        let name = &keyspace.name;
        keyspace.cql(&format!("DROP KEYSPACE IF EXISTS {name}"));
        let replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
        keyspace.cql(&format!("CREATE KEYSPACE {name} WITH replication = {replication}"));
        keyspace
    }

    /// Runs a statement; `KS` stands for the keyspace.
    pub fn cql(&self, text: &str) {
        let text = text.replace("KS", &self.name);
        self.runtime
            .block_on(self.session.query_unpaged(text.clone(), &[]))
            .unwrap_or_else(|error| panic!("{text}: {error}"));
    }

    /// All rows of a query.
    pub fn rows<T: for<'f, 'm> DeserializeRow<'f, 'm>>(&self, text: &str) -> Vec<T> {
        let text = text.replace("KS", &self.name);
        let result = self
            .runtime
            .block_on(self.session.query_unpaged(text.clone(), &[]))
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        let result = result.into_rows_result().expect("rows");
        let rows = result.rows::<T>().unwrap_or_else(|error| panic!("{text}: {error}"));
        rows.collect::<Result<_, _>>().expect("rows")
    }

    /// The only row of a query.
    pub fn row<T: for<'f, 'm> DeserializeRow<'f, 'm>>(&self, text: &str) -> T {
        let mut rows = self.rows(text);
        assert_eq!(rows.len(), 1, "{text}");
        rows.remove(0)
    }

    /// What the job could not use.
    pub fn dead_letters(&self) -> String {
        self.folder.read(&format!("dead-letters/{}.jsonl", self.name))
    }

    pub fn count(&self, table: &str) -> i64 {
        self.row::<(i64,)>(&format!("SELECT count(*) FROM KS.{table}")).0
    }

    /// Writes what the source reads.
    pub fn input(&self, lines: &str) {
        self.folder.write("rows.jsonl", lines);
    }

    /// A dataflow file, its job called like the keyspace: `rows.jsonl` with these columns, a sink `out` with these keys.
    pub fn flow(&self, columns: &str, source: &str, sink: &str) -> String {
        self.flow_at(&server(), columns, source, sink)
    }

    /// The same with a server at another place.
    pub fn flow_at(&self, server: &str, columns: &str, source: &str, sink: &str) -> String {
        format!(
            "version = 1\nname = \"{0}\"\n[cassandra]\ncontact_points = \"{server}\"\nkeyspace = \"{0}\"\n\
             [sources.rows]\ntype = \"file\"\npath = \"rows.jsonl\"\nschema = {{ {columns} }}\n{source}\n\
             [sinks.out]\ntype = \"cassandra\"\ninput = \"rows\"\n{sink}\n",
            self.name
        )
    }

    /// Runs a dataflow file with the program.
    pub fn run(&self, flow: &str, workers: usize) -> Ended {
        self.folder.write("flow.toml", flow);
        self.folder.tapeflow(&["run", "flow.toml", "--json", "--workers", &workers.to_string()])
    }

    /// Runs it, well; returns its totals.
    pub fn run_well(&self, flow: &str) -> serde_json::Value {
        let ended = self.run(flow, 1).fine();
        serde_json::from_str(&ended.stdout).expect("totals as JSON")
    }

    /// Prepares a dataflow file in this process; its first epoch is `start`.
    pub fn prepare(&self, flow: &str, start: u64) -> Arc<Prepared> {
        let path = self.folder.path("flow.toml");
        let (plan, _, _) = Plan::of(&path, flow, &Files::beside(&path)).expect("a plan");
        let prepare = Prepare::new(&plan, 0..1, 1);
        Arc::new(Prepared::new(plan, &prepare, start).expect("prepared"))
    }
}

impl Drop for Keyspace {
    fn drop(&mut self) {
        let cql = format!("DROP KEYSPACE IF EXISTS {}", self.name);
        let _ = self.runtime.block_on(self.session.query_unpaged(cql, &[]));
    }
}
