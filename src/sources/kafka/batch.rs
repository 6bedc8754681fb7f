//! Messages by the thousand: librdkafka's batch call, and the only unsafe code there is.
//!
//! The safe client hands out one message a call. The C library's batch call takes what has been fetched into an
//! array and costs half of that, which is worth these lines: all pointers stay in this file, a message lives no
//! longer than the [`Batch`] it came in, and a batch no longer than its [`Queue`].
#![allow(unsafe_code, reason = "the batch call exists only in C")]

use std::ffi::{CStr, CString, c_void};
use std::ptr::{NonNull, null_mut};
use std::slice;

use rdkafka::bindings as c;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use timely::scheduling::SyncActivator;

use crate::kafka::Health;

/// What was fetched for some partitions of a topic, in one queue. It owns the consumer that fetches.
pub struct Queue {
    native: NonNull<c::rd_kafka_queue_t>,
    partitions: Vec<NonNull<c::rd_kafka_queue_t>>,
    wake: Option<Box<SyncActivator>>,
    taken: Vec<*mut c::rd_kafka_message_t>,
    /// After what needs it: fields are dropped in this order.
    consumer: BaseConsumer<Health>,
}

// SAFETY: librdkafka's handles may be used from any thread, one at a time or together; `taken` is empty between
// two calls, as a `Batch` borrows the queue.
unsafe impl Send for Queue {}

impl Queue {
    /// A queue for `partitions` of `topic`, to be made before they are assigned. None where the client has no
    /// memory left for it.
    pub fn new(consumer: BaseConsumer<Health>, topic: &str, partitions: &[i32], most: usize) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        let client = consumer.client().native_ptr();
        // SAFETY: the client is alive, as it is owned here; each queue is given back once, in `drop`.
        let native = NonNull::new(unsafe { c::rd_kafka_queue_new(client) })?;
        let mut queue = Queue { native, partitions: Vec::new(), wake: None, taken: Vec::with_capacity(most), consumer };
        for partition in partitions {
            // SAFETY: as above. What is forwarded before the assignment stays forwarded.
            let own = NonNull::new(unsafe { c::rd_kafka_queue_get_partition(client, topic.as_ptr(), *partition) })?;
            queue.partitions.push(own);
            unsafe { c::rd_kafka_queue_forward(own.as_ptr(), native.as_ptr()) };
        }
        Some(queue)
    }

    /// The consumer.
    pub fn consumer(&self) -> &BaseConsumer<Health> {
        &self.consumer
    }

    /// Has `wake` called whenever something comes into the empty queue.
    pub fn wake_by(&mut self, wake: SyncActivator) {
        unsafe extern "C" fn call(_client: *mut c::rd_kafka_t, wake: *mut c_void) {
            // SAFETY: it is the activator below, which lives until the queue calls nobody any more; it is only
            // read, and may be read by several threads.
            let wake = unsafe { &*wake.cast::<SyncActivator>() };
            // A worker that is gone needs no waking.
            let _ = wake.activate();
        }
        let wake = Box::new(wake);
        let pointer = std::ptr::from_ref::<SyncActivator>(&wake).cast_mut().cast::<c_void>();
        // SAFETY: the box does not move what it holds, and `self.wake` keeps it until the next call or `drop`,
        // both of which tell the queue first.
        unsafe { c::rd_kafka_queue_cb_event_enable(self.native.as_ptr(), Some(call), pointer) };
        self.wake = Some(wake);
    }

    /// What has come since the last call, up to the queue's limit; never waits.
    pub fn take(&mut self) -> Batch<'_> {
        let most = self.taken.capacity();
        // SAFETY: the array has room for `most` pointers, and the call tells how many it has written.
        unsafe {
            let taken = c::rd_kafka_consume_batch_queue(self.native.as_ptr(), 0, self.taken.as_mut_ptr(), most);
            // Negative only where the arguments are wrong.
            self.taken.set_len(usize::try_from(taken).unwrap_or(0));
        }
        Batch { messages: &mut self.taken }
    }

    /// The least and the next offset of a partition, as the last fetch has told.
    pub fn known_offsets(&self, topic: &CStr, partition: i32) -> Option<(i64, i64)> {
        let (mut low, mut high) = (-1, -1);
        let client = self.consumer.client().native_ptr();
        // SAFETY: the client is alive, the name ends in a zero, and both numbers are written to.
        let error =
            unsafe { c::rd_kafka_get_watermark_offsets(client, topic.as_ptr(), partition, &mut low, &mut high) };
        (error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && low >= 0 && high >= 0).then_some((low, high))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the callback is taken back before what it reads is freed; each handle is given back once, and
        // none is used after.
        unsafe {
            c::rd_kafka_queue_cb_event_enable(self.native.as_ptr(), None, null_mut());
            for own in &self.partitions {
                c::rd_kafka_queue_forward(own.as_ptr(), null_mut());
                c::rd_kafka_queue_destroy(own.as_ptr());
            }
            c::rd_kafka_queue_destroy(self.native.as_ptr());
        }
    }
}

