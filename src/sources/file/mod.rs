//! `file`: JSON lines, CSV or Parquet, from disk or an object store.
//!
//! Files are cut into splits (row groups of Parquet, ranges of bytes of text), which the workers take in turn.
//! Every split has epochs of its own, numbered in the order of the files, so that rows are processed in that
//! order by any number of workers.

mod borders;
mod columns;
mod pace;
mod parquet;
mod remote;
mod splits;
mod text;
mod whole;

pub use remote::forget as forget_fetched;
pub use whole::{Whole, WholeFile};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{Schema, SchemaRef};

use borders::Borders;
use columns::{Columns, Written};
use pace::Pace;
pub use pace::Speed;
use splits::{Found, Part, Split};

use super::seq::SeqLayout;
use super::shape::{ShapePlan, ShapeSpec, Shaped, Shaper};
use super::{Cut, PreparedSource, Read, Reader, ReaderContext, SourcePlan, SourceSpec};
use crate::batch::{Epoch, Mark, Origin};
use crate::error::{Error, Result};
use crate::formats::{CsvOptions, MessageSchema, SchemaSpec};
use crate::operators::watermarks::origin;
use crate::runtime::Prepare;
use crate::sinks::dead_letters::Place;
use crate::spec::{At, Check, Edge, Fields};
use crate::state::Entry;
use crate::words;

/// Rows in a batch.
pub const BATCH_ROWS: usize = 8192;
/// Batches in an epoch.
pub const EPOCH_BATCHES: u64 = 8;

words! {
    /// How a file is written.
    Format {
        /// A JSON object a line.
        Json = "json",
        /// Comma-separated values with a header.
        Csv = "csv",
        /// Parquet.
        Parquet = "parquet",
    }
}

impl Format {
    fn of(path: &str) -> Option<Format> {
        match Path::new(path).extension()?.to_str()? {
            "json" | "jsonl" | "ndjson" => Some(Format::Json),
            "csv" | "tsv" => Some(Format::Csv),
            "parquet" | "pq" => Some(Format::Parquet),
            _ => None,
        }
    }
}

struct FileSpec {
    path: At<String>,
    format: Option<Format>,
    schema: Option<At<SchemaSpec>>,
    delimiter: Option<At<String>>,
    null: String,
    speed: Speed,
    shape: ShapeSpec,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn SourceSpec> {
    Box::new(FileSpec {
        path: fields
            .get("path", "a file, a glob, a folder (hive partitions become columns), or s3:// gs:// az://")
            .required(),
        format: fields
            .get("format", "json (lines), csv or parquet; by default what the file's name says")
            .optional()
            .map(|at| at.value),
        schema: fields
            .get("schema", "an .avsc file, or a table of columns and types; read from the data where it is missing")
            .optional(),
        delimiter: fields
            .get("delimiter", "what stands between the values of a CSV line; a comma, or a tab in .tsv, by default")
            .optional(),
        null: fields.get("null", "the text that stands for no value in CSV").or(String::new()),
        speed: fields
            .get("speed", "paced by event time: 1 is real time, 10 ten times as fast; `max` by default")
            .or(Speed::Max),
        shape: ShapeSpec::read(fields, None, None),
    })
}

impl SourceSpec for FileSpec {
    fn plan(&self, name: &At<String>, check: &Check<'_>) -> Option<(Edge, Arc<dyn SourcePlan>)> {
        let findings = check.findings;
        let delimiter = match self.delimiter.as_ref().map(|delimiter| (delimiter, delimiter.as_bytes())) {
            None => None,
            Some((_, [one])) => Some(*one),
            Some((delimiter, _)) => {
                findings.mistake(&delimiter.span, "a delimiter is one character");
                None
            }
        };
        let location =
            if remote::is_remote(&self.path) { PathBuf::from(&self.path.value) } else { check.files.path(&self.path) };
        let written = Written { format: self.format, schema: self.schema.as_ref(), delimiter, null: &self.null };
        let columns = match Columns::of(&location, &written, check) {
            Ok(columns) => columns,
            Err(message) => {
                // What is wrong with a schema has been told in its place.
                message.into_iter().for_each(|message| findings.mistake(&self.path.span, message));
                return None;
            }
        };
        let (edge, shape) = self.shape.plan(columns.fields(), SeqLayout::Parts, check)?;
        let plan = FilePlan {
            name: name.value.clone(),
            location,
            base: check.files.path(""),
            format: columns.format,
            schema: Arc::new(Schema::new(columns.fields())),
            csv: columns.csv,
            messages: columns.messages,
            partitions: columns.partitions,
            speed: self.speed,
            epoch: check.job.epoch,
            shape,
        };
        Some((edge, Arc::new(plan)))
    }
}

#[derive(Clone)]
struct FilePlan {
    name: String,
    location: PathBuf,
    base: PathBuf,
    format: Format,
    csv: CsvOptions,
    /// The columns of the files and those that hive partitions add.
    schema: SchemaRef,
    messages: MessageSchema,
    partitions: Vec<String>,
    speed: Speed,
    epoch: Duration,
    shape: Arc<ShapePlan>,
}

impl FilePlan {
    fn find(&self) -> Result<Vec<Found>> {
        let found = splits::find(&self.location)?;
        if found.is_empty() {
            return Err(Error::connect(format!("there is no file {}", self.location.display())));
        }
        if found.len() as u64 > self.shape.layout.partitions() {
            return Err(Error::Usage(format!("{} files are too many for one source", found.len())));
        }
        Ok(found)
    }

