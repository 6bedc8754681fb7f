//! Changes: rows that insert, replace and remove. A node of this test makes them of the column `op`.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use tapeflow::batch::Rows;
use tapeflow::operators::{BuildContext, Built, OperatorPlan, Output, Transform};
use tapeflow::runtime::{Prepare, Prepared, run_local, start};
use tapeflow::sinks::SinkPlan;
use tapeflow::spec::{At, Check, Edge, EdgeKind, Fields, Files, Findings, Input, OP, Plan, PlannedNode, Role};
use toml::de::DeTable;

use super::support::{Keyspace, server};

const COLUMNS: &str = r#"op = "text", k = "text", c = "int", v = "double""#;

/// Renames `op`.
struct ToChanges(Arc<Schema>);

impl OperatorPlan for ToChanges {
    fn build(&self, _context: &BuildContext) -> tapeflow::Result<Built> {
        Ok(Built::Stateless(Box::new(ToChanges(Arc::clone(&self.0)))))
    }
}

impl Transform for ToChanges {
    fn rows(&mut self, rows: Rows, out: &mut Output) -> tapeflow::Result<()> {
        let data = RecordBatch::try_new(Arc::clone(&self.0), rows.data.columns().to_vec())?;
        out.rows.push(Rows { data, ..rows });
        Ok(())
    }
}

fn changes_of(input: &Edge) -> Edge {
    let rename = |field: &Arc<Field>| match field.name().as_str() {
        "op" => field.as_ref().clone().with_name(OP),
        _ => field.as_ref().clone(),
    };
    let schema = Arc::new(Schema::new(input.schema.fields().iter().map(rename).collect::<Vec<_>>()));
    let row_key = ["k", "c"].iter().filter_map(|name| input.position(name)).collect();
    Edge { schema, kind: EdgeKind::Changes, row_key, placed: true, ..input.clone() }
}

fn sink(keyspace: &Keyspace, flow: &str, plan: &Plan, input: &Edge) -> Arc<dyn SinkPlan> {
    let text = format!(
        "contact_points = \"{}\"\nkeyspace = \"{}\"\ncreate = true\ntable = \"t\"\npartition_key = \"k\"\n\
         clustering_key = \"c\"\nselect = [\"k\", \"c\", \"v\"]",
        server(),
        keyspace.name
    );
    let table = DeTable::parse(&text).expect("TOML");
    let (findings, files) = (Findings::default(), Files::default());
    let (_, _, read) = tapeflow::sinks::KINDS.iter().find(|(kind, _, _)| *kind == "cassandra").expect("the kind");
    let mut fields = Fields::new("the sink", table.get_ref(), 0..0, &findings);
    let check = Check { findings: &findings, files: &files, job: &plan.job.settings, text: flow };
    let planned = read(&mut fields).plan(&At::new("out".to_string(), 0..0), input, &check);
    assert!(findings.is_empty(), "{}", findings.mistakes("sink".as_ref(), &text));
    planned.expect("a plan")
}

#[test]
fn changes_insert_replace_and_remove() {
    let keyspace = Keyspace::new("changes");
    // Batches of the source are epochs of their own only in different runs: a run is an epoch here.
    let runs = [
        r#"{"op": "insert", "k": "A", "c": 1, "v": 1}
           {"op": "insert", "k": "A", "c": 2, "v": 2}
           {"op": "insert", "k": "B", "c": 1, "v": 3}
           {"op": "replace", "k": "B", "c": 1, "v": 4}
           {"op": "insert", "k": "C", "c": 1, "v": 5}
           {"op": "delete", "k": "C", "c": 1, "v": 5}"#,
        r#"{"op": "delete", "k": "A", "c": 1, "v": 1}
           {"op": "replace", "k": "A", "c": 2, "v": null}
           {"op": "delete", "k": "B", "c": 1, "v": 4}
           {"op": "insert", "k": "B", "c": 1, "v": 6}"#,
    ];
    for rows in runs {
        keyspace.input(&rows.replace("           {", "{"));
        let flow = format!(
            "version = 1\nname = \"{}\"\n[sources.rows]\ntype = \"file\"\npath = \"rows.jsonl\"\nschema = {{ {COLUMNS} }}\n\
             time = \"to_timestamp(0)\"\nkey = \"k\"\n[sinks.out]\ntype = \"discard\"\ninput = \"rows\"\n",
            keyspace.name
        );
        let path = keyspace.folder.path("flow.toml");
        let (mut plan, _, _) = Plan::of(&path, &flow, &Files::beside(&path)).expect("a plan");
        let changes = changes_of(&plan.nodes[0].edge);
        let operator = Role::Operator(Arc::new(ToChanges(Arc::clone(&changes.schema))));
        let planned = sink(&keyspace, &flow, &plan, &changes);
        let rows_of = |node| vec![Input { node, port: 0 }];
        let out = plan.nodes[1].clone();
        plan.nodes[1] = PlannedNode { inputs: rows_of(1), edge: changes.clone(), role: Role::Sink(planned), ..out };
        let (name, kind, ports) = ("changes".into(), "changes", Vec::new());
        plan.nodes.insert(1, PlannedNode { name, kind, inputs: rows_of(0), edge: changes, ports, role: operator });
        let prepare = Prepare { job: keyspace.name.clone(), memory: 1 << 20, ..Prepare::new(&plan, 0..1, 1) };
        let prepared = Arc::new(Prepared::new(plan, &prepare, start()).expect("prepared"));
        run_local(vec![prepared], 1).expect("it starts").join().expect("it ends well");
    }
    let mut rows = keyspace.rows::<(String, i32, Option<f64>)>("SELECT k, c, v FROM KS.t");
    rows.sort_by(|one, other| one.partial_cmp(other).expect("an order"));
    assert_eq!(rows, [("A".to_string(), 2, None), ("B".to_string(), 1, Some(6.0))]);
}