/// Messages that were taken together; given back when it is dropped.
pub struct Batch<'a> {
    messages: &'a mut Vec<*mut c::rd_kafka_message_t>,
}

/// What a queue holds.
pub enum Entry<'a> {
    /// A message.
    Message(Message<'a>),
    /// The partition holds nothing from `offset` on, for now.
    End {
        /// The partition.
        partition: i32,
        /// The offset of what will come next.
        offset: i64,
    },
    /// The partition could not be read.
    Failed(Failed),
}

/// A partition that could not be read.
pub struct Failed {
    /// The partition.
    pub partition: i32,
    /// Where.
    pub offset: i64,
    /// What kind of failure.
    pub code: RDKafkaErrorCode,
    /// In words.
    pub reason: String,
}

impl Batch<'_> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// The entry at position `at`.
    #[inline]
    pub fn entry(&self, at: usize) -> Entry<'_> {
        // SAFETY: the client made the pointer and leaves the message to us until it is destroyed, in `drop`.
        let message = Message { native: unsafe { &*self.messages[at] } };
        let native = message.native;
        match native.err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Entry::Message(message),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
                Entry::End { partition: native.partition, offset: native.offset }
            }
            code => Entry::Failed(Failed {
                partition: native.partition,
                offset: native.offset,
                code: code.into(),
                // Where there is an error its text stands in place of the payload.
                reason: String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned(),
            }),
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for message in self.messages.drain(..) {
            // SAFETY: it is ours, and nothing borrows from this batch any more.
            unsafe { c::rd_kafka_message_destroy(message) };
        }
    }
}

/// A message, borrowed from its batch.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    native: &'a c::rd_kafka_message_t,
}

impl<'a> Message<'a> {
    /// Its partition.
    #[inline]
    pub fn partition(self) -> i32 {
        self.native.partition
    }

    /// Its offset.
    #[inline]
    pub fn offset(self) -> i64 {
        self.native.offset
    }

    /// Its own timestamp, in ms.
    pub fn timestamp(self) -> Option<i64> {
        let mut kind = c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive; the call reads it and writes the kind.
        let timestamp = unsafe { c::rd_kafka_message_timestamp(self.native, &mut kind) };
        (kind != c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE).then_some(timestamp)
    }

    /// Its key.
    #[inline]
    pub fn key(self) -> Option<&'a [u8]> {
        bytes(self.native.key, self.native.key_len)
    }

    /// Its payload.
    #[inline]
    pub fn payload(self) -> Option<&'a [u8]> {
        bytes(self.native.payload, self.native.len)
    }
}

#[inline]
fn bytes<'a>(start: *mut c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: both come from one message, which outlives the slice (see `Message::key` and `payload`).
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast::<u8>(), length) })
}
