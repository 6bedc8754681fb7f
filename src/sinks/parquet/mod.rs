//! `parquet`: Parquet files in a folder. A file appears whole: it is written under a hidden name and renamed
//! when it is complete.

mod partitions;

use std::collections::BTreeMap;
use std::fs::{File, create_dir_all};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use partitions::{Partitions, some_of};

use super::columns::ColumnsSpec;
use super::parts::Parts;
use super::{Placement, PreparedSink, Sink, SinkContext, SinkPlan, SinkSpec, look_for_folder, on_disk};
use crate::batch::{Epoch, Rows};
use crate::error::{Error, Result};
use crate::runtime::{Prepare, epochs};
use crate::spec::{At, Check, Edge, Fields, OneOrMany, Projection};
use crate::state::Entry;

/// Rows in a row group: what one worker reads at a time when the file is read again.
const ROW_GROUP: usize = 1 << 17;

/// So many files of one worker are open at a time, each of a folder of its own.
const OPEN: usize = 32;

struct ParquetSpec {
    path: At<String>,
    partition_by: OneOrMany<String>,
    rows: u64,
    every: Duration,
    columns: ColumnsSpec,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn SinkSpec> {
    Box::new(ParquetSpec {
        path: fields.get("path", "the folder").required(),
        partition_by: fields
            .get("partition_by", "folders below: `date` and `hour` of event time, or columns: date=2026-01-31/hour=09/")
            .optional()
            .map(|names: At<OneOrMany<String>>| names.value)
            .unwrap_or_default(),
        rows: fields
            .get("roll_rows", "a file is completed when it has this many rows; 1,000,000 by default")
            .or(1_000_000),
        every: fields.get("roll_every", "and after this long; 5m by default").or(Duration::from_secs(300)),
        columns: ColumnsSpec::read(fields),
    })
}

impl SinkSpec for ParquetSpec {
    fn plan(&self, name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<Arc<dyn SinkPlan>> {
        let projection = self.columns.plan(input, check)?;
        let partitions = Partitions::plan(&self.partition_by.0, input, check.findings);
        let folder = on_disk(&self.path, check)?;
        let (name, rows, every) = (name.value.clone(), self.rows.max(1), self.every);
        Some(Arc::new(ParquetPlan { name, folder, partitions: partitions?, rows, every, projection }))
    }
}

#[derive(Clone)]
struct ParquetPlan {
    name: String,
    folder: PathBuf,
    partitions: Partitions,
    rows: u64,
    every: Duration,
    projection: Projection,
}

impl SinkPlan for ParquetPlan {
    fn placement(&self) -> Placement {
        Placement::Anywhere
    }

    fn prepare(&self, prepare: &Prepare) -> Result<Arc<dyn PreparedSink>> {
        create_dir_all(&self.folder).map_err(|error| Error::connect(format!("{}: {error}", self.folder.display())))?;
        let parts = Parts::prepare(&self.folder, &self.name, prepare)?;
        Ok(Arc::new(Prepared { plan: self.clone(), parts }))
    }

    fn look(&self) -> Result<()> {
        look_for_folder(&self.folder)
    }

    fn details(&self) -> Vec<String> {
        vec![format!("{}, a file every {} rows or {:?}", self.folder.display(), self.rows, self.every)]
    }
}

struct Prepared {
    plan: ParquetPlan,
    parts: Parts,
}

impl PreparedSink for Prepared {
    fn open(&self, context: SinkContext) -> Box<dyn Sink> {
        let (plan, parts) = (self.plan.clone(), self.parts.clone());
        let schema = written(plan.projection.schema());
        Box::new(ParquetSink { plan, parts, schema, worker: context.worker, open: BTreeMap::new() })
    }

