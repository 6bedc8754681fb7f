//! The Arrow record batch as a timely container: what travels on every edge of a dataflow.
//!
//! A [`Batch`] holds rows or one mark. Rows count as rows and a mark counts one, which is what timely's
//! progress tracking needs; an empty batch is never sent. A batch that crosses to another worker carries
//! the index of that worker and is routed whole: `operators::exchange` has split it by key before.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, PoisonError, RwLock};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use timely::Accountable;
use timely::communication::Push;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};

/// The timely timestamp: a short interval of arrival, named by the microsecond (since 1970 UTC) in which it
/// opened. It is never event time.
pub type Epoch = u64;

/// One sender of watermarks: a source partition, or an operator on one worker.
pub type Origin = u64;

/// What is said about the stream rather than of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// `origin` does not expect event times below `time` (ns since 1970 UTC) any more. The first one of an
    /// origin, with `i64::MIN`, announces it.
    Watermark {
        /// Who says so.
        origin: Origin,
        /// Nanoseconds since 1970 UTC.
        time: i64,
    },
    /// `origin` sends nothing more.
    Close {
        /// Who has ended.
        origin: Origin,
    },
}

/// Rows of one source, in order.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The columns.
    pub data: RecordBatch,
    /// Position of the source in the plan: rows of a union are ordered by (source, `seq`).
    pub source: u16,
}

/// What a [`Batch`] holds.
#[derive(Clone, Debug, Default)]
pub enum Body {
    /// Nothing: what is left when the content was taken.
    #[default]
    Empty,
    /// Rows, at least one.
    Rows(Rows),
    /// One mark.
    Mark(Mark),
}

/// The container of every edge.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The content.
    pub body: Body,
    /// By which of its outputs it leaves a node; only until `operators::ports` has parted them.
    pub port: usize,
    to: usize,
    schema: u64,
    wire: OnceCell<Vec<u8>>,
}

impl Batch {
    /// A batch that stays on its worker.
    pub fn new(body: Body) -> Self {
        Batch { body, ..Batch::default() }
    }

    /// A batch that leaves a node by the output `port`.
    pub fn of_port(port: usize, body: Body) -> Self {
        Batch { body, port, ..Batch::default() }
    }

    /// A batch for the worker `to`, its schema registered as `schema`.
    pub fn addressed(body: Body, to: usize, schema: u64) -> Self {
        Batch { body, port: 0, to, schema, wire: OnceCell::new() }
    }

    /// Takes the content out.
    pub fn take(&mut self) -> Body {
        self.wire.take();
        std::mem::take(&mut self.body)
    }
}

impl Accountable for Batch {
    fn record_count(&self) -> i64 {
        match &self.body {
            Body::Empty => 0,
            Body::Rows(rows) => rows.data.num_rows() as i64,
            Body::Mark(_) => 1,
        }
    }
}

/// Routes each batch, whole, to the worker it is addressed to.
pub struct ByAddress;

impl Distributor<Batch> for ByAddress {
    fn partition<T: Clone, P: Push<Message<T, Batch>>>(&mut self, batch: &mut Batch, time: &T, pushers: &mut [P]) {
        let to = batch.to;
        if !batch.is_empty() {
            Message::push_at(batch, time.clone(), &mut pushers[to]);
        }
    }

    fn flush<T: Clone, P: Push<Message<T, Batch>>>(&mut self, _time: &T, _pushers: &mut [P]) {}
}

/// The schemas that may cross the wire, by the id that stands for them; filled when a job is installed.
static SCHEMAS: RwLock<Option<HashMap<u64, SchemaRef>>> = RwLock::new(None);

/// Makes `schema` known to this process and returns its id, the same in every process.
pub fn register_schema(schema: &SchemaRef) -> u64 {
    let id = xxhash_rust::xxh3::xxh3_64(format!("{schema:?}").as_bytes());
    let mut schemas = SCHEMAS.write().unwrap_or_else(PoisonError::into_inner);
    schemas.get_or_insert_default().insert(id, Arc::clone(schema));
    id
}

/// Frame: kind, then for rows: schema, source, header length, body length, header (an IPC message without its
/// schema), body; for marks: origin, time. All numbers are u64, little endian; padded to 8 bytes.
mod kind {
    pub const ROWS: u64 = 1;
    pub const WATERMARK: u64 = 2;
    pub const CLOSE: u64 = 3;
}

impl ContainerBytes for Batch {
    fn from_bytes(bytes: timely::bytes::arc::Bytes) -> Self {
        // Only a peer that passed the handshake and runs the same build writes here: a frame that cannot be
        // read means broken memory or a broken build, and ends the generation.
        #[expect(clippy::expect_used, reason = "timely gives no way to return an error, see above")]
        let body = decode(&bytes).expect("a batch from a peer of the same build can be read");
        Batch::new(body)
    }

    fn length_in_bytes(&self) -> usize {
        self.encoded().len()
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        #[expect(clippy::expect_used, reason = "timely writes to memory, which does not fail")]
        writer.write_all(self.encoded()).expect("memory can be written");
    }
}

impl Batch {
    fn encoded(&self) -> &[u8] {
        #[expect(clippy::expect_used, reason = "plain columns always encode; timely gives no way to return an error")]
        self.wire.get_or_init(|| encode(&self.body, self.schema).expect("plain columns can be encoded"))
    }
}