    /// The place of a record, wherever the dataflow file is.
    fn place<'f>(&self, found: &'f Found, file: usize, offset: u64) -> Place<'f> {
        let below = Path::new(&found.name).strip_prefix(&self.base).ok().and_then(Path::to_str);
        let topic = below.unwrap_or(&found.name);
        Place { topic, partition: file as i32, offset: offset as i64, timestamp: None }
    }
}

impl SourcePlan for FilePlan {
    fn look(&self) -> Result<()> {
        self.find().map(drop)
    }

    fn prepare(&self, prepare: &Prepare) -> Result<Arc<dyn PreparedSource>> {
        let found = self.find()?;
        let before = prepare.positions(&self.name).find(|(key, _)| *key == FILES);
        let others = before.is_some_and(|(_, files)| files != splits::fingerprint(&found).as_bytes());
        if others && !prepare.forgets(&self.name) {
            let path = self.location.display();
            return Err(Error::Unsafe(format!(
                "`{}`: the files at {path} are not those that the checkpoint knows; put them back, or read them from the \
                 beginning by --forget {}",
                self.name, self.name
            )));
        }
        let splits = Arc::new(splits::cut(&found, self.format)?);
        let borders = found.iter().map(|found| Borders::new(&found.path, self.csv.delimiter)).collect();
        // Of other files nothing is known.
        let own = |_: &(&[u8], &[u8])| !others;
        let latest =
            prepare.positions(&self.name).filter(own).filter_map(|(key, latest)| read_latest(key, latest)).max();
        let (plan, found, borders) = (self.clone(), Arc::new(found), Arc::new(borders));
        Ok(Arc::new(Prepared { plan, found, borders, splits, anew: others, latest }))
    }

    fn shape(&self) -> &Arc<ShapePlan> {
        &self.shape
    }

    fn messages(&self) -> &MessageSchema {
        &self.messages
    }

    fn what(&self) -> String {
        // The files themselves are known by their names and sizes; rows that are paced have epochs of their own.
        match self.speed {
            Speed::Max => format!("files of {}", self.format),
            Speed::Times(times) => format!("files of {}, {times} times as fast, every {:?}", self.format, self.epoch),
        }
    }

    fn reads(&self, path: &Path) -> bool {
        // What is not there yet is read by nobody.
        let Ok(path) = path.canonicalize() else { return false };
        let same = |found: &Found| found.path.canonicalize().is_ok_and(|found| found == path);
        splits::find(&self.location).is_ok_and(|found| found.iter().any(same))
    }

    fn details(&self) -> Vec<String> {
        vec![format!("{} as {}", self.location.display(), self.format)]
    }
}

struct Prepared {
    plan: FilePlan,
    found: Arc<Vec<Found>>,
    borders: Arc<Vec<Borders>>,
    splits: Arc<Vec<Split>>,
    /// They are others than those that the checkpoint knows.
    anew: bool,
    /// The greatest event time before the checkpoint that it goes on from.
    latest: Option<i64>,
}

impl PreparedSource for Prepared {
    fn begins_anew(&self) -> bool {
        self.anew
    }

    fn begins(&self) -> Result<Vec<Entry>> {
        Ok(vec![known_files(&self.found)])
    }

    fn reader(&self, context: ReaderContext) -> Box<dyn Reader> {
        // Rows that are held until it is their time are all held in one place, in order.
        let paced = self.plan.speed != Speed::Max;
        let reads = !paced || context.worker == 0;
        let last = self.splits.last().map_or(0, |split| split.first_epoch + split.epochs);
        Box::new(FileReader {
            plan: self.plan.clone(),
            found: Arc::clone(&self.found),
            borders: Arc::clone(&self.borders),
            splits: Arc::clone(&self.splits),
            reads,
            end: (!paced).then_some(context.start + last),
            next: if reads { context.worker } else { usize::MAX },
            stride: if paced { 1 } else { context.workers },
            open: None,
            shaper: Shaper::new(Arc::clone(&self.plan.shape)),
            // One for all workers: how far event time has come is told by what stands before in the files, whoever
            // reads it, and so does not depend on how many read.
            origin: origin(context.node, 0),
            pace: Pace::new(self.plan.speed, context.start, context.from, self.plan.epoch),
            watermark: Watermark { latest: self.latest, ..Watermark::default() },
            context,
        })
    }

