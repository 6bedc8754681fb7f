//! Shows a plan: every node, where its rows go, its columns and their types.

use arrow::datatypes::Field;
use serde_json::json;

use super::masks::as_written;
use super::plan::{Edge, Input, Plan, PlannedNode, Role};
use crate::formats::ColumnType;

crate::words! {
    /// How a plan is shown.
    Format {
        /// For reading.
        Text = "text",
        /// A mermaid flowchart.
        Mermaid = "mermaid",
        /// A graph for graphviz.
        Dot = "dot",
        /// For programs.
        Json = "json",
    }
}

/// The plan as text in `format`.
pub fn explain(plan: &Plan, format: Format) -> String {
    let shown = match format {
        Format::Text => text(plan),
        Format::Mermaid => mermaid(plan),
        Format::Dot => dot(plan),
        Format::Json => format!("{:#}", as_json(plan)),
    };
    as_written(&shown).into_owned()
}

fn text(plan: &Plan) -> String {
    let mut out = format!("{}\n", plan.job.name);
    for (at, node) in plan.nodes.iter().enumerate() {
        let inputs: Vec<String> = node.inputs.iter().map(|input| plan.output_name(*input)).collect();
        let from = if inputs.is_empty() { String::new() } else { format!(" <- {}", inputs.join(", ")) };
        out.push_str(&format!("\n{} {} ({}){from}\n", node.role.name(), node.name, node.kind));
        for detail in details(node) {
            out.push_str(&format!("  {detail}\n"));
        }
        if !matches!(node.role, Role::Sink(_)) {
            out.push_str(&output(&node.edge));
        }
        // The others would only be in the way.
        for port in plan.read_ports(at) {
            let input = Input { node: at, port };
            out.push_str(&format!("  also {}:\n{}", plan.output_name(input), output(plan.edge(input))));
        }
    }
    out
}

/// What comes out: its kind, key and columns.
fn output(edge: &Edge) -> String {
    let mut out = format!("  {} rows, key: {}\n", edge.kind, key(edge).join(", "));
    let width = edge.schema.fields().iter().map(|field| field.name().len()).max().unwrap_or(0);
    for (name, kind) in columns(edge) {
        out.push_str(&format!("    {name:width$}  {kind}\n"));
    }
    out
}

fn details(node: &PlannedNode) -> Vec<String> {
    match &node.role {
        Role::Source(plan) => [plan.details(), plan.shape().details()].concat(),
        Role::Operator(plan) => plan.details(),
        Role::Sink(plan) => plan.details(),
    }
}

fn columns(edge: &Edge) -> Vec<(String, String)> {
    let kind =
        |field: &Field| ColumnType::of(field).map_or_else(|| field.data_type().to_string(), |kind| kind.to_string());
    edge.schema.fields()[..edge.visible].iter().map(|field| (field.name().clone(), kind(field))).collect()
}

fn key(edge: &Edge) -> Vec<String> {
    edge.key.iter().map(|i| edge.schema.field(*i).name().clone()).collect()
}

/// From which node, by which further output, to which node.
fn edges(plan: &Plan) -> impl Iterator<Item = (&str, Option<&str>, &str)> {
    plan.nodes.iter().flat_map(move |node| {
        node.inputs.iter().map(move |input| {
            let from = &plan.nodes[input.node];
            let port = input.port.checked_sub(1).map(|further| from.ports[further].name);
            (from.name.as_str(), port, node.name.as_str())
        })
    })
}

fn mermaid(plan: &Plan) -> String {
    let mut out = "flowchart LR\n".to_string();
    for node in &plan.nodes {
        let (open, close) = match node.role {
            Role::Source(_) => ("([", "])"),
            Role::Operator(_) => ("[", "]"),
            Role::Sink(_) => ("[(", ")]"),
        };
        out.push_str(&format!("  {}{open}\"{}<br/>{}\"{close}\n", node.name, node.name, node.kind));
    }
    for (from, port, to) in edges(plan) {
        let port = port.map_or(String::new(), |port| format!(" -- {port}"));
        out.push_str(&format!("  {from}{port} --> {to}\n"));
    }
    out
}

fn dot(plan: &Plan) -> String {
    let mut out = format!("digraph \"{}\" {{\n  rankdir=LR\n  node [shape=box]\n", plan.job.name);
    for node in &plan.nodes {
        out.push_str(&format!("  \"{}\" [label=\"{}\\n{}\"]\n", node.name, node.name, node.kind));
    }
    for (from, port, to) in edges(plan) {
        let port = port.map_or(String::new(), |port| format!(" [label=\"{port}\"]"));
        out.push_str(&format!("  \"{from}\" -> \"{to}\"{port}\n"));
    }
    out + "}\n"
}

/// The plan for programs.
fn as_json(plan: &Plan) -> serde_json::Value {
    let typed = |edge: &Edge| -> Vec<_> {
        columns(edge).into_iter().map(|(name, kind)| json!({ "name": name, "type": kind })).collect()
    };
    let node = |(at, node): (usize, &PlannedNode)| {
        let read = plan.read_ports(at);
        let further = (1..).zip(&node.ports).map(|(number, port)| {
            let (columns, kind) = (typed(&port.edge), port.edge.kind.to_string());
            json!({ "name": port.name, "read": read.contains(&number), "kind": kind, "key": key(&port.edge), "columns": columns })
        });
        json!({
            "name": node.name,
            "role": node.role.name(),
            "type": node.kind,
            "inputs": node.inputs.iter().map(|input| plan.output_name(*input)).collect::<Vec<_>>(),
            "kind": node.edge.kind.to_string(),
            "key": key(&node.edge),
            "columns": typed(&node.edge),
            "further_outputs": further.collect::<Vec<_>>(),
            "details": details(node),
        })
    };
    json!({ "name": plan.job.name, "nodes": plan.nodes.iter().enumerate().map(node).collect::<Vec<_>>() })
}
