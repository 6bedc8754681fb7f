//! From a [`Spec`] to a [`Plan`]: names resolved, nodes in the order of the data, every edge typed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};

use super::mistakes::{At, Findings, Mistakes, Span, did_you_mean};
use super::read::{Body, Files, JobSpec, NodeSpec, RoleSpec, Spec};
use crate::error::{Error, Result};
use crate::formats::type_name;
use crate::operators::ports::ROWS;
use crate::operators::{OperatorPlan, Settable};
use crate::sinks::SinkPlan;
use crate::sources::shape::OnError;
use crate::sources::{SEQ, SourcePlan, letters};

/// What the rows of an edge mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeKind {
    /// Every row is a new one.
    Append,
    /// Rows insert, replace and delete: they carry `__op` and `revision`.
    Changes,
}

/// The column of changes that says what a row does to the one with its key: `insert`, `replace` or `delete`.
pub const OP: &str = "__op";
/// What [`OP`] says of a row that is new,
pub const INSERT: &str = "insert";
/// of one that takes the place of the one with its key,
pub const REPLACE: &str = "replace";
/// and of one that is to be removed: it says what it was.
pub const DELETE: &str = "delete";
/// The column of changes that says how many corrections a row holds: it is the same whenever they came.
pub const REVISION: &str = "revision";

impl std::fmt::Display for EdgeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            EdgeKind::Append => "append",
            EdgeKind::Changes => "changes",
        })
    }
}

/// The output of a node.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Columns and types: first those that are written where nothing else is asked for, then the hidden ones
    /// (built-in columns, keys that a `select` left out), which can still be named.
    pub schema: SchemaRef,
    /// How many columns are not hidden.
    pub visible: usize,
    /// The columns that rows are grouped by.
    pub key: Vec<usize>,
    /// The columns that a row is known by: `seq`, or what the node that made it groups by.
    pub row_key: Vec<usize>,
    /// What the rows mean.
    pub kind: EdgeKind,
    /// How far behind the watermark changes may come, in ns of event time; 0 where rows are only appended.
    pub reach: i64,
    /// Changes in which nothing is replaced: what takes the place of a row comes behind the delete of that row, which says
    /// what it was. So a sum can go on without a memory of rows.
    pub retracts: bool,
    /// Each row is already at the worker that owns its key.
    pub placed: bool,
    /// All rows of a key come from one partition of one source, in order, so they may be taken as they arrive.
    pub in_order: bool,
}

impl Edge {
    /// The position of the column `name`.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.schema.index_of(name).ok()
    }

    /// The rows of this edge with further columns behind the visible ones, each with the place where it is named; rows
    /// that are at the worker of their key.
    pub fn with(&self, added: Vec<(Field, &Span)>, findings: &Findings) -> Option<Edge> {
        let mut fields: Vec<Field> = self.schema.fields().iter().map(|field| field.as_ref().clone()).collect();
        let hidden = fields.split_off(self.visible);
        let before = findings.len();
        let count = added.len();
        for (field, span) in added {
            if fields.iter().chain(&hidden).any(|other| other.name() == field.name()) {
                findings.mistake(span, format!("there is a column `{}` already", field.name()));
            }
            fields.push(field);
        }
        fields.extend(hidden);
        let moved =
            |columns: &[usize]| columns.iter().map(|at| if *at < self.visible { *at } else { at + count }).collect();
        let schema = Arc::new(Schema::new(fields));
        (findings.len() == before).then(|| Edge {
            schema,
            visible: self.visible + count,
            key: moved(&self.key),
            row_key: moved(&self.row_key),
            placed: true,
            // Whoever adds columns may find others for the same row, and replaces it then.
            retracts: false,
            ..self.clone()
        })
    }
}

/// What a node needs to be checked and typed.
pub struct Check<'a> {
    /// Where mistakes go.
    pub findings: &'a Findings,
    /// Where schemas and data are found.
    pub files: &'a Files,
    /// The settings of the job.
    pub job: &'a JobSpec,
    /// The whole dataflow file.
    pub text: &'a str,
}

