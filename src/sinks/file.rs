//! `file`: JSON lines or CSV. A path that ends in `/` is a folder with a file for each worker; any other path is
//! one file, written by the first worker in the order of the source.

use std::fs::{File, TryLockError, create_dir_all};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;

use super::columns::ColumnsSpec;
use super::{Placement, PreparedSink, Sink, SinkContext, SinkPlan, SinkSpec, look_for_folder, on_disk};
use crate::batch::{Epoch, Rows};
use crate::error::{Error, Result};
use crate::formats::{write_csv, write_json_lines};
use crate::runtime::Prepare;
use crate::spec::{At, Check, Edge, Fields, Projection};
use crate::state::Entry;
use crate::words;

words! {
    /// How rows are written.
    Format {
        /// A JSON object a line.
        Json = "json",
        /// Comma-separated values with a header.
        Csv = "csv",
    }
}

struct FileSpec {
    path: At<String>,
    format: Option<Format>,
    columns: ColumnsSpec,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn SinkSpec> {
    Box::new(FileSpec {
        path: fields
            .get("path", "a file, or a folder where it ends in `/`: then each worker writes a file of its own")
            .required(),
        format: fields
            .get("format", "json (lines) or csv; by default what the file's name says")
            .optional()
            .map(|at| at.value),
        columns: ColumnsSpec::read(fields),
    })
}

impl SinkSpec for FileSpec {
    fn plan(&self, name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<Arc<dyn SinkPlan>> {
        let path = on_disk(&self.path, check)?;
        let named = match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv" | "tsv") => Format::Csv,
            Some("parquet") => {
                check.findings.mistake(&self.path.span, "Parquet is written by a sink of type parquet");
                return None;
            }
            _ => Format::Json,
        };
        let projection = self.columns.plan(input, check)?;
        let folder = self.path.ends_with('/');
        let name = name.value.clone();
        Some(Arc::new(FilePlan { name, path, folder, format: self.format.unwrap_or(named), projection }))
    }
}

#[derive(Clone)]
struct FilePlan {
    name: String,
    path: PathBuf,
    folder: bool,
    format: Format,
    projection: Projection,
}

impl SinkPlan for FilePlan {
    fn placement(&self) -> Placement {
        if self.folder { Placement::Anywhere } else { Placement::Gathered }
    }

    fn prepare(&self, prepare: &Prepare) -> Result<Arc<dyn PreparedSink>> {
        let cannot = |error| Error::connect(format!("{}: {error}", self.path.display()));
        let folder = if self.folder { Some(self.path.as_path()) } else { self.path.parent() };
        folder.filter(|folder| *folder != Path::new("")).map_or(Ok(()), create_dir_all).map_err(cannot)?;
        let workers: Vec<usize> = match self.folder {
            true => prepare.local_workers.clone().collect(),
            false => prepare.local_workers.clone().filter(|worker| *worker == 0).collect(),
        };
        let of_no_worker = self.cut_those_of_no_worker(prepare)?;
        self.remove_what_no_checkpoint_knows(prepare).map_err(cannot)?;
        let open = |worker| {
            let path = self.file_of(worker);
            let length = kept_length(prepare, &self.name, worker)?;
            let file = open(&path, length).map_err(|error| Error::connect(format!("{}: {error}", path.display())))?;
            Ok(Open { worker, begun: length > 0, length, file: BufWriter::with_capacity(1 << 16, file) })
        };
        let files = workers.into_iter().map(open).collect::<Result<_>>()?;
        Ok(Arc::new(Prepared { plan: self.clone(), files: Mutex::new(files), of_no_worker }))
    }

    fn look(&self) -> Result<()> {
        match self.path.is_dir() && !self.folder {
            true => Err(Error::connect(format!("{}: it is a folder", self.path.display()))),
            false if self.folder => look_for_folder(&self.path),
            false => self.path.parent().map_or(Ok(()), look_for_folder),
        }
    }

    fn overwrites(&self) -> Option<&Path> {
        (!self.folder).then_some(&self.path)
    }