    fn extent(&self) -> Option<u64> {
        Some(self.splits.iter().map(|split| split.bytes).sum())
    }
}

/// The rows of a split, batch after batch.
trait Batches {
    /// The next batch and the offset of each of its rows; records that cannot be read go to `bad`.
    fn next(&mut self, bad: &mut Vec<Bad>) -> Result<Option<(RecordBatch, Vec<u64>)>>;
    /// The raw bytes of the record at `offset`, where the format has such.
    fn raw(&self, offset: u64) -> Option<&[u8]>;
}

/// The key under which a checkpoint knows the files.
const FILES: &[u8] = b"files";
/// What the keys begin with under which it knows how far event time has come, as each worker has seen it.
const LATEST: &[u8] = b"latest ";

fn read_latest(key: &[u8], value: &[u8]) -> Option<i64> {
    key.starts_with(LATEST).then(|| value.try_into().map(i64::from_be_bytes).ok())?
}

/// What the splits are, so that a restart finds the same; the epochs tell how many of them were read.
fn known_files(found: &[Found]) -> Entry {
    Entry { key: FILES.to_vec(), value: Some(splits::fingerprint(found).into_bytes()) }
}

/// A record that could not be read.
struct Bad {
    offset: u64,
    raw: Vec<u8>,
    reason: String,
}

struct Open {
    split: usize,
    batches: Box<dyn Batches>,
    batch: u64,
    bytes_left: u64,
}

#[derive(Default)]
struct Watermark {
    latest: Option<i64>,
    due: bool,
    /// The epoch of the last rows, and the greatest event time before it.
    epoch: Epoch,
    before: Option<i64>,
}

impl Watermark {
    /// Rows of `epoch` up to this event time have gone.
    fn pass(&mut self, epoch: Epoch, latest: Option<i64>) {
        if epoch > self.epoch {
            (self.epoch, self.before) = (epoch, self.latest);
        }
        self.due |= latest > self.latest;
        self.latest = self.latest.max(latest);
    }

    /// The greatest event time of rows before `boundary`, which is not before the last rows.
    fn before(&self, boundary: Epoch) -> Option<i64> {
        if self.epoch < boundary { self.latest } else { self.before }
    }
}

struct FileReader {
    plan: FilePlan,
    found: Arc<Vec<Found>>,
    borders: Arc<Vec<Borders>>,
    splits: Arc<Vec<Split>>,
    /// Whether this worker reads at all.
    reads: bool,
    /// The epoch behind all splits.
    end: Option<Epoch>,
    next: usize,
    stride: usize,
    open: Option<Open>,
    shaper: Shaper,
    origin: Origin,
    pace: Pace,
    watermark: Watermark,
    context: ReaderContext,
}

impl Reader for FileReader {
    fn cut(&self) -> Cut {
        Cut::Rows
    }

    fn origins(&self) -> Vec<(Origin, i64)> {
        let known = self.watermark.latest.map_or(i64::MIN, |latest| self.time(latest));
        if self.reads { vec![(self.origin, known)] } else { Vec::new() }
    }

    fn position(&self, boundary: Epoch) -> Result<Vec<Entry>> {
        let latest = self.watermark.before(boundary).map(|latest| Entry {
            key: [LATEST, &self.context.worker.to_be_bytes()].concat(),
            value: Some(latest.to_be_bytes().to_vec()),
        });
        Ok([known_files(&self.found)].into_iter().chain(latest).collect())
    }

    fn read(&mut self) -> Result<Read> {
        if let Some(latest) = self.watermark.latest.filter(|_| std::mem::take(&mut self.watermark.due)) {
            return Ok(Read::Mark(Mark::Watermark { origin: self.origin, time: self.time(latest) }));
        }
        if let Some((read, latest)) = self.pace.next() {
            let epoch = if let Read::Rows { epoch: Some(epoch), .. } = read { epoch } else { self.context.start };
            self.watermark.pass(epoch, latest);
            return Ok(read);
        }
        if self.open.is_none() && !self.open_next()? {
            // The first worker to end speaks for all: so it does in an epoch behind all others.
            return Ok(self.end.take().map_or(Read::End, Read::Advance));
        }
        self.read_batch()
    }
}

impl FileReader {
    /// The watermark when event time has come to `latest`.
    fn time(&self, latest: i64) -> i64 {
        latest.saturating_sub(self.plan.shape.lateness)
    }

