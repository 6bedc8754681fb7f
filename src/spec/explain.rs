//! Shows a plan: every node, where its rows go, its columns and their types.

use arrow::datatypes::Field;
use serde_json::json;

use super::plan::{Edge, Plan, PlannedNode, Role};
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
    match format {
        Format::Text => text(plan),
        Format::Mermaid => mermaid(plan),
        Format::Dot => dot(plan),
        Format::Json => format!("{:#}", as_json(plan)),
    }
}

fn text(plan: &Plan) -> String {
    let mut out = format!("{}\n", plan.job.name);
    for node in &plan.nodes {
        let inputs: Vec<&str> = node.inputs.iter().map(|i| plan.nodes[*i].name.as_str()).collect();
        let from = if inputs.is_empty() { String::new() } else { format!(" <- {}", inputs.join(", ")) };
        out.push_str(&format!("\n{} {} ({}){from}\n", node.role.name(), node.name, node.kind));
        for detail in details(node) {
            out.push_str(&format!("  {detail}\n"));
        }
        if !matches!(node.role, Role::Sink(_)) {
            out.push_str(&format!("  {} rows, key: {}\n", node.edge.kind, key(&node.edge).join(", ")));
            let width = node.edge.schema.fields().iter().map(|field| field.name().len()).max().unwrap_or(0);
            for (name, kind) in columns(&node.edge) {
                out.push_str(&format!("    {name:width$}  {kind}\n"));
            }
        }
    }
    out
}

fn details(node: &PlannedNode) -> Vec<String> {
    match &node.role {
        Role::Source(plan) => plan.details(),
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

fn edges(plan: &Plan) -> impl Iterator<Item = (&PlannedNode, &PlannedNode)> {
    plan.nodes.iter().flat_map(move |node| node.inputs.iter().map(move |input| (&plan.nodes[*input], node)))
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
    for (from, to) in edges(plan) {
        out.push_str(&format!("  {} --> {}\n", from.name, to.name));
    }
    out
}

fn dot(plan: &Plan) -> String {
    let mut out = format!("digraph \"{}\" {{\n  rankdir=LR\n  node [shape=box]\n", plan.job.name);
    for node in &plan.nodes {
        out.push_str(&format!("  \"{}\" [label=\"{}\\n{}\"]\n", node.name, node.name, node.kind));
    }
    for (from, to) in edges(plan) {
        out.push_str(&format!("  \"{}\" -> \"{}\"\n", from.name, to.name));
    }
    out + "}\n"
}

/// The plan for programs.
fn as_json(plan: &Plan) -> serde_json::Value {
    let node = |node: &PlannedNode| {
        let columns: Vec<_> =
            columns(&node.edge).into_iter().map(|(name, kind)| json!({ "name": name, "type": kind })).collect();
        json!({
            "name": node.name,
            "role": node.role.name(),
            "type": node.kind,
            "inputs": node.inputs.iter().map(|i| &plan.nodes[*i].name).collect::<Vec<_>>(),
            "kind": node.edge.kind.to_string(),
            "key": key(&node.edge),
            "columns": columns,
            "details": details(node),
        })
    };
    json!({ "name": plan.job.name, "nodes": plan.nodes.iter().map(node).collect::<Vec<_>>() })
}