/// What a node does, checked and typed.
#[derive(Clone)]
pub enum Role {
    /// Rows come from it.
    Source(Arc<dyn SourcePlan>),
    /// Rows go through it.
    Operator(Arc<dyn OperatorPlan>),
    /// Rows end in it.
    Sink(Arc<dyn SinkPlan>),
}

impl Role {
    /// `source`, `operator` or `sink`.
    pub fn name(&self) -> &'static str {
        match self {
            Role::Source(_) => "source",
            Role::Operator(_) => "operator",
            Role::Sink(_) => "sink",
        }
    }
}

/// A further output of a node, besides its rows.
#[derive(Clone, Debug)]
pub struct Port {
    /// What it is called behind the node's name and a point.
    pub name: &'static str,
    /// What comes out.
    pub edge: Edge,
}

/// An output that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// The position, in the plan, of the node.
    pub node: usize,
    /// 0 for its rows, else the number of a further output.
    pub port: usize,
}

/// A node, checked and typed.
#[derive(Clone)]
pub struct PlannedNode {
    /// Its name.
    pub name: String,
    /// Its `type`.
    pub kind: &'static str,
    /// Whose rows it takes.
    pub inputs: Vec<Input>,
    /// What comes out; for a sink, what comes in.
    pub edge: Edge,
    /// Its further outputs: the first one is port 1.
    pub ports: Vec<Port>,
    /// What it does.
    pub role: Role,
}

/// `[job]`, and the name.
#[derive(Clone, Debug)]
pub struct JobPlan {
    /// The name of the job.
    pub name: String,
    /// Its settings.
    pub settings: JobSpec,
    /// Where relative paths begin.
    pub base: std::path::PathBuf,
}

/// A dataflow file, checked and typed.
#[derive(Clone)]
pub struct Plan {
    /// The job.
    pub job: JobPlan,
    /// The nodes: each one after those whose rows it takes.
    pub nodes: Vec<PlannedNode>,
}

impl Plan {
    /// Reads and plans the dataflow file `text`. Returns the plan and its warnings, or all mistakes at once.
    pub fn of(path: &Path, text: &str, files: &Files) -> Result<(Plan, Spec, Mistakes)> {
        let findings = Findings::below(files.path(""));
        let Some(spec) = Spec::read(text, &findings) else {
            return Err(Error::Dataflow(Box::new(findings.mistakes(path, text))));
        };
        let check = Check { findings: &findings, files, job: &spec.job, text };
        let nodes = plan_nodes(&spec.nodes, &check);
        check_tests(&spec, &nodes, &findings);
        if findings.is_empty() {
            let job = JobPlan { name: spec.name.clone(), settings: spec.job.clone(), base: files.path("") };
            return Ok((Plan { job, nodes }, spec, findings.warnings(path, text)));
        }
        Err(Error::Dataflow(Box::new(findings.mistakes(path, text))))
    }

    /// The position of the node `name`.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// The output `NODE` or `NODE.OUTPUT`.
    pub fn output(&self, name: &str) -> Option<Input> {
        let node = self.position(node_of(name))?;
        self.nodes[node].port(name).ok().map(|port| Input { node, port })
    }

    /// What comes out there.
    pub fn edge(&self, input: Input) -> &Edge {
        self.nodes[input.node].output(input.port)
    }

    /// How an output is written.
    pub fn output_name(&self, input: Input) -> String {
        self.nodes[input.node].output_name(input.port)
    }

    /// The further outputs of a node that are read.
    pub fn read_ports(&self, node: usize) -> Vec<usize> {
        let read = self.nodes.iter().flat_map(|reader| &reader.inputs);
        let ports: BTreeSet<usize> = read.filter(|input| input.node == node).map(|input| input.port).collect();
        ports.into_iter().filter(|port| *port != ROWS).collect()
    }
}

/// The node of an output.
fn node_of(output: &str) -> &str {
    output.split_once('.').map_or(output, |(node, _)| node)
}

impl PlannedNode {
    /// What can be set of it while its job runs, if something can.
    pub fn settable(&self) -> Option<&dyn Settable> {
        if let Role::Operator(operator) = &self.role { operator.settable() } else { None }
    }

