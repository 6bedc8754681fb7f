//! `file`: JSON lines or CSV. A path that ends in `/` is a folder with a file for each worker; any other path is
//! one file, written by the first worker in the order of the source.

use std::fs::{File, create_dir_all};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;

use super::columns::ColumnsSpec;
use super::{Placement, PreparedSink, Sink, SinkContext, SinkPlan, SinkSpec, look_for_folder};
use crate::batch::{Epoch, Rows};
use crate::error::{Error, Result};
use crate::formats::{write_csv, write_json_lines};
use crate::runtime::Prepare;
use crate::spec::{At, Check, Edge, Fields, Projection};
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
    fn plan(&self, _name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<Arc<dyn SinkPlan>> {
        let path = check.files.path(&self.path);
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
        Some(Arc::new(FilePlan { path, folder, format: self.format.unwrap_or(named), projection }))
    }
}

#[derive(Clone)]
struct FilePlan {
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
        let mut files = Vec::new();
        for worker in workers {
            let extension = if self.format == Format::Csv { "csv" } else { "jsonl" };
            let part = format!("part-{worker}.{extension}");
            let path = if self.folder { self.path.join(part) } else { self.path.clone() };
            let file = File::create(&path).map_err(|error| Error::connect(format!("{}: {error}", path.display())))?;
            files.push((worker, BufWriter::with_capacity(1 << 16, file)));
        }
        Ok(Arc::new(Prepared { plan: self.clone(), files: Mutex::new(files) }))
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

struct Prepared {
    plan: FilePlan,
    files: Mutex<Vec<(usize, BufWriter<File>)>>,
}

impl PreparedSink for Prepared {
    fn open(&self, context: SinkContext) -> Box<dyn Sink> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let own = files.iter().position(|(worker, _)| *worker == context.worker);
        Box::new(FileSink { plan: self.plan.clone(), file: own.map(|at| files.swap_remove(at).1), begun: false })
    }
}

struct FileSink {
    plan: FilePlan,
    file: Option<BufWriter<File>>,
    begun: bool,
}

impl Sink for FileSink {
    fn write(&mut self, _epoch: Epoch, rows: &Rows) -> Result<()> {
        let data = self.plan.projection.apply(&rows.data)?;
        self.put(&data)
    }

    fn flush(&mut self, _frontier: Epoch) -> Result<()> {
        let path = &self.plan.path;
        let cannot = |error| Error::run(format!("{}: {error}", path.display()));
        self.file.as_mut().map_or(Ok(()), BufWriter::flush).map_err(cannot)
    }

    fn close(&mut self) -> Result<()> {
        // A table without rows still has columns.
        if self.plan.format == Format::Csv && self.file.is_some() && !self.begun {
            self.put(&RecordBatch::new_empty(Arc::clone(self.plan.projection.schema())))?;
        }
        self.flush(Epoch::MAX)
    }
}

impl FileSink {
    fn put(&mut self, data: &RecordBatch) -> Result<()> {
        let Some(file) = &mut self.file else { return Err(Error::run("rows came to a worker that has no file")) };
        let header = !std::mem::replace(&mut self.begun, true);
        let written = match self.plan.format {
            Format::Json => write_json_lines(file, data),
            Format::Csv => write_csv(file, data, header),
        };
        written.map_err(|error| Error::run(format!("{}: {error}", self.plan.path.display())))
    }
}
