//! Dataflow files run by the program, their outputs compared with what other libraries computed: `golden/cases`, made by
//! `golden/expected.py`, which says what a case is. Each runs with several numbers of workers and processes, and must
//! give the same whatever their number.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value as Json;

use crate::support::cluster::{self, Cluster};
use crate::support::{Folder, Row, csv_rows, difference, repository, rows};

/// What cases refer to as `${...}`.
const ENVIRONMENT: &[(&str, &str)] = &[("GOLDEN_FOLDER", "in")];

/// The folders of all cases.
pub fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join("tests/golden/cases")).expect("the cases");
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.expect("a case").path()).collect();
    cases.sort();
    cases
}

#[test]
fn every_case_gives_what_others_computed_with_any_number_of_workers() {
    let mut wrong = Vec::new();
    let cluster = two_processes_of_two();
    for case in cases() {
        let alone = ["1", "2", "3"].into_iter().map(|workers| in_one_process(&case, workers));
        let runs: Vec<Run> = alone.chain([in_cluster(&case, &cluster)]).collect();
        for run in &runs {
            wrong.extend(run.compare_with(&case.join("expected")));
            wrong.extend(run.compare_bytes_with(&runs[0]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn in_one_process(case: &Path, workers: &str) -> Run {
    let folder = folder_of(case);
    let ended = folder.tapeflow_with(&["run", "flow.toml", "--json", "--workers", workers], ENVIRONMENT).fine();
    let (shown, done) = ended.stdout.trim_end().rsplit_once('\n').unwrap_or(("", ended.stdout.trim_end()));
    let done: Row = serde_json::from_str(done).expect("JSON");
    let totals = done["totals"].as_object().expect("totals").clone();
    Run { name: format!("{} with {workers} workers", name_of(case)), folder, shown: shown.to_string(), totals }
}

/// The cluster that all cases are submitted to.
fn two_processes_of_two() -> Cluster {
    let mut cluster = Cluster::plan(2, 2);
    let environment = ENVIRONMENT.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    cluster.environment = environment.collect();
    (0..2).for_each(|index| cluster.launch(index));
    cluster.wait_ready();
    cluster
}

fn in_cluster(case: &Path, cluster: &Cluster) -> Run {
    let folder = folder_of(case);
    // What a console sink shows stands on the stdout of the first process, behind that of the cases before.
    let before = cluster.read("log-0.out").len();
    let mut submit = cluster.command();
    submit.current_dir(folder.path("")).args(["submit", "flow.toml", "--wait", "--timeout", "60s", "--json"]);
    submit.args(["--at", &format!("127.0.0.1:{}", cluster.http[1])]);
    let submitted = cluster::run(submit).with(0).json();
    let job = cluster.job(0, submitted["name"].as_str().expect("a name"));
    let nodes = job["nodes"].as_array().expect("nodes");
    let sum = |what: &str| nodes.iter().filter_map(|node| node[what].as_u64()).sum::<u64>();
    let summed = ["held_back", "late", "outside", "unmatched", "repeats", "dead_letters", "skipped"]
        .map(|what| (what.to_string(), Json::from(sum(what))));
    let told = ["rows_in", "rows_out"].map(|what| (what.to_string(), job[what].clone()));
    let totals = summed.into_iter().chain(told).collect();
    let shown = cluster.read("log-0.out")[before..].to_string();
    Run { name: format!("{} in two processes of two workers", name_of(case)), folder, shown, totals }
}

fn name_of(case: &Path) -> String {
    case.file_name().expect("a name").to_string_lossy().into_owned()
}

/// The case in a folder of its own.
fn folder_of(case: &Path) -> Folder {
    let folder = Folder::new();
    copy(case, &folder.path(""));
    folder
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder").flatten().filter(|entry| entry.file_name() != "expected") {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).expect("a folder");
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// A case that was run.
struct Run {
    name: String,
    folder: Folder,
    /// The rows that console sinks have printed.
    shown: String,
    totals: Row,
}

impl Run {
    /// What differs from the files in `expected`, which have the names of the outputs.
    fn compare_with(&self, expected: &Path) -> Vec<String> {
        let mut wrong = Vec::new();
        for path in files_below(expected) {
            let name = path.strip_prefix(expected).expect("below").to_string_lossy().into_owned();
            let expected = read_rows(&path);
            let what = format!("{}: {name}", self.name);
            let came = self.output(&name);
            if self.key(&name).is_none() && are_inserted_and_deleted(&came) {
                wrong.extend(difference_of_tables(&what, came, expected));
                continue;
            }
            match in_the_end(came, self.key(&name)) {
                Ok(rows) => wrong.extend(difference(&what, &rows, &expected)),
                Err(row) => wrong.push(format!("{what}: this row was there before: {row}")),
            }
        }
        wrong
    }

    /// What the rows of an output are known by, where the case says so in `keys.json`.
    fn key(&self, output: &str) -> Option<Vec<String>> {
        let keys = fs::read_to_string(self.folder.path("keys.json")).ok()?;
        let keys: BTreeMap<String, Vec<String>> = serde_json::from_str(&keys).expect("names of columns by output");
        keys.get(output.split('.').next()?).cloned()
    }

    /// The rows of an output. What has no order of its own (files of each worker, dead letters) is put into one.
    fn output(&self, name: &str) -> Vec<Row> {
        let folder = self.folder.path(name.trim_end_matches(".jsonl"));
        match name {
            "totals.json" => vec![self.totals.clone()],
            "stdout.jsonl" => rows(&self.shown),
            _ if folder.is_dir() => {
                let parts = files_below(&folder);
                sorted(parts.iter().flat_map(|part| read_rows(part)).collect(), "seq")
            }
            _ if name.contains("letters/") => sorted(rows(&self.folder.read(name)), "offset"),
            _ => read_rows(&self.folder.path(name)),
        }
    }

    /// Files that one worker writes are the same, byte for byte, whatever the number of workers.
    fn compare_bytes_with(&self, other: &Run) -> Vec<String> {
        let outputs = files_below(&self.folder.path(""));
        let one_file = |name: &str| !name.contains("letters/") && !name.contains("part-");
        let relative = |path: &PathBuf| path.strip_prefix(self.folder.path("")).expect("below").to_owned();
        let names = outputs.iter().map(relative).filter(|path| one_file(&path.to_string_lossy()));
        let differs = |name: &PathBuf| {
            fs::read(self.folder.path("").join(name)).ok() != fs::read(other.folder.path("").join(name)).ok()
        };
        names
            .filter(differs)
            .map(|name| format!("{}: {} is not that of {}", self.name, name.display(), other.name))
            .collect()
    }
}

/// Rows as those of a table, which they insert into, replace and delete, in the order of their keys, where `key` names
/// them: those of intervals are known by their ends, keys and starts. Those of
/// collections as they are left, others as they are. Err with a row that is said to be new and is not, or to go and is not
/// there.
fn in_the_end(rows: Vec<Row>, key: Option<Vec<String>>) -> Result<Vec<Row>, Json> {
    let of_intervals = || rows.iter().all(|row| row.contains_key("start") && row.contains_key("end"));
    let interval = || ["end", "symbol", "start"].map(str::to_string).to_vec();
    let Some(names) = key.or_else(|| of_intervals().then(interval)) else {
        let is_collection = rows.iter().all(|row| row.contains_key("__op"));
        return if is_collection { what_is_left(rows) } else { Ok(rows) };
    };
    let mut table = BTreeMap::new();
    for row in rows {
        let key: Vec<_> = names.iter().map(|name| row.get(name).map(sortable)).collect();
        let op = row.get("__op").and_then(Json::as_str).unwrap_or("insert").to_string();
        let told = Json::from(row.clone());
        let before = if op == "delete" { table.remove(&key) } else { table.insert(key, row) };
        // What is deleted may not have been there: a filter has not let it through, or it came and went in one epoch.
        if op == "insert" && before.is_some() {
            return Err(told);
        }
    }
    Ok(table.into_values().collect())
}

/// A value as text that is in the order of the values, for texts and natural numbers.
fn sortable(value: &Json) -> String {
    value.as_u64().map_or_else(|| value.to_string(), |number| format!("{number:020}"))
}

/// The rows that were inserted and not deleted as they were, by what they may be known by.
fn what_is_left(rows: Vec<Row>) -> Result<Vec<Row>, Json> {
    let mut left: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for mut row in rows {
        let is_deleted = row.remove("__op") == Some("delete".into());
        let same = left.entry(Json::from(row.clone()).to_string()).or_default();
        if !is_deleted {
            same.push(row);
        } else if same.pop().is_none() {
            return Err(row.into());
        }
    }
    let mut left: Vec<Row> = left.into_values().flatten().collect();
    let key = |row: &Row| ["sector", "odd", "symbol", "rank", "venue"].map(|name| row.get(name).map(Json::to_string));
    left.sort_by_key(key);
    Ok(left)
}

/// Whether rows make a table that others are not replaced in.
fn are_inserted_and_deleted(rows: &[Row]) -> bool {
    !rows.is_empty() && rows.iter().all(|row| row.contains_key("__op") && !row.contains_key("revision"))
}

/// What differs from a table, in any order: what is deleted must have been inserted.
fn difference_of_tables(what: &str, changes: Vec<Row>, mut expected: Vec<Row>) -> Option<String> {
    let mut counts: BTreeMap<String, (i32, Row)> = BTreeMap::new();
    for mut row in changes {
        let count = if row.remove("__op") == Some("delete".into()) { -1 } else { 1 };
        counts.entry(Json::from(row.clone()).to_string()).or_insert((0, row)).0 += count;
    }
    let mut rows: Vec<Row> =
        counts.into_values().flat_map(|(count, row)| vec![row; count.unsigned_abs() as usize]).collect();
    let columns: Vec<String> = expected.first().into_iter().flat_map(Row::keys).cloned().collect();
    let by = |row: &Row| columns.iter().map(|column| row.get(column).map(Json::to_string)).collect::<Vec<_>>();
    rows.sort_by_key(by);
    expected.sort_by_key(by);
    difference(what, &rows, &expected)
}

/// All files in a folder and the folders in it.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() { files.extend(files_below(&entry.path())) } else { files.push(entry.path()) }
    }
    files.sort();
    files
}

fn sorted(mut rows: Vec<Row>, by: &str) -> Vec<Row> {
    let number = |row: &Row| match row.get(by) {
        Some(Json::String(text)) => text.parse().ok(),
        value => value.and_then(Json::as_f64),
    };
    rows.sort_by(|one, other| number(one).partial_cmp(&number(other)).expect("numbers"));
    rows
}

fn read_rows(path: &Path) -> Vec<Row> {
    let text = || fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => csv_rows(&text()),
        Some("parquet") => parquet_rows(path),
        _ => rows(&text()),
    }
}

fn parquet_rows(path: &Path) -> Vec<Row> {
    let file = fs::File::open(path).expect("a file");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("a reader");
    let mut lines = Vec::new();
    for batch in reader {
        let batch = batch.expect("rows");
        let columns = batch.columns().iter().map(without_zone);
        let schema = batch.schema();
        let named = schema.fields().iter().map(|field| field.name().as_str()).zip(columns);
        let batch = RecordBatch::try_from_iter_with_nullable(named.map(|(name, column)| (name, column, true)));
        tapeflow::formats::write_json_lines(&mut lines, &batch.expect("rows")).expect("lines");
    }
    rows(&String::from_utf8(lines).expect("text"))
}

/// Times are UTC and say so. Seconds would be integers to other readers.
fn without_zone(column: &ArrayRef) -> ArrayRef {
    use std::sync::Arc;
    match column.data_type() {
        DataType::Timestamp(unit, zone) => {
            assert_eq!(zone.as_deref(), Some("UTC"));
            match unit {
                TimeUnit::Second => panic!("seconds in Parquet"),
                TimeUnit::Millisecond => {
                    Arc::new(column.as_primitive::<TimestampMillisecondType>().clone().with_timezone_opt(None::<&str>))
                }
                TimeUnit::Microsecond => {
                    Arc::new(column.as_primitive::<TimestampMicrosecondType>().clone().with_timezone_opt(None::<&str>))
                }
                TimeUnit::Nanosecond => {
                    Arc::new(column.as_primitive::<TimestampNanosecondType>().clone().with_timezone_opt(None::<&str>))
                }
            }
        }
        _ => Arc::clone(column),
    }
}