    /// What comes out by a port.
    fn output(&self, port: usize) -> &Edge {
        port.checked_sub(1).map_or(&self.edge, |further| &self.ports[further].edge)
    }

    fn output_name(&self, port: usize) -> String {
        port.checked_sub(1).map_or(self.name.clone(), |further| format!("{}.{}", self.name, self.ports[further].name))
    }

    /// The port of the output `written`, `NODE` or `NODE.OUTPUT`; else what is wrong with it.
    fn port(&self, written: &str) -> Result<usize, String> {
        let Some((node, output)) = written.split_once('.') else { return Ok(ROWS) };
        if let Some(further) = self.ports.iter().position(|port| port.name == output) {
            return Ok(further + 1);
        }
        let known: Vec<String> = (1..=self.ports.len()).map(|port| self.output_name(port)).collect();
        let known = if known.is_empty() { "nothing but its rows".to_string() } else { known.join(", ") };
        Err(format!("`{node}` has no output `{output}`; it has {known}"))
    }
}

fn plan_nodes(specs: &[NodeSpec], check: &Check<'_>) -> Vec<PlannedNode> {
    check_names(specs, check.findings);
    let inputs: Vec<Vec<Option<usize>>> = specs.iter().map(|node| resolve(node, specs, check.findings)).collect();
    let order = order(specs, &inputs, check.findings);
    let mut nodes: Vec<PlannedNode> = Vec::new();
    let mut position = vec![None; specs.len()];
    for at in order {
        // What reads only from nodes with mistakes is left unplanned: its own mistakes would only be echoes.
        let written = specs[at].inputs.iter().zip(&inputs[at]);
        let planned = written.filter_map(|(written, spec)| port(written, position[(*spec)?]?, &nodes, check.findings));
        let planned: Vec<Input> = planned.collect();
        let lacks_a_side = specs[at].has_sides() && planned.len() < specs[at].inputs.len();
        if lacks_a_side || planned.is_empty() && specs[at].role != RoleSpec::Source {
            continue;
        }
        let inputs = planned;
        if let Some((edge, role)) = plan_node(&specs[at], &inputs, &nodes, check) {
            position[at] = Some(nodes.len());
            let (name, kind) = (specs[at].name.value.clone(), specs[at].kind);
            let ports = match &role {
                Role::Source(_) => letters::ports(),
                Role::Operator(plan) => plan.ports(),
                Role::Sink(_) => Vec::new(),
            };
            nodes.push(PlannedNode { name, kind, inputs, edge, ports, role });
        }
    }
    warn_of_unread(specs, check.findings);
    check_overwritten(specs, &nodes, check.findings);
    nodes
}

/// The output `written` of the node at position `node`.
fn port(written: &At<String>, node: usize, nodes: &[PlannedNode], findings: &Findings) -> Option<Input> {
    let read = &nodes[node];
    let port = read.port(written).map_err(|message| findings.mistake(&written.span, message)).ok()?;
    if let Role::Source(source) = &read.role
        && port == letters::LETTERS
        && source.shape().on_error != OnError::DeadLetter
    {
        let message =
            format!("no dead letters come from `{}`: it has on_error = \"{}\"", read.name, source.shape().on_error);
        findings.warning(&written.span, message);
    }
    Some(Input { node, port })
}

fn plan_node(spec: &NodeSpec, inputs: &[Input], nodes: &[PlannedNode], check: &Check<'_>) -> Option<(Edge, Role)> {
    match spec.body.as_ref()? {
        Body::Source(source) => {
            let (edge, plan) = source.plan(&spec.name, check)?;
            Some((edge, Role::Source(plan)))
        }
        Body::Operator(operator) => {
            let output = |input: &Input| nodes[input.node].output(input.port);
            let (edge, plan) = match inputs {
                [left, right] if spec.has_sides() => operator.join(output(left), output(right), check)?,
                inputs => operator.plan(&spec.name, &union(spec, inputs, nodes, check.findings)?, check)?,
            };
            Some((edge, Role::Operator(plan)))
        }
        Body::Sink(sink) => {
            let input = union(spec, inputs, nodes, check.findings)?;
            let plan = sink.plan(&spec.name, &input, check)?;
            Some((input, Role::Sink(plan)))
        }
    }
}

