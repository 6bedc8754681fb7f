//! The text of a dataflow file, read into a [`Spec`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fields::{Fields, FromToml, Known, Named, OneOrMany, Raw, expected};
use super::mistakes::{At, Findings, Span, did_you_mean};
use super::values::Size;
use crate::error::{Error, Result};
use crate::kafka::{Connection, ConnectionSpec, PRODUCER_REFUSED};
use crate::operators::OperatorSpec;
use crate::sinks::SinkSpec;
use crate::sources::SourceSpec;

/// Where the files that a dataflow file names are found.
#[derive(Default)]
pub struct Files {
    base: PathBuf,
    shipped: BTreeMap<String, String>,
    read: RefCell<BTreeMap<String, String>>,
}

impl Files {
    /// Files beside the dataflow file `path`.
    pub fn beside(path: &Path) -> Self {
        Files { base: path.parent().map(Path::to_path_buf).unwrap_or_default(), ..Files::default() }
    }

    /// Schemas that came with a submitted dataflow file; data is still opened below `base`.
    pub fn shipped(base: PathBuf, shipped: BTreeMap<String, String>) -> Self {
        Files { base, shipped, ..Files::default() }
    }

    /// The text of a schema file, named as in the dataflow file.
    pub fn text(&self, name: &str) -> Result<String, String> {
        if let Some(text) = self.shipped.get(name) {
            return Ok(text.clone());
        }
        let path = self.path(name);
        let text =
            std::fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        self.read.borrow_mut().insert(name.to_string(), text.clone());
        Ok(text)
    }

    /// A path as written, made relative to the dataflow file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    /// The schema files that were read so far: what travels with a submitted dataflow file.
    pub fn taken(&self) -> BTreeMap<String, String> {
        self.read.borrow().clone()
    }
}

/// Where undecodable records go.
#[derive(Clone, Debug, PartialEq)]
pub enum DeadLettersTo {
    /// JSON lines in this folder, relative to the dataflow file.
    Folder(String),
    /// A Kafka topic.
    Kafka(String),
}

impl FromToml for DeadLettersTo {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(_) => String::from_toml(value, findings).map(DeadLettersTo::Folder),
            DeValue::Table(table) => {
                let mut fields = Fields::new("`dead_letters`", table, value.span(), findings);
                let topic: At<String> = fields.get("kafka", "the topic").required();
                fields.finish();
                Some(DeadLettersTo::Kafka(topic.value))
            }
            _ => expected(value, findings, "a folder or { kafka = \"topic\" }"),
        }
    }
    fn schema() -> Json {
        let table = json!({ "type": "object", "properties": { "kafka": { "type": "string" } }, "required": ["kafka"] });
        json!({ "anyOf": [{ "type": "string" }, table] })
    }
}

/// `[job]`.
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// How often progress is cut.
    pub epoch: Duration,
    /// How often state is saved.
    pub checkpoint: Duration,
    /// How many checkpoints are kept.
    pub keep: usize,
    /// How often in a row it is started again after a failure.
    pub restarts: u32,
    /// Where undecodable records go.
    pub dead_letters: DeadLettersTo,
    /// How much each worker may have read and not yet written.
    pub memory: Size,
    /// The Kafka of dead letters in a topic: that of `[kafka]`.
    pub kafka: Option<Connection>,
}

impl JobSpec {
    /// Reads `[job]`.
    pub fn read(fields: &mut Fields<'_>) -> Self {
        let epoch = fields.get::<Duration>("epoch", "how often progress is cut; 10ms at least").optional();
        if let Some(epoch) = epoch.as_ref().filter(|epoch| epoch.value < Duration::from_millis(10)) {
            fields.findings().mistake(&epoch.span, "an epoch is 10ms at least");
        }
        JobSpec {
            epoch: epoch.map_or(Duration::from_millis(100), |epoch| epoch.value),
            checkpoint: fields.get("checkpoint", "how often state is saved").or(Duration::from_secs(10)),
            keep: fields.get("keep_checkpoints", "how many checkpoints are kept; 3 by default").or(3u64).clamp(1, 1000)
                as usize,
            restarts: fields
                .get("restarts", "how often in a row a job of a cluster that fails is started again; 5 by default")
                .or(5u64)
                .min(1000) as u32,
            dead_letters: fields
                .get("dead_letters", "a folder, or { kafka = \"topic\" }: where undecodable records go")
                .or(DeadLettersTo::Folder("dead-letters/".to_string())),
            memory: fields
                .get("memory", "how much each worker may have read and not yet written")
                .or(Size(128 * 1024 * 1024)),
            kafka: None,
        }
    }
}

