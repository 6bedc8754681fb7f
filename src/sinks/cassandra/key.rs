//! The primary key of a table: read, and checked against the rows that are to be written.

use arrow::datatypes::Field;

use super::table::{Bucket, Column, Order, Table, Values};
use super::types::CqlType;
use crate::formats::ColumnType;
use crate::sources::SEQ;
use crate::spec::{At, Check, Edge, EdgeKind, Fields, Findings, OneOrMany, Projection, did_you_mean};
use crate::words;

/// The greatest length of the name of a keyspace or table.
const NAME_LENGTH: usize = 48;

words! {
    /// What becomes of rows with the same primary key.
    OnConflict {
        /// The last one stays.
        Last = "last",
    }
}

/// The keyspace, the table and its key, as written.
pub struct KeySpec {
    keyspace: At<String>,
    table: At<String>,
    partition: At<OneOrMany<String>>,
    clustering: OneOrMany<String>,
    bucket: Option<At<Bucket>>,
    on_conflict: Option<OnConflict>,
}

/// The table, and what its key says of the rows.
pub struct Keyed {
    /// The table.
    pub table: Table,
    /// Whether two rows may have the same primary key: then the last one of an epoch stands for all.
    pub overwrites: bool,
}

impl KeySpec {
    /// Reads it.
    pub fn read(fields: &mut Fields<'_>) -> Self {
        KeySpec {
            keyspace: fields.get("keyspace", "the keyspace").required(),
            table: fields.get("table", "the table").required(),
            partition: fields
                .get("partition_key", "the columns whose values say which rows are stored together")
                .required(),
            clustering: fields
                .get(
                    "clustering_key",
                    "the columns by which rows of a partition are sorted; `timestamp desc` for the last first",
                )
                .or(OneOrMany(Vec::new())),
            bucket: fields
                .get(
                    "bucket",
                    "adds a part of event time to the partition key: `day` (day date) or `month` (month int, 202601)",
                )
                .optional(),
            on_conflict: fields
                .get("on_conflict", "`last`: of rows with the same key the last one stays, and the others are lost")
                .optional()
                .map(|word| word.value),
        }
    }

    /// The table for rows of `projection`, which are made of those of `input`.
    pub fn plan(&self, input: &Edge, projection: &Projection, expires: bool, check: &Check<'_>) -> Option<Keyed> {
        let findings = check.findings;
        let before = findings.len();
        self.check_names(findings);
        let mut columns = Columns { input, projection, taken: Vec::new(), findings };
        let mut key: Vec<Option<Column>> = self.partition.0.iter().map(|name| columns.take(name, name)).collect();
        if key.is_empty() {
            findings.mistake(&self.partition.span, "a partition key has at least one column");
        }
        if let Some(bucket) = &self.bucket {
            key.push(columns.bucket(bucket));
        }
        let partition = key.len();
        let mut clustering = Vec::new();
        for text in &self.clustering.0 {
            let (name, order) = order(text, findings);
            key.push(columns.take(name, text));
            clustering.push(order);
        }
        let rest = columns.rest(&self.table);
        let mut key = key.into_iter().collect::<Option<Vec<Column>>>()?;
        let overwrites = self.overwrites(&key, input, projection, findings);
        key.extend(rest);
        let (keyspace, name) = (self.keyspace.value.clone(), self.table.value.clone());
        let table = Table { keyspace, name, columns: key, partition, clustering, expires };
        (findings.len() == before).then_some(Keyed { table, overwrites })
    }

    /// A row of a table must be that of one row of changes, whatever that becomes.
    fn check_changes(&self, key: &[usize], input: &Edge, findings: &Findings) {
        let names = |which: &[usize]| {
            which.iter().map(|at| format!("`{}`", input.schema.field(*at).name())).collect::<Vec<_>>().join(", ")
        };
        let missing: Vec<usize> = input.row_key.iter().filter(|at| !key.contains(at)).copied().collect();
        let more: Vec<usize> =
            key.iter().filter(|at| !input.row_key.contains(at) && !input.key.contains(at)).copied().collect();
        // A delete that says what the row was finds it by any of its columns.
        if !more.is_empty() && !input.retracts {
            let message = format!(
                "a row that is replaced would stay in the table: {} may change, and stands in its key",
                names(&more)
            );
            findings.mistake(&self.partition.span, message);
        }
        if !missing.is_empty() && self.on_conflict.is_none() {
            let message = format!(
                "different rows would overwrite each other: add {} to `clustering_key`, or write on_conflict = \"last\"",
                names(&missing)
            );
            findings.mistake(&self.partition.span, message);
        }
    }