fn check_names(specs: &[NodeSpec], findings: &Findings) {
    for (i, node) in specs.iter().enumerate() {
        if specs[..i].iter().any(|other| other.name.value == node.name.value) {
            findings.mistake(&node.name.span, format!("there are two nodes named `{}`", node.name.value));
        }
    }
    let has = |role: RoleSpec| specs.iter().any(|node| node.role == role);
    if !has(RoleSpec::Source) {
        findings.mistake(&(0..0), "there is no source: add a table [sources.NAME]");
    }
    if !has(RoleSpec::Sink) {
        findings.mistake(&(0..0), "there is no sink: add a table [sinks.NAME]");
    }
}

fn resolve(node: &NodeSpec, specs: &[NodeSpec], findings: &Findings) -> Vec<Option<usize>> {
    let find = |input: &At<String>| {
        let wanted = node_of(input);
        let found = specs.iter().position(|other| other.name.value == wanted && other.role != RoleSpec::Sink);
        if found.is_none() {
            let names =
                specs.iter().filter(|other| other.role != RoleSpec::Sink && other.name.value != node.name.value);
            let near = did_you_mean(wanted, names.map(|other| other.name.value.as_str()));
            findings.mistake(&input.span, format!("there is no source or operator `{wanted}`{near}"));
        }
        found
    };
    if node.inputs.is_empty() && node.body.is_some() && node.role != RoleSpec::Source {
        findings.mistake(&node.name.span, format!("`{}` has no input", node.name.value));
    }
    node.inputs.iter().map(find).collect()
}

/// Depth first, inputs before the nodes that read them; a cycle is a mistake, and its nodes are left out.
fn order(specs: &[NodeSpec], inputs: &[Vec<Option<usize>>], findings: &Findings) -> Vec<usize> {
    let mut walk = Walk { inputs, path: Vec::new(), sorted: Vec::new(), in_cycle: Vec::new() };
    for at in 0..specs.len() {
        walk.path.clear();
        if let Some(start) = walk.visit(at) {
            let from = walk.path.iter().position(|node| *node == start).unwrap_or(0);
            let cycle = &walk.path[from..];
            let names: Vec<&str> = cycle.iter().chain([&start]).map(|node| specs[*node].name.value.as_str()).collect();
            findings.mistake(&specs[start].name.span, format!("a cycle: {}", names.join(" <- ")));
            walk.in_cycle.extend_from_slice(cycle);
        }
    }
    walk.sorted
}

struct Walk<'a> {
    inputs: &'a [Vec<Option<usize>>],
    path: Vec<usize>,
    sorted: Vec<usize>,
    in_cycle: Vec<usize>,
}

impl Walk<'_> {
    /// Sorts `at` and all it reads from; returns a node that reads from itself, where there is one.
    fn visit(&mut self, at: usize) -> Option<usize> {
        if self.sorted.contains(&at) || self.in_cycle.contains(&at) {
            return None;
        }
        if self.path.contains(&at) {
            return Some(at);
        }
        self.path.push(at);
        for input in self.inputs[at].iter().flatten() {
            if let Some(start) = self.visit(*input) {
                return Some(start);
            }
        }
        self.path.pop();
        self.sorted.push(at);
        None
    }
}

/// The edge that several inputs make together: the same columns, of the same types, in the same order.
fn union(spec: &NodeSpec, inputs: &[Input], nodes: &[PlannedNode], findings: &Findings) -> Option<Edge> {
    let (first, rest) = inputs.split_first()?;
    let output = |input: &Input| (nodes[input.node].output_name(input.port), nodes[input.node].output(input.port));
    let (first, edge) = output(first);
    let mut edge = edge.clone();
    let by_seq = edge.row_key.iter().any(|at| edge.schema.field(*at).name() == SEQ);
    if !rest.is_empty() && edge.kind == EdgeKind::Changes && by_seq {
        let message = format!(
            "`{first}` holds rows that may be taken back, which are known by `{SEQ}`: of several nodes they would be mixed up"
        );
        findings.mistake(&spec.name.span, message);
        return None;
    }
    for (name, other) in rest.iter().map(output) {
        if let Some(difference) = difference(&edge, other) {
            // Some inputs may be missing, as they have mistakes of their own.
            let written = spec.inputs.iter().find(|input| input.value == name);
            let span = written.map_or(&spec.name.span, |input| &input.span);
            findings.mistake(span, format!("`{first}` and `{name}` differ: {difference}"));
            return None;
        }
        edge.in_order = false;
        edge.placed &= other.placed;
        edge.retracts &= other.retracts;
        edge.reach = edge.reach.max(other.reach);
    }
    Some(edge)
}