/// What a node is, as written.
pub enum Body {
    /// Rows come from it.
    Source(Box<dyn SourceSpec>),
    /// Rows go through it.
    Operator(Box<dyn OperatorSpec>),
    /// Rows end in it.
    Sink(Box<dyn SinkSpec>),
}

/// The section a node stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleSpec {
    /// `[sources]`
    Source,
    /// `[operators]`
    Operator,
    /// `[sinks]`
    Sink,
}

impl RoleSpec {
    /// The section.
    pub fn section(self) -> &'static str {
        match self {
            RoleSpec::Source => "sources",
            RoleSpec::Operator => "operators",
            RoleSpec::Sink => "sinks",
        }
    }

    /// The name of one of it.
    pub fn name(self) -> &'static str {
        self.section().trim_end_matches('s')
    }
}

/// A node, as written.
pub struct NodeSpec {
    /// The section it stands in.
    pub role: RoleSpec,
    /// Its name.
    pub name: At<String>,
    /// Its `type`.
    pub kind: &'static str,
    /// The nodes whose rows it takes: `NODE`, or `NODE.OUTPUT` for a further output.
    pub inputs: Vec<At<String>>,
    /// Its own keys; `None` where one of them cannot be used.
    pub body: Option<Body>,
}

impl NodeSpec {
    /// Whether its inputs are not together but each on a side.
    pub fn has_sides(&self) -> bool {
        self.body.as_ref().is_some_and(has_sides)
    }
}

/// Whether nodes that are read so have an `input`: sources have none, and a join names its sides.
fn takes_input(section: &str, read: &dyn Fn(&mut Fields<'_>) -> Body) -> bool {
    section != RoleSpec::Source.section() && !has_sides(&read(&mut Fields::describe(&Findings::default())))
}

fn has_sides(body: &Body) -> bool {
    matches!(body, Body::Operator(operator) if operator.sides().is_some())
}

/// One `[[tests]]`.
pub struct TestSpec {
    /// Its name.
    pub name: At<String>,
    /// JSON lines by source.
    pub input: Vec<(At<String>, At<Raw>)>,
    /// JSON lines by node.
    pub expect: Vec<(At<String>, At<Raw>)>,
}

/// A dataflow file, as written.
pub struct Spec {
    /// The job's name.
    pub name: String,
    /// `[job]`.
    pub job: JobSpec,
    /// All nodes, in the order of the file.
    pub nodes: Vec<NodeSpec>,
    /// `[[tests]]`.
    pub tests: Vec<TestSpec>,
    /// The whole text.
    pub text: String,
}

impl Spec {
    /// Reads `text`; what is wrong with it goes to `findings`. Of a text that is no TOML nothing else is said: half of it
    /// would be missing.
    pub fn read(text: &str, findings: &Findings) -> Option<Spec> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let is_toml = errors.is_empty();
        for error in errors {
            findings.mistake(&error.span().unwrap_or(0..0), error.message().trim().to_string());
        }
        if !is_toml {
            return None;
        }
        let table = root.get_ref();
        let mut top = Fields::new("the file", table, 0..0, findings);
        let version = top.get::<u64>("version", "the version of the format: 1").required();
        if version.value != 1 && !version.span.is_empty() {
            findings.mistake(&version.span, format!("version {} is not known; this is version 1", version.value));
        }
        let name = top.get::<String>("name", "the job's name").required();
        if !name.span.is_empty() && !is_name(&name) {
            findings.mistake(&name.span, NAMES);
        }
        let mut spec = Spec {
            name: name.value,
            job: read_job(table, findings),
            nodes: read_nodes(table, findings),
            tests: Vec::new(),
            text: text.to_string(),
        };
        check_defaults(table, &spec, findings);
        spec.tests = read_tests(table, findings);
        // The sections are read above with keys of their own; here they are only known by name.
        for (section, doc) in SECTIONS {
            top.get::<Anything>(section, doc).optional();
        }
        top.finish();
        Some(spec)
    }

    /// Reads the file at `path` and plans it; all mistakes at once.
    pub fn load(path: &Path) -> Result<String> {
        std::fs::read_to_string(path)
            .map_err(|error| Error::Usage(format!("cannot read the dataflow file {}: {error}", path.display())))
    }
}

