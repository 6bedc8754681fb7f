//! Runs the `[[tests]]` of a dataflow file: JSON lines in place of the sources, nodes watched in place of the sinks.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use serde_json::{Map, Value as Json};

use super::prepare::{Prepared, start};
use super::run::run_local;
use crate::error::{Error, Result};
use crate::formats::json_line;
use crate::sinks::collect::Collect;
use crate::sinks::dead_letters::OnlyCounted;
use crate::sinks::{Placement, PreparedSink, SinkPlan};
use crate::sources::PreparedSource;
use crate::sources::lines::Lines;
use crate::spec::{Input, Plan, PlannedNode, Role, TestSpec};

/// Relative difference up to which two floats are the same.
const SAME: f64 = 1e-9;

/// Runs one test on `workers` workers; returns what differs, nothing where it passes.
pub fn rehearse(plan: &Plan, test: &TestSpec, workers: usize) -> Result<Vec<String>> {
    let mut nodes: Vec<PlannedNode> =
        plan.nodes.iter().filter(|node| !matches!(node.role, Role::Sink(_))).cloned().collect();
    let renumber: BTreeMap<&str, usize> = nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at)).collect();
    let renumbered = |input: Input| Input { node: renumber[plan.nodes[input.node].name.as_str()], ..input };
    let inputs: Vec<Vec<Input>> =
        nodes.iter().map(|node| node.inputs.iter().map(|input| renumbered(*input)).collect()).collect();
    let watched: Vec<Input> = test.expect.iter().filter_map(|(name, _)| plan.output(name)).collect();
    let mut watches: Vec<PlannedNode> = Vec::new();
    for input in watched {
        watches.push(PlannedNode {
            name: format!("test-{}", plan.output_name(input)),
            kind: "collect",
            inputs: vec![renumbered(input)],
            edge: plan.edge(input).clone(),
            ports: Vec::new(),
            role: Role::Sink(Arc::new(Watch)),
        });
    }
    nodes.iter_mut().zip(inputs).for_each(|(node, inputs)| node.inputs = inputs);
    let mut sources: BTreeMap<usize, Arc<dyn PreparedSource>> = BTreeMap::new();
    for (at, node) in nodes.iter().enumerate() {
        if let Role::Source(source) = &node.role {
            let given = test.input.iter().find(|(name, _)| name.value == node.name);
            let text = given.map(|(_, lines)| lines.value.0.clone()).unwrap_or_default();
            let lines = Lines { text, messages: source.messages().clone(), shape: Arc::clone(source.shape()) };
            sources.insert(at, Arc::new(lines));
        }
    }
    let mut sinks: BTreeMap<usize, Arc<dyn PreparedSink>> = BTreeMap::new();
    let mut collected = Vec::new();
    for watch in watches {
        let collect = Collect::default();
        sinks.insert(nodes.len(), Arc::new(collect.clone()));
        collected.push(collect);
        nodes.push(watch);
    }
    let plan = Plan { nodes, ..plan.clone() };
    let prepared = Arc::new(Prepared::with(plan, sources, sinks, Arc::new(OnlyCounted), start()));
    run_local(vec![prepared], workers)?.join()?;
    let mut differences = Vec::new();
    for ((name, expected), collect) in test.expect.iter().zip(collected) {
        let lines = expected.value.0.lines().filter(|line| !line.trim().is_empty());
        let expected = lines.map(read_row).collect::<Result<Vec<_>>>()?;
        differences.extend(compare(&name.value, &expected, &collect.rows()));
    }
    Ok(differences)
}

/// Takes the rows of a node in the order of its sources.
struct Watch;

impl SinkPlan for Watch {
    fn placement(&self) -> Placement {
        Placement::Gathered
    }

    fn prepare(&self, _prepare: &super::Prepare) -> Result<Arc<dyn PreparedSink>> {
        Ok(Arc::new(Collect::default()))
    }
}

fn read_row(line: &str) -> Result<Map<String, Json>> {
    serde_json::from_str(line)
        .map_err(|error| Error::Usage(format!("an expected row is not a JSON object: {error}: {line}")))
}

fn compare(node: &str, expected: &[Map<String, Json>], batches: &[RecordBatch]) -> Vec<String> {
    let rows = batches.iter().flat_map(|data| (0..data.num_rows()).map(move |row| json_line(data, row)));
    let rows: Vec<String> = rows.collect();
    let mut differences = Vec::new();
    if rows.len() != expected.len() {
        differences.push(format!("{node}: {} rows expected, {} came", expected.len(), rows.len()));
        differences.extend(rows.iter().map(|row| format!("{node}: came {row}")));
        return differences;
    }
    for (number, (expected, line)) in expected.iter().zip(&rows).enumerate() {
        let row: Map<String, Json> = serde_json::from_str(line).unwrap_or_default();
        for (column, wanted) in expected {
            match row.get(column) {
                None => differences.push(format!("{node}, row {}: there is no column `{column}`", number + 1)),
                Some(came) if !same(wanted, came) => {
                    differences.push(format!("{node}, row {}: `{column}` is {came}, not {wanted}", number + 1));
                }
                Some(_) => {}
            }
        }
    }
    differences
}

fn same(wanted: &Json, came: &Json) -> bool {
    match (wanted.as_f64(), came.as_f64()) {
        (Some(wanted), Some(came)) => (wanted - came).abs() <= SAME * wanted.abs().max(came.abs()),
        _ => wanted == came,
    }
}