    fn details(&self) -> Vec<String> {
        vec![format!("{} as {}", self.path.display(), self.format)]
    }
}

impl FilePlan {
    fn file_of(&self, worker: usize) -> PathBuf {
        let extension = if self.format == Format::Csv { "csv" } else { "jsonl" };
        if self.folder { self.path.join(format!("part-{worker}.{extension}")) } else { self.path.clone() }
    }

    /// What workers have written that are not there any more ends where the checkpoint says, too: their files and the
    /// lengths of these, which every later checkpoint repeats.
    fn cut_those_of_no_worker(&self, prepare: &Prepare) -> Result<Vec<Entry>> {
        let mut kept = Vec::new();
        for (key, value) in prepare.positions(&self.name) {
            let Some(worker) = worker(key) else { continue };
            if self.folder && worker >= prepare.workers {
                let path = self.file_of(worker);
                let cut = open(&path, kept_length(prepare, &self.name, worker)?);
                cut.map_err(|error| Error::connect(format!("{}: {error}", path.display())))?;
                kept.push(Entry { key: key.to_vec(), value: Some(value.to_vec()) });
            }
        }
        Ok(kept)
    }

    /// A generation that was killed before its first checkpoint may have had more workers than this one: no checkpoint
    /// tells of their files.
    fn remove_what_no_checkpoint_knows(&self, prepare: &Prepare) -> std::io::Result<()> {
        if !self.folder || prepare.keeping.is_none() {
            return Ok(());
        }
        let known: Vec<PathBuf> =
            prepare.positions(&self.name).filter_map(|(key, _)| Some(self.file_of(worker(key)?))).collect();
        for path in std::fs::read_dir(&self.path)?.flatten().map(|entry| entry.path()) {
            let of_no_worker = self.worker_of(&path).is_some_and(|worker| worker >= prepare.workers);
            if of_no_worker && !known.contains(&path) {
                // Another process may have been quicker.
                let _ = std::fs::remove_file(path);
            }
        }
        Ok(())
    }

    fn worker_of(&self, path: &Path) -> Option<usize> {
        let worker = path.file_stem()?.to_str()?.strip_prefix("part-")?.parse().ok()?;
        (self.file_of(worker) == path).then_some(worker)
    }
}

/// The worker that an entry of a checkpoint is of.
fn worker(key: &[u8]) -> Option<usize> {
    key.try_into().ok().map(usize::from_be_bytes)
}

/// How long the file of `worker` was at the checkpoint that the job goes on from.
fn kept_length(prepare: &Prepare, name: &str, worker: usize) -> Result<u64> {
    let Some((_, value)) = prepare.positions(name).find(|(key, _)| *key == worker.to_be_bytes()) else { return Ok(0) };
    let broken = |_| Error::Unsafe(format!("`{name}`: the checkpoint does not tell the length of its file"));
    value.try_into().map(u64::from_be_bytes).map_err(broken)
}

/// How a checkpoint knows the length of the file of a worker.
fn length_of(worker: usize, length: u64) -> Entry {
    Entry { key: worker.to_be_bytes().to_vec(), value: Some(length.to_be_bytes().to_vec()) }
}

/// Opens a file to be written behind its first `length` bytes; what stands behind them goes.
///
/// A process of an earlier generation may have it open still, and write once it wakes up: then this one writes a copy that
/// takes its place, and what the other writes is seen by nobody.
fn open(path: &Path, length: u64) -> std::io::Result<File> {
    let mut file = File::options().create(true).read(true).write(true).truncate(false).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        // A pipe has no length.
        return Ok(file);
    }
    let found = found.len();
    if found < length {
        let words = format!("it has {found} bytes, and had {length} when the checkpoint was made: put it back");
        return Err(std::io::Error::other(words));
    }
    if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
        file = replace(path, &file, length)?;
    }
    file.set_len(length)?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