/// The sections of a file, and what they are for.
pub const SECTIONS: &[(&str, &str)] = &[
    ("job", "settings of the job"),
    ("kafka", "defaults of every kafka source and sink"),
    ("cassandra", "defaults of every cassandra sink"),
    ("sources", "where rows come from"),
    ("operators", "what is computed"),
    ("sinks", "where rows go"),
    ("tests", "rows in, rows out: run by `tapeflow test`"),
];

const INPUT: &str =
    "the node, or nodes, whose rows it takes; NODE.OUTPUT takes a further output of one: SOURCE.dead_letters";

const NAMES: &str = "a name is made of letters, digits, `_` and `-`, and begins with a letter";

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// A section that is read elsewhere.
struct Anything;

impl FromToml for Anything {
    fn from_toml(_: &Spanned<DeValue<'_>>, _: &Findings) -> Option<Self> {
        Some(Anything)
    }
    fn schema() -> Json {
        json!({})
    }
}

fn entry<'a>(table: &'a DeTable<'a>, key: &str) -> Option<(Span, &'a Spanned<DeValue<'a>>)> {
    table.iter().find(|(name, _)| name.get_ref() == key).map(|(name, value)| (name.span(), value))
}

fn section<'a>(table: &'a DeTable<'a>, key: &str, findings: &Findings) -> Option<(Span, &'a DeTable<'a>)> {
    let (span, value) = entry(table, key)?;
    match value.get_ref().as_table() {
        Some(table) => Some((span, table)),
        None => expected(value, findings, "a table"),
    }
}

fn read_job(table: &DeTable<'_>, findings: &Findings) -> JobSpec {
    let empty = DeTable::new();
    let (span, job) = section(table, "job", findings).unwrap_or((0..0, &empty));
    let mut fields = Fields::new("`job`", job, span.clone(), findings);
    let mut job = JobSpec::read(&mut fields);
    fields.finish();
    if matches!(job.dead_letters, DeadLettersTo::Kafka(_)) {
        let (span, kafka) = section(table, "kafka", findings).unwrap_or((span, &empty));
        let mut fields = Fields::new("`kafka` (for dead letters in a topic)", kafka, span, findings);
        job.kafka = ConnectionSpec::read(&mut fields).plan(PRODUCER_REFUSED, findings);
    }
    job
}

fn read_nodes(table: &DeTable<'_>, findings: &Findings) -> Vec<NodeSpec> {
    let mut nodes = Vec::new();
    for role in [RoleSpec::Source, RoleSpec::Operator, RoleSpec::Sink] {
        for (name, value) in section(table, role.section(), findings).into_iter().flat_map(|(_, section)| section) {
            let name = At::new(name.get_ref().to_string(), name.span());
            if !is_name(&name) {
                findings.mistake(&name.span, NAMES);
            }
            match value.get_ref().as_table() {
                Some(node) => nodes.extend(read_node(role, name, node, table, findings)),
                None => {
                    expected::<()>(value, findings, "a table");
                }
            }
        }
    }
    nodes.sort_by_key(|node| node.name.span.start);
    nodes
}

fn read_node(
    role: RoleSpec,
    name: At<String>,
    node: &DeTable<'_>,
    file: &DeTable<'_>,
    findings: &Findings,
) -> Option<NodeSpec> {
    let before = findings.len();
    let what = format!("{} `{}`", role.name(), name.value);
    let mut fields = Fields::new(what, node, name.span.clone(), findings);
    let word = fields.get::<String>("type", "what kind of node it is").required();
    let kinds = kinds(role.section());
    let Some((kind, read)) = kinds.iter().find(|(kind, _)| *kind == word.value) else {
        if !word.value.is_empty() {
            let near = did_you_mean(&word, kinds.iter().map(|(kind, _)| *kind));
            findings.mistake(&word.span, format!("there is no {} of type `{}`{near}", role.name(), word.value));
        }
        // The node is kept, so that those which read from it are not said to read from nothing.
        return Some(NodeSpec { role, name, kind: "", inputs: Vec::new(), body: None });
    };
    let mut fields = fields.with_defaults(section(file, kind, findings).map(|(_, table)| table));
    let inputs = match takes_input(role.section(), read) {
        true => fields.get::<OneOrMany<String>>("input", INPUT).required().value.0,
        false => Vec::new(),
    };
    let body = read(&mut fields);
    let inputs = match &body {
        Body::Operator(operator) => operator.sides().unwrap_or(inputs),
        Body::Source(_) | Body::Sink(_) => inputs,
    };
    let usable = findings.len() == before;
    fields.finish();
    Some(NodeSpec { role, name, kind, inputs, body: usable.then_some(body) })
}

