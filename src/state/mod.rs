//! State that outlives a process: where it is kept, what its files look like, which of them make a checkpoint.
//!
//! - [`Store`]: a folder or an object store, sealed with a key where one is given;
//! - [`Draft`] and [`Snapshot`]: the state of one node on one worker at one epoch, written and read;
//! - [`Manifest`]: names the files that make a checkpoint, and is written last;
//! - [`Checkpoints`]: those of one job: written, found, verified, loaded, folded, pruned;
//! - [`Generation`]: which incarnation of the cluster may write;
//! - [`Journal`]: what the world decided, and the epoch in which it takes effect;
//! - [`Setting`]: what was set of a node while its job runs; a checkpoint holds what is in force;
//! - [`SavedJobs`]: what was submitted, so that the next generation can install it again.
//!
//! What lies in a store:
//!
//! ```text
//! store.json                                        its format, and which key it is sealed with
//! generations/0000000007.json                       created if absent: who took it, when, how many workers
//! generations/0000000007.0.stamps.json              the epoch that process 0 stamps nothing behind
//! jobs/NAME/job.json                                what was submitted
//! jobs/NAME/ID/resumes/0000000007.json              which checkpoint generation 7 goes on from, and what counts
//! jobs/NAME/ID/journal/...                          the journal
//! jobs/NAME/ID/0000000012/NODE.WORKER.7.state       the state of a node on a worker, written by generation 7
//! jobs/NAME/ID/0000000012/manifest.0000000007.json  written last; it may name files of older checkpoints
//! ```
//!
//! The generation stands in the names, so that what a stalled process writes after another took over is beside,
//! never over, what counts; the newest record in `resumes` tells which of the two does.

mod binary;
mod checkpoints;
mod compact;
mod crypt;
mod draft;
mod envelope;
mod folder;
mod format;
mod generations;
mod jobs;
mod journal;
mod listing;
mod manifest;
mod migrate;
mod place;
mod prune;
mod remote;
mod resume;
mod setting;
mod snapshot;
mod stamps;
mod store;

pub use binary::{Reader, put_sized, put_varint};
pub use checkpoints::Checkpoints;
pub use compact::Bounds;
pub use crypt::Key;
pub use draft::Draft;
pub use format::{MAGIC, OLDEST, VERSION};
pub use generations::Generation;
pub use jobs::{SavedJob, SavedJobs};
pub use journal::{Decision, IDLE, Journal};
pub use manifest::{FORMAT, FileRef, Manifest, NodeState, SourceAt};
pub use migrate::Migrated;
pub use place::shown;
pub use prune::Pruned;
pub use remote::environment;
pub use resume::Resume;
pub use setting::Setting;
pub use snapshot::{Entry, Snapshot};
pub use stamps::Stamps;
pub use store::{Store, Stored};
