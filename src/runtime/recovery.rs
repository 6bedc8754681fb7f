//! What sources and sinks have to know to go on where an earlier generation of their job has ended.

/// One incarnation of a job whose state is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The id of the job: the same in all its generations, and of no other job.
    pub job_id: String,
    /// The number of this generation; it rises.
    pub generation: u64,
    /// How many workers the last generation had; 0 where this is the first.
    pub last_workers: usize,
    /// The index of this process.
    pub process: usize,
    /// How many processes there are.
    pub processes: usize,
}