/// Puts a copy of the first `length` bytes of a file in its place.
fn replace(path: &Path, old: &File, length: u64) -> std::io::Result<File> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(name);
    let mut new = File::options().create(true).read(true).write(true).truncate(true).open(&beside)?;
    std::io::copy(&mut old.take(length), &mut new)?;
    new.sync_all()?;
    // It is locked before others can see it. Where there are no locks nothing is lost by that.
    let _ = new.try_lock();
    std::fs::rename(&beside, path)?;
    Ok(new)
}

struct Prepared {
    plan: FilePlan,
    files: Mutex<Vec<Open>>,
    /// What a checkpoint says of files that no worker writes any more.
    of_no_worker: Vec<Entry>,
}

/// The file of a worker.
struct Open {
    worker: usize,
    /// Whether there is something in it.
    begun: bool,
    /// How long it was when it was opened.
    length: u64,
    file: BufWriter<File>,
}

impl PreparedSink for Prepared {
    fn begins(&self) -> Vec<Entry> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let own = files.iter().map(|open| length_of(open.worker, open.length));
        own.chain(self.of_no_worker.iter().cloned()).collect()
    }

    fn open(&self, context: SinkContext) -> Box<dyn Sink> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let own = files.iter().position(|open| open.worker == context.worker);
        let of_no_worker = if context.worker == 0 { self.of_no_worker.clone() } else { Vec::new() };
        Box::new(FileSink { plan: self.plan.clone(), open: own.map(|at| files.swap_remove(at)), of_no_worker })
    }
}

struct FileSink {
    plan: FilePlan,
    open: Option<Open>,
    of_no_worker: Vec<Entry>,
}

impl Sink for FileSink {
    fn write(&mut self, _epoch: Epoch, rows: &Rows) -> Result<()> {
        let data = self.plan.projection.apply(&rows.data)?;
        self.put(&data)
    }

    fn flush(&mut self, _frontier: Epoch) -> Result<()> {
        let path = &self.plan.path;
        let cannot = |error| Error::run(format!("{}: {error}", path.display()));
        self.open.as_mut().map_or(Ok(()), |open| open.file.flush()).map_err(cannot)
    }

    fn checkpoint(&mut self, _number: u64) -> Result<Vec<Entry>> {
        let Some(open) = &mut self.open else { return Ok(Vec::new()) };
        let durable = open.file.flush().and_then(|()| open.file.get_ref().sync_all());
        let length = durable.and_then(|()| Ok(open.file.get_ref().metadata()?.len()));
        let length = length.map_err(|error| Error::run(format!("{}: {error}", self.plan.path.display())))?;
        Ok(self.of_no_worker.iter().cloned().chain([length_of(open.worker, length)]).collect())
    }

    fn close(&mut self) -> Result<()> {
        // A table without rows still has columns.
        if self.plan.format == Format::Csv && self.open.as_ref().is_some_and(|open| !open.begun) {
            self.put(&RecordBatch::new_empty(Arc::clone(self.plan.projection.schema())))?;
        }
        self.flush(Epoch::MAX)
    }
}

impl FileSink {
    fn put(&mut self, data: &RecordBatch) -> Result<()> {
        let Some(open) = &mut self.open else { return Err(Error::run("rows came to a worker that has no file")) };
        let header = !std::mem::replace(&mut open.begun, true);
        let written = match self.plan.format {
            Format::Json => write_json_lines(&mut open.file, data),
            Format::Csv => write_csv(&mut open.file, data, header),
        };
        written.map_err(|error| Error::run(format!("{}: {error}", self.plan.path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_process_writes_when_it_wakes_up_is_seen_by_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.jsonl");
        let mut earlier = open(&path, 0).expect("a file");
        earlier.write_all(b"kept, lost").expect("written");
        let mut later = open(&path, 6).expect("a file");
        earlier.write_all(b" and a rest").expect("written");
        later.write_all(b"new").expect("written");
        earlier.set_len(0).expect("cut");
        drop((earlier, later));
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "kept, new");
        let mut alone = open(&path, 5).expect("a file");
        alone.write_all(b"!").expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "kept,!");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }
}