    fn completed(&self, number: u64) -> Result<()> {
        self.parts.completed(number)
    }
}

/// Times are UTC; readers of Parquet learn it from the time zone. It knows no seconds.
fn written(schema: &SchemaRef) -> SchemaRef {
    let utc = |unit| DataType::Timestamp(unit, Some("UTC".into()));
    let written = |field: &Arc<Field>| match field.data_type() {
        DataType::Timestamp(TimeUnit::Second, None) => {
            field.as_ref().clone().with_data_type(utc(TimeUnit::Millisecond))
        }
        DataType::Timestamp(unit, None) => field.as_ref().clone().with_data_type(utc(*unit)),
        DataType::Time32(TimeUnit::Second) => {
            field.as_ref().clone().with_data_type(DataType::Time32(TimeUnit::Millisecond))
        }
        _ => field.as_ref().clone(),
    };
    Arc::new(Schema::new(schema.fields().iter().map(written).collect::<Vec<_>>()))
}

fn as_written(column: &ArrayRef) -> Result<ArrayRef> {
    Ok(match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, None) => {
            as_written(&cast(column, &DataType::Timestamp(TimeUnit::Millisecond, None))?)?
        }
        DataType::Timestamp(TimeUnit::Millisecond, None) => {
            Arc::new(column.as_primitive::<TimestampMillisecondType>().clone().with_timezone("UTC"))
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            Arc::new(column.as_primitive::<TimestampMicrosecondType>().clone().with_timezone("UTC"))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, None) => {
            Arc::new(column.as_primitive::<TimestampNanosecondType>().clone().with_timezone("UTC"))
        }
        DataType::Time32(TimeUnit::Second) => cast(column, &DataType::Time32(TimeUnit::Millisecond))?,
        _ => Arc::clone(column),
    })
}

struct Part {
    writer: ArrowWriter<File>,
    name: String,
    path: PathBuf,
    rows: u64,
    began: Instant,
}

struct ParquetSink {
    plan: ParquetPlan,
    parts: Parts,
    schema: SchemaRef,
    worker: usize,
    /// The open part of each folder.
    open: BTreeMap<String, Part>,
}

impl ParquetSink {
    /// The open part of a folder. Where too many are open, the one that was begun first is completed.
    fn part(&mut self, folder: &str) -> Result<&mut Part> {
        if !self.open.contains_key(folder) {
            if self.open.len() >= OPEN {
                let first = self.open.iter().min_by_key(|(_, part)| part.began).map(|(folder, _)| folder.clone());
                first.map_or(Ok(()), |first| self.complete(&first))?;
            }
            let part = self.begin(folder)?;
            self.open.insert(folder.to_string(), part);
        }
        self.open.get_mut(folder).ok_or_else(|| Error::run("there is no open part"))
    }

    fn begin(&self, folder: &str) -> Result<Part> {
        let name = format!("{folder}part-{}-{}.parquet", epochs::now(), self.worker);
        let path = self.parts.hidden(&name);
        let failed = |error: &dyn std::fmt::Display| Error::run(format!("{}: {error}", path.display()));
        let file = File::create(&path).map_err(|error| failed(&error))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP))
            .build();
        let writer = ArrowWriter::try_new(file, Arc::clone(&self.schema), Some(properties));
        let writer = writer.map_err(|error| failed(&error))?;
        Ok(Part { writer, name, path, rows: 0, began: Instant::now() })
    }

    /// Completes the open part of a folder.
    fn complete(&mut self, folder: &str) -> Result<()> {
        let Some(part) = self.open.remove(folder) else { return Ok(()) };
        let failed = |error: &dyn std::fmt::Display| Error::run(format!("{}: {error}", part.path.display()));
        let file = part.writer.into_inner().map_err(|error| failed(&error))?;
        file.sync_all().map_err(|error| failed(&error))?;
        self.parts.complete(self.worker, part.name)
    }

    /// Completes the open parts for which this holds.
    fn complete_where(&mut self, holds: impl Fn(&Part) -> bool) -> Result<()> {
        let folders: Vec<String> =
            self.open.iter().filter(|(_, part)| holds(part)).map(|(folder, _)| folder.clone()).collect();
        folders.iter().try_for_each(|folder| self.complete(folder))
    }
}

impl Sink for ParquetSink {
    fn write(&mut self, _epoch: Epoch, rows: &Rows) -> Result<()> {
        let data = self.plan.projection.apply(&rows.data)?;
        let columns = data.columns().iter().map(as_written).collect::<Result<_>>()?;
        let data = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let (most, every) = (self.plan.rows, self.plan.every);
        for (folder, rows) in self.plan.partitions.part(&rows.data)? {
            let part = self.part(&folder)?;
            let written = part.writer.write(&some_of(&data, &rows)?);
            written.map_err(|error| Error::run(format!("{}: {error}", part.path.display())))?;
            part.rows += rows.len() as u64;
            if part.rows >= most || part.began.elapsed() >= every {
                self.complete(&folder)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, _frontier: Epoch) -> Result<()> {
        let every = self.plan.every;
        self.complete_where(|part| part.began.elapsed() >= every)
    }

    fn checkpoint(&mut self, number: u64) -> Result<Vec<Entry>> {
        self.complete_where(|_| true)?;
        Ok(self.parts.name(self.worker, number))
    }

    fn close(&mut self) -> Result<()> {
        self.complete_where(|_| true)
    }
}
