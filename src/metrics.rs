//! Prometheus metrics of this process. Labels name the job, the node and the worker, never a symbol.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    Encoder, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, TextEncoder,
    exponential_buckets, histogram_opts, opts, register_histogram_vec, register_int_counter_vec,
    register_int_gauge_vec,
};

const JOB: &str = "job";
const NODE: &[&str] = &[JOB, "operator", "worker"];

/// All metrics there are: made by [`family`], they cannot be forgotten when a job is.
static FAMILIES: Mutex<Vec<Box<dyn Family>>> = Mutex::new(Vec::new());

fn families() -> MutexGuard<'static, Vec<Box<dyn Family>>> {
    FAMILIES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A metric with its labels.
trait Family: Send {
    /// Takes out what `job` has counted.
    fn forget(&self, job: &str);
}

impl<B: MetricVecBuilder> Family for MetricVec<B> {
    fn forget(&self, job: &str) {
        for metric in self.collect().iter().flat_map(|family| family.get_metric()) {
            let labels: HashMap<&str, &str> =
                metric.get_label().iter().map(|label| (label.name(), label.value())).collect();
            if labels.get(JOB) == Some(&job) {
                // Somebody else may have taken it out a moment ago.
                let _ = self.remove(&labels);
            }
        }
    }
}

#[expect(clippy::expect_used, reason = "names are literals in this file, each registered once")]
fn family<B: MetricVecBuilder + 'static>(made: prometheus::Result<MetricVec<B>>) -> MetricVec<B> {
    let family = made.expect("a metric with a name of its own");
    families().push(Box::new(family.clone()));
    family
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    family(register_int_counter_vec!(opts!(name, help), labels))
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    family(register_int_gauge_vec!(opts!(name, help), labels))
}

static RECORDS_IN: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("tapeflow_records_in_total", "Rows that entered a node.", NODE));
static RECORDS_OUT: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("tapeflow_records_out_total", "Rows that left a node.", NODE));
static BYTES_IN: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("tapeflow_bytes_in_total", "Bytes that a source has read.", NODE));
static HELD_BACK: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("tapeflow_held_back_total", "Rows that an indicators node did not emit: not all warm.", NODE)
});
static LATE: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("tapeflow_late_records_total", "Rows that came when their window had ended.", NODE));
static OUTSIDE: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("tapeflow_outside_sessions_total", "Rows of times at which the exchange is closed.", NODE)
});
static UNMATCHED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("tapeflow_unmatched_corrections_total", "Messages that cancel or correct trades that are not there.", NODE)
});
static REPEATS: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("tapeflow_repeats_total", "Rows left out because their id had come before.", NODE));
static STATE: LazyLock<IntGaugeVec> =
    LazyLock::new(|| gauges("tapeflow_state_bytes", "About how much memory the state of an operator takes.", NODE));
static EXPIRED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("tapeflow_sink_expired_total", "Rows not written because their table does not keep rows as old.", NODE)
});
static REPEATED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("tapeflow_sink_repeated_total", "Rows of a replay not written again: they had been committed.", NODE)
});
static WRITE_ERRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("tapeflow_sink_write_errors_total", "Writes that failed, also those that a retry mended.", NODE)
});
// No family: it goes on counting when the job begins again.
#[expect(clippy::expect_used, reason = "a literal name, registered once")]
static RESTARTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "How often a job was started again after a failure.";
    register_int_counter_vec!(opts!("tapeflow_job_restarts_total", help), &[JOB]).expect("a metric of its own")
});
static IN_FLIGHT: LazyLock<IntGaugeVec> =
    LazyLock::new(|| gauges("tapeflow_sink_inflight", "Writes that wait for their acknowledgement.", NODE));
static UNDECODABLE: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "tapeflow_deserialization_errors_total",
        "Records that could not be decoded, or lack their time or key, by what became of them.",
        &[JOB, "operator", "worker", "reason"],
    )
});
static LAG: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauges("tapeflow_kafka_consumer_lag", "Messages in the partition not yet read.", &[JOB, "topic", "partition"])
});
static BACK_PRESSURE: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "tapeflow_backpressure_milliseconds_total",
        "Time a source has waited for what it read to be written.",
        NODE,
    )
});
static LATENCY: LazyLock<HistogramVec> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "constant, valid buckets")]
    let buckets = exponential_buckets(0.001, 2.0, 16).expect("valid buckets");
    let options = histogram_opts!(
        "tapeflow_end_to_end_latency_seconds",
        "From reading a batch of rows to their acknowledgement by a sink.",
        buckets
    );
    family(register_histogram_vec!(options, NODE))
});
static CHECKPOINTS: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("tapeflow_checkpoints_total", "Checkpoints that were completed.", &[JOB]));
static CHECKPOINT_BYTES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("tapeflow_checkpoint_bytes_total", "Bytes of state that checkpoints have written.", &[JOB])
});
static CHECKPOINT_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "constant, valid buckets")]
    let buckets = exponential_buckets(0.01, 2.0, 14).expect("valid buckets");
    let help = "From the decision to take a checkpoint to its manifest.";
    family(register_histogram_vec!(histogram_opts!("tapeflow_checkpoint_duration_seconds", help, buckets), &[JOB]))
});
static BUILD: LazyLock<IntGaugeVec> = LazyLock::new(|| gauges("tapeflow_build_info", "The version.", &["version"]));

