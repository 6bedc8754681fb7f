//! `parquet`: Parquet files in a folder. A file appears whole: it is written under a hidden name and renamed
//! when it is complete.

use std::fs::{File, create_dir_all};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::columns::ColumnsSpec;
use super::parts::Parts;
use super::{Placement, PreparedSink, Sink, SinkContext, SinkPlan, SinkSpec, look_for_folder, on_disk};
use crate::batch::{Epoch, Rows};
use crate::error::{Error, Result};
use crate::runtime::{Prepare, epochs};
use crate::spec::{At, Check, Edge, Fields, Projection};
use crate::state::Entry;

/// Rows in a row group: what one worker reads at a time when the file is read again.
const ROW_GROUP: usize = 1 << 17;

struct ParquetSpec {
    path: At<String>,
    rows: u64,
    every: Duration,
    columns: ColumnsSpec,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn SinkSpec> {
    Box::new(ParquetSpec {
        path: fields.get("path", "the folder").required(),
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
        let folder = on_disk(&self.path, check)?;
        let name = name.value.clone();
        Some(Arc::new(ParquetPlan { name, folder, rows: self.rows.max(1), every: self.every, projection }))
    }
}

#[derive(Clone)]
struct ParquetPlan {
    name: String,
    folder: PathBuf,
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
        Box::new(ParquetSink { plan, parts, schema, worker: context.worker, part: None })
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
    part: Option<Part>,
}

impl ParquetSink {
    fn part(&mut self) -> Result<&mut Part> {
        if self.part.is_none() {
            let name = format!("part-{}-{}.parquet", epochs::now(), self.worker);
            let path = self.parts.hidden(&name);
            let failed = |error: &dyn std::fmt::Display| Error::run(format!("{}: {error}", path.display()));
            let file = File::create(&path).map_err(|error| failed(&error))?;
            let properties = WriterProperties::builder()
                .set_compression(Compression::ZSTD(ZstdLevel::default()))
                .set_max_row_group_row_count(Some(ROW_GROUP))
                .build();
            let writer = ArrowWriter::try_new(file, Arc::clone(&self.schema), Some(properties))
                .map_err(|error| failed(&error))?;
            self.part = Some(Part { writer, name, path, rows: 0, began: Instant::now() });
        }
        self.part.as_mut().ok_or_else(|| Error::run("there is no open part"))
    }

    /// Completes the open part.
    fn complete(&mut self) -> Result<()> {
        let Some(part) = self.part.take() else { return Ok(()) };
        let failed = |error: &dyn std::fmt::Display| Error::run(format!("{}: {error}", part.path.display()));
        let file = part.writer.into_inner().map_err(|error| failed(&error))?;
        file.sync_all().map_err(|error| failed(&error))?;
        self.parts.complete(self.worker, part.name)
    }
}

impl Sink for ParquetSink {
    fn write(&mut self, _epoch: Epoch, rows: &Rows) -> Result<()> {
        let data = self.plan.projection.apply(&rows.data)?;
        let columns = data.columns().iter().map(as_written).collect::<Result<_>>()?;
        let data = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let (rows, every) = (self.plan.rows, self.plan.every);
        let part = self.part()?;
        part.writer.write(&data).map_err(|error| Error::run(format!("{}: {error}", part.path.display())))?;
        part.rows += data.num_rows() as u64;
        if part.rows >= rows || part.began.elapsed() >= every {
            self.complete()?;
        }
        Ok(())
    }

    fn flush(&mut self, _frontier: Epoch) -> Result<()> {
        if self.part.as_ref().is_some_and(|part| part.began.elapsed() >= self.plan.every) {
            self.complete()?;
        }
        Ok(())
    }

    fn checkpoint(&mut self, number: u64) -> Result<Vec<Entry>> {
        self.complete()?;
        Ok(self.parts.name(self.worker, number))
    }

    fn close(&mut self) -> Result<()> {
        self.complete()
    }
}