fn difference(one: &Edge, other: &Edge) -> Option<String> {
    if one.kind != other.kind {
        return Some(format!("one is {}, the other {}", one.kind, other.kind));
    }
    if one.key != other.key {
        return Some("they are keyed by different columns".to_string());
    }
    let (left, right) = (one.schema.fields(), other.schema.fields());
    for (left, right) in left.iter().zip(right.iter()) {
        if left.name() != right.name() || left.data_type() != right.data_type() {
            let show =
                |field: &arrow::datatypes::Field| format!("`{}` ({})", field.name(), type_name(field.data_type()));
            return Some(format!(
                "one has {}, the other {}; bring them together with `select`",
                show(left),
                show(right)
            ));
        }
    }
    (one.visible != other.visible || left.len() != right.len())
        .then(|| format!("one has {} columns, the other {}", one.visible, other.visible))
}

fn warn_of_unread(specs: &[NodeSpec], findings: &Findings) {
    for node in specs {
        let read = specs.iter().flat_map(|reader| &reader.inputs).any(|input| input.value == node.name.value);
        if !read && node.role != RoleSpec::Sink {
            findings.warning(&node.name.span, format!("nothing reads `{}`", node.name.value));
        }
    }
}

/// A sink must not begin a file anew that is an input, or the output of another.
fn check_overwritten(specs: &[NodeSpec], nodes: &[PlannedNode], findings: &Findings) {
    let mut written: Vec<(&Path, &str)> = Vec::new();
    for node in nodes {
        let Role::Sink(sink) = &node.role else { continue };
        let Some(path) = sink.overwrites() else { continue };
        let reader = nodes.iter().find(|node| matches!(&node.role, Role::Source(source) if source.reads(path)));
        let writer = written.iter().find(|(other, _)| *other == path).map(|(_, name)| *name);
        let span = specs.iter().find(|spec| spec.name.value == node.name).map_or(0..0, |spec| spec.name.span.clone());
        if let Some(reader) = reader {
            findings.mistake(&span, format!("`{}` would overwrite what `{}` reads", node.name, reader.name));
        } else if let Some(writer) = writer {
            findings.mistake(&span, format!("`{}` and `{writer}` would write to the same file", node.name));
        }
        written.push((path, &node.name));
    }
}

fn check_tests(spec: &Spec, nodes: &[PlannedNode], findings: &Findings) {
    let names = |wanted: fn(RoleSpec) -> bool| {
        let named = spec.nodes.iter().filter(move |node| wanted(node.role));
        named.map(|node| node.name.value.as_str()).collect::<Vec<_>>()
    };
    let sources = names(|role| role == RoleSpec::Source);
    let tested = names(|role| role != RoleSpec::Sink);
    let check = |name: &At<String>, known: &[&str], what: &str, span: &Span| {
        if !known.contains(&node_of(name)) {
            let near = did_you_mean(name, known.iter().copied());
            findings.mistake(span, format!("there is no {what} `{}`{near}", name.value));
        } else if let Some(Err(message)) =
            nodes.iter().find(|node| node.name == node_of(name)).map(|node| node.port(name))
        {
            findings.mistake(span, message);
        }
    };
    for test in &spec.tests {
        for (name, _) in &test.input {
            if name.contains('.') {
                findings.mistake(&name.span, format!("rows come from `{}`, not from an output", node_of(name)));
            } else {
                check(name, &sources, "source", &name.span);
            }
        }
        test.expect.iter().for_each(|(name, _)| check(name, &tested, "source or operator", &name.span));
    }
}