/// The counters of one node on one worker.
#[derive(Clone)]
pub struct Meter {
    /// Rows in.
    pub rows_in: IntCounter,
    /// Rows out.
    pub rows_out: IntCounter,
    /// Bytes read by a source.
    pub bytes_in: IntCounter,
    /// How far a source has come, in its own unit: for the progress bar, not for Prometheus.
    pub progress: IntCounter,
    /// Rows an operator kept for itself because not all of it was warm.
    pub held_back: IntCounter,
    /// Rows that came too late for their window.
    pub late: IntCounter,
    /// Rows of times at which the exchange of their window is closed.
    pub outside: IntCounter,
    /// Messages that cancel or correct trades that are not there.
    pub unmatched: IntCounter,
    /// Rows that were left out because their id had come before.
    pub repeats: IntCounter,
    /// About how many bytes of memory its state takes.
    pub state: IntGauge,
    /// Rows that a sink did not write because they were too old for their table.
    pub expired: IntCounter,
    /// Rows of a replay that a sink did not write again.
    pub repeated: IntCounter,
    /// Failed writes.
    pub write_errors: IntCounter,
    /// Writes not yet acknowledged.
    pub in_flight: IntGauge,
    /// Milliseconds a source has waited for room.
    pub back_pressure: IntCounter,
    /// Seconds from reading to acknowledgement.
    pub latency: Histogram,
    /// Undecodable records that became dead letters.
    pub dead_letters: IntCounter,
    /// Undecodable records that were skipped.
    pub skipped: IntCounter,
}

impl Meter {
    /// The counters of the node `operator` of `job` on `worker`.
    pub fn of(job: &str, operator: &str, worker: usize) -> Meter {
        let worker = worker.to_string();
        let labels = &[job, operator, &worker];
        let undecodable = |became| UNDECODABLE.with_label_values(&[job, operator, &worker, became]);
        Meter {
            rows_in: RECORDS_IN.with_label_values(labels),
            rows_out: RECORDS_OUT.with_label_values(labels),
            bytes_in: BYTES_IN.with_label_values(labels),
            progress: uncounted(),
            held_back: HELD_BACK.with_label_values(labels),
            late: LATE.with_label_values(labels),
            outside: OUTSIDE.with_label_values(labels),
            unmatched: UNMATCHED.with_label_values(labels),
            repeats: REPEATS.with_label_values(labels),
            state: STATE.with_label_values(labels),
            expired: EXPIRED.with_label_values(labels),
            repeated: REPEATED.with_label_values(labels),
            write_errors: WRITE_ERRORS.with_label_values(labels),
            in_flight: IN_FLIGHT.with_label_values(labels),
            back_pressure: BACK_PRESSURE.with_label_values(labels),
            latency: LATENCY.with_label_values(labels),
            dead_letters: undecodable("dead_letter"),
            skipped: undecodable("skipped"),
        }
    }
}

/// Takes what a job that has ended has counted out of the metrics: one of the same name that comes later counts from 0.
pub fn forget(job: &str) {
    families().iter().for_each(|family| family.forget(job));
}

#[expect(clippy::expect_used, reason = "a literal name")]
fn uncounted() -> IntCounter {
    IntCounter::new("progress", "How far a source has come.").expect("a valid name")
}

/// How often a job was started again after a failure.
pub fn restarts(job: &str) -> IntCounter {
    RESTARTS.with_label_values(&[job])
}

/// The lag of a partition, in messages.
pub fn kafka_lag(job: &str, topic: &str, partition: i32) -> IntGauge {
    LAG.with_label_values(&[job, topic, &partition.to_string()])
}

/// A checkpoint of `job` is complete: it has written so many bytes, and took so long.
pub fn checkpoint(job: &str, bytes: u64, took: Duration) {
    CHECKPOINTS.with_label_values(&[job]).inc();
    CHECKPOINT_BYTES.with_label_values(&[job]).inc_by(bytes);
    CHECKPOINT_SECONDS.with_label_values(&[job]).observe(took.as_secs_f64());
}

/// All metrics, as Prometheus reads them.
pub fn text() -> String {
    BUILD.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    let mut out = Vec::new();
    match TextEncoder::new().encode(&prometheus::gather(), &mut out) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned(),
        Err(error) => format!("# {error}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_job_that_is_forgotten_nothing_is_left() {
        let lines = |job: &str| text().lines().filter(|line| line.contains(&format!("job=\"{job}\""))).count();
        for job in ["forgotten", "kept"] {
            let meter = Meter::of(job, "out", 3);
            meter.rows_in.inc();
            meter.latency.observe(0.5);
            kafka_lag(job, "ticks", 7).set(5);
            checkpoint(job, 10, Duration::from_secs(1));
        }
        assert!(lines("forgotten") > 10 && text().contains("tapeflow_kafka_consumer_lag{job=\"forgotten\""));
        let kept = lines("kept");
        forget("forgotten");
        assert_eq!((lines("forgotten"), lines("kept")), (0, kept));
    }
}