/// The kinds of nodes of a role and how each is read.
#[expect(clippy::type_complexity, reason = "a table of readers, used twice in this file")]
fn kinds(role: &str) -> Vec<(&'static str, Box<dyn Fn(&mut Fields<'_>) -> Body>)> {
    fn boxed<T: 'static>(
        kinds: &[(&'static str, &'static str, fn(&mut Fields<'_>) -> T)],
        body: fn(T) -> Body,
    ) -> Vec<(&'static str, Box<dyn Fn(&mut Fields<'_>) -> Body>)> {
        let one = |&(kind, _, read): &(&'static str, &'static str, fn(&mut Fields<'_>) -> T)| {
            (kind, Box::new(move |fields: &mut Fields<'_>| body(read(fields))) as Box<dyn Fn(&mut Fields<'_>) -> Body>)
        };
        kinds.iter().map(one).collect()
    }
    match role {
        "sources" => boxed(crate::sources::KINDS, Body::Source),
        "operators" => boxed(crate::operators::KINDS, Body::Operator),
        _ => boxed(crate::sinks::KINDS, Body::Sink),
    }
}

/// The keys of a kind of node, for its JSON Schema.
pub fn keys(role: &str, kind: &str) -> Vec<Known> {
    let findings = Findings::default();
    let mut fields = Fields::describe(&findings);
    fields.get::<String>("type", "what kind of node it is").required();
    if let Some((_, read)) = kinds(role).iter().find(|(name, _)| *name == kind) {
        if takes_input(role, read) {
            fields.get::<OneOrMany<String>>("input", INPUT).required();
        }
        read(&mut fields);
    }
    fields.finish()
}

/// `[kafka]` and `[cassandra]` may hold any key of a node of that type.
fn check_defaults(file: &DeTable<'_>, spec: &Spec, findings: &Findings) {
    for kind in ["kafka", "cassandra"] {
        let Some((span, table)) = section(file, kind, findings) else { continue };
        let known = ["sources", "sinks"].iter().flat_map(|role| keys(role, kind)).map(|known| known.key);
        // What every node has is said by each node itself.
        let known: BTreeSet<&str> = known.filter(|key| !["type", "input"].contains(key)).collect();
        for (key, _) in table {
            if !known.contains(key.get_ref().as_ref()) {
                let near = did_you_mean(key.get_ref(), known.iter().copied());
                findings.mistake(&key.span(), format!("`{kind}` has no key `{}`{near}", key.get_ref()));
            }
        }
        let by_dead_letters = kind == "kafka" && spec.job.kafka.is_some();
        if !by_dead_letters && !spec.nodes.iter().any(|node| node.kind == kind) {
            findings.warning(&span, format!("no node is of type {kind}: this section is not used"));
        }
    }
}

fn read_tests(table: &DeTable<'_>, findings: &Findings) -> Vec<TestSpec> {
    let Some((span, value)) = entry(table, "tests") else { return Vec::new() };
    let Some(list) = value.get_ref().as_array() else {
        findings.mistake(&span, "tests are written as [[tests]]");
        return Vec::new();
    };
    let mut tests = Vec::new();
    for value in list.iter() {
        let Some(test) = value.get_ref().as_table() else {
            expected::<()>(value, findings, "a table");
            continue;
        };
        let mut fields = Fields::new("a test", test, value.span(), findings);
        let name = fields.get::<String>("name", "what it shows").required();
        let input = fields.get::<Named<Raw>>("input", "JSON lines for each source").required();
        let expect = fields.get::<Named<Raw>>("expect", "JSON lines expected of nodes").required();
        fields.finish();
        tests.push(TestSpec { name, input: input.value.0, expect: expect.value.0 });
    }
    tests
}