    fn check_names(&self, findings: &Findings) {
        for name in [&self.keyspace, &self.table].into_iter().filter(|name| !name.is_empty()) {
            let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !plain || name.len() > NAME_LENGTH {
                let message = format!("`{}` is no name: at most {NAME_LENGTH} letters, digits and _", name.value);
                findings.mistake(&name.span, message);
            }
        }
    }

    /// Whether two rows may have the same key. Rows of a source never have where `seq` is in it. They are said to
    /// be told apart by an id of the source, too: a UUID, or a column named `id` or `..._id`; but an id may come
    /// twice. Else rows would be lost without a word, and that must be asked for.
    fn overwrites(&self, key: &[Column], input: &Edge, projection: &Projection, findings: &Findings) -> bool {
        let source = |column: &Column| match column.values {
            Values::Column(at) => projection.source(at),
            Values::Bucket(_) => None,
        };
        let sources: Vec<usize> = key.iter().filter_map(source).collect();
        if input.kind == EdgeKind::Changes {
            self.check_changes(&sources, input, findings);
            return true;
        }
        let has_key = !input.row_key.is_empty() && input.row_key.iter().all(|at| sources.contains(at));
        let Some(seq) = input.position(SEQ) else { return !has_key };
        if has_key || sources.contains(&seq) {
            return false;
        }
        let tells_apart = |at: usize| !input.key.contains(&at) && is_id(input.schema.field(at));
        if self.on_conflict.is_none() && !sources.into_iter().any(tells_apart) {
            let message = "rows with the same key would overwrite each other: add `seq`, or an id of the source (a uuid, or a \
                           column named id or ..._id), to `clustering_key`; or write on_conflict = \"last\"";
            findings.mistake(&self.partition.span, message);
        }
        true
    }
}

fn is_id(field: &Field) -> bool {
    match ColumnType::of(field) {
        Some(ColumnType::Uuid) => true,
        Some(ColumnType::Text | ColumnType::Int | ColumnType::Bigint) => {
            let name = field.name().to_ascii_lowercase();
            name == "id" || name.ends_with("_id")
        }
        _ => false,
    }
}

/// `timestamp desc`.
fn order<'a>(text: &'a At<String>, findings: &Findings) -> (&'a str, Option<Order>) {
    match text.trim().split_once(char::is_whitespace) {
        None => (text.trim(), None),
        Some((name, order)) => {
            let order = order.trim().to_ascii_lowercase().parse();
            (name, order.map_err(|message: String| findings.mistake(&text.span, message)).ok())
        }
    }
}

/// The columns of the rows, as they find their places in the table.
struct Columns<'a> {
    input: &'a Edge,
    projection: &'a Projection,
    taken: Vec<&'a str>,
    findings: &'a Findings,
}

impl<'a> Columns<'a> {
    /// The column `name`, which stands at `place` in the dataflow file.
    fn take(&mut self, name: &str, place: &At<String>) -> Option<Column> {
        let schema = self.projection.schema();
        let Ok(at) = schema.index_of(name) else {
            let message = match self.input.position(name) {
                Some(_) => format!("`{name}` is not written: add it to `select`"),
                None => {
                    let near = did_you_mean(name, schema.fields().iter().map(|field| field.name().as_str()));
                    format!("there is no column `{name}`{near}")
                }
            };
            self.findings.mistake(&place.span, message);
            return None;
        };
        if self.taken.contains(&schema.field(at).name().as_str()) {
            self.findings.mistake(&place.span, format!("`{name}` stands twice in the key"));
            return None;
        }
        self.taken.push(schema.field(at).name());
        self.column(at, place)
    }

    fn column(&self, at: usize, place: &At<String>) -> Option<Column> {
        let field = self.projection.schema().field(at);
        let Some(kind) = ColumnType::of(field) else {
            let message = format!("`{}` is {}, which no Cassandra column holds", field.name(), field.data_type());
            self.findings.mistake(&place.span, message);
            return None;
        };
        Some(Column { name: field.name().clone(), kind: CqlType::of(kind), values: Values::Column(at) })
    }

    fn bucket(&self, bucket: &At<Bucket>) -> Option<Column> {
        let name = bucket.to_string();
        if self.projection.schema().index_of(&name).is_ok() {
            self.findings.mistake(&bucket.span, format!("there is a column `{name}` already"));
            return None;
        }
        Some(Column { name, kind: bucket.kind(), values: Values::Bucket(bucket.value) })
    }

    /// All that were not taken.
    fn rest(&self, place: &At<String>) -> Vec<Column> {
        let fields = self.projection.schema().fields().iter().enumerate();
        let rest = fields.filter(|(_, field)| !self.taken.contains(&field.name().as_str()));
        rest.filter_map(|(at, _)| self.column(at, place)).collect()
    }
}