    /// Whether the epoch of this number was read before a restart. Rows that are paced have epochs of their own, and go
    /// through [`Pace`] once more.
    fn was_read(&self, epoch: u64) -> bool {
        self.plan.speed == Speed::Max && self.context.start + epoch < self.context.from
    }

    fn open_next(&mut self) -> Result<bool> {
        // What was read before a restart is not read again.
        while self.splits.get(self.next).is_some_and(|split| self.was_read(split.first_epoch + split.epochs - 1)) {
            self.next += self.stride;
        }
        let Some(split) = self.splits.get(self.next) else { return Ok(false) };
        let found = &self.found[split.file];
        let batches: Box<dyn Batches> = match &split.part {
            Part::RowGroup { index, first_row } => {
                Box::new(parquet::open(found, *index, *first_row, &self.plan.messages)?)
            }
            Part::Bytes { from, .. } if self.plan.format == Format::Csv => {
                text::open_csv(found, *from, &self.borders[split.file], &self.plan.csv, &self.plan.messages)?
            }
            Part::Bytes { from, to } => text::open_json(found, *from, *to, &self.plan.messages)?,
        };
        self.open = Some(Open { split: self.next, batches, batch: 0, bytes_left: split.bytes });
        self.next += self.stride;
        Ok(true)
    }

    fn read_batch(&mut self) -> Result<Read> {
        let Some(open) = &mut self.open else { return Ok(Read::End) };
        let split = &self.splits[open.split];
        let mut bad = Vec::new();
        let batch = open.batches.next(&mut bad)?;
        let epoch = self.context.start + split.first_epoch + (open.batch / EPOCH_BATCHES).min(split.epochs - 1);
        let read_before = self.plan.speed == Speed::Max && epoch < self.context.from;
        bad.retain(|_| !read_before);
        for Bad { offset, raw, reason } in bad {
            let place = self.plan.place(&self.found[split.file], split.file, offset);
            self.context.refusals.refuse(&place, None, Some(&raw), &reason)?;
        }
        let Some((messages, offsets)) = batch else {
            let extent = open.bytes_left;
            self.open = None;
            // An empty batch tells how far the reader has come.
            let data = RecordBatch::new_empty(Arc::new(Schema::empty()));
            return Ok(Read::Rows { epoch: Some(epoch), data, bytes: 0, extent });
        };
        open.batch += 1;
        if read_before {
            return Ok(Read::Rows {
                epoch: None,
                data: RecordBatch::new_empty(Arc::new(Schema::empty())),
                bytes: 0,
                extent: 0,
            });
        }
        let bytes = messages.get_array_memory_size();
        let extent = (split.bytes / split.batches.max(1)).min(open.bytes_left);
        open.bytes_left -= extent;
        let split = self.splits[open.split].clone();
        let shaped = self.shape(messages, &split, &offsets)?;
        if self.plan.speed == Speed::Max {
            self.watermark.pass(epoch, shaped.latest(&self.plan.shape));
            return Ok(Read::Rows { epoch: Some(epoch), data: shaped.data, bytes, extent });
        }
        self.pace.hold(shaped.data, extent);
        Ok(Read::Idle(Some(Duration::ZERO)))
    }

    fn shape(&mut self, messages: RecordBatch, split: &Split, offsets: &[u64]) -> Result<Shaped> {
        let file = &self.found[split.file];
        let seq = |offset: &u64| self.plan.shape.layout.seq(split.file as u64, *offset, 0);
        let seqs: Option<Vec<i64>> = offsets.iter().map(seq).collect();
        let seqs = seqs.ok_or_else(|| Error::run(format!("{}: it has too many rows for one source", file.name)))?;
        let messages = with_partitions(messages, file, &self.plan)?;
        let shaped = self.shaper.shape(messages.clone(), seqs)?;
        for (row, reason) in &shaped.refused {
            let raw = self.open.as_ref().and_then(|open| open.batches.raw(offsets[*row])).map(<[u8]>::to_vec);
            let raw = raw.unwrap_or_else(|| crate::formats::json_line(&messages, *row).into_bytes());
            let place = self.plan.place(file, split.file, offsets[*row]);
            self.context.refusals.refuse(&place, None, Some(&raw), reason)?;
        }
        Ok(shaped)
    }
}

/// Adds the columns that stand in the path.
fn with_partitions(messages: RecordBatch, file: &Found, plan: &FilePlan) -> Result<RecordBatch> {
    let mut columns = messages.columns().to_vec();
    for name in &plan.partitions {
        let value = file.partitions.iter().find(|(other, _)| other == name).and_then(|(_, value)| value.as_deref());
        let column: StringArray = std::iter::repeat_n(value, messages.num_rows()).collect();
        columns.push(Arc::new(column) as ArrayRef);
    }
    Ok(RecordBatch::try_new(Arc::clone(&plan.schema), columns)?)
}