fn encode(body: &Body, schema: u64) -> Result<Vec<u8>, ArrowError> {
    let mut wire = Vec::new();
    let mut put = |numbers: &[u64]| numbers.iter().for_each(|n| wire.extend_from_slice(&n.to_le_bytes()));
    match body {
        Body::Empty => {}
        Body::Mark(Mark::Watermark { origin, time }) => put(&[kind::WATERMARK, *origin, *time as u64]),
        Body::Mark(Mark::Close { origin }) => put(&[kind::CLOSE, *origin, 0]),
        Body::Rows(rows) => {
            let (_, data) = IpcDataGenerator::default().encode(
                &rows.data,
                &mut DictionaryTracker::new(false),
                &IpcWriteOptions::default(),
                &mut IpcWriteContext::default(),
            )?;
            let lengths = [data.ipc_message.len() as u64, data.arrow_data.len() as u64];
            put(&[kind::ROWS, schema, u64::from(rows.source), lengths[0], lengths[1]]);
            wire.extend_from_slice(&data.ipc_message);
            wire.extend_from_slice(&data.arrow_data);
            wire.resize(wire.len().next_multiple_of(8), 0);
        }
    }
    Ok(wire)
}

fn decode(bytes: &[u8]) -> Result<Body, ArrowError> {
    let number = |at: usize| -> Result<u64, ArrowError> {
        let slice = bytes.get(at * 8..at * 8 + 8).and_then(|slice| slice.try_into().ok());
        slice.map(u64::from_le_bytes).ok_or_else(|| broken("it is cut short"))
    };
    match number(0)? {
        kind::WATERMARK => Ok(Body::Mark(Mark::Watermark { origin: number(1)?, time: number(2)? as i64 })),
        kind::CLOSE => Ok(Body::Mark(Mark::Close { origin: number(1)? })),
        kind::ROWS => {
            let (header, length) = (number(3)? as usize, number(4)? as usize);
            let schema = known_schema(number(1)?)?;
            let message = bytes.get(40..40 + header).ok_or_else(|| broken("its header is cut short"))?;
            let data = bytes.get(40 + header..40 + header + length).ok_or_else(|| broken("its body is cut short"))?;
            let message = arrow::ipc::root_as_message(message).map_err(|error| broken(&error.to_string()))?;
            let head = message.header_as_record_batch().ok_or_else(|| broken("it holds no rows"))?;
            let data = arrow::ipc::reader::read_record_batch(
                &Buffer::from(data),
                head,
                schema,
                &HashMap::new(),
                None,
                &message.version(),
            )?;
            Ok(Body::Rows(Rows { data, source: number(2)? as u16 }))
        }
        other => Err(broken(&format!("its kind is {other}"))),
    }
}

fn known_schema(id: u64) -> Result<SchemaRef, ArrowError> {
    let schemas = SCHEMAS.read().unwrap_or_else(PoisonError::into_inner);
    schemas.as_ref().and_then(|known| known.get(&id)).map(Arc::clone).ok_or_else(|| broken("its schema is unknown"))
}

fn broken(what: &str) -> ArrowError {
    ArrowError::IpcError(format!("a batch from a peer cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    fn rows(n: i64) -> Rows {
        let schema = Arc::new(Schema::new(vec![
            Field::new("symbol", DataType::Utf8, true),
            Field::new("seq", DataType::Int64, false),
            Field::new("price", DataType::Float64, true),
        ]));
        let symbols = StringArray::from_iter((0..n).map(|i| (i % 3 > 0).then(|| format!("S{i}"))));
        let prices = Float64Array::from_iter((0..n).map(|i| (i % 2 > 0).then_some(i as f64)));
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(symbols), Arc::new(Int64Array::from_iter_values(0..n)), Arc::new(prices)];
        Rows { data: RecordBatch::try_new(schema, columns).expect("rows"), source: 3 }
    }

    fn over_the_wire(body: Body, schema: u64) -> Body {
        let wire = encode(&body, schema).expect("encodes");
        assert_eq!(wire.len() % 8, 0);
        decode(&wire).expect("decodes")
    }

    #[test]
    fn rows_survive_the_wire_also_when_sliced() {
        let whole = rows(100);
        let id = register_schema(&whole.data.schema());
        for data in [whole.data.clone(), whole.data.slice(17, 1), whole.data.slice(31, 40)] {
            let Body::Rows(read) = over_the_wire(Body::Rows(Rows { data: data.clone(), source: 3 }), id) else {
                panic!("rows expected")
            };
            assert_eq!((read.data, read.source), (data, 3));
        }
    }

    #[test]
    fn a_slice_sends_only_its_own_rows() {
        let whole = rows(10_000);
        let id = register_schema(&whole.data.schema());
        let one = Body::Rows(Rows { data: whole.data.slice(5000, 1), source: 0 });
        assert!(encode(&one, id).expect("encodes").len() < 1024);
    }

    #[test]
    fn marks_survive_the_wire() {
        for mark in [Mark::Watermark { origin: 7, time: i64::MIN }, Mark::Close { origin: u64::MAX }] {
            let Body::Mark(read) = over_the_wire(Body::Mark(mark), 0) else { panic!("a mark expected") };
            assert_eq!(read, mark);
        }
    }

    #[test]
    fn a_damaged_frame_is_an_error_and_no_panic() {
        let whole = rows(10);
        let id = register_schema(&whole.data.schema());
        let wire = encode(&Body::Rows(whole), id).expect("encodes");
        for cut in [0, 7, 8, 39, 48, wire.len() / 2] {
            assert!(decode(&wire[..cut]).is_err(), "cut at {cut}");
        }
    }
}
