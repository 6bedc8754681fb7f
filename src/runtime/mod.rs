//! Running plans: prepared once a process, rendered on every worker, driven to their end; in this process alone
//! ([`run_local`]) or in a cluster ([`Process`]).

mod boundaries;
mod alive;
mod build;
mod checkpointing;
mod commands;
mod drive;
pub mod epochs;
pub mod generation;
pub mod handshake;
pub mod hosts;
mod installed;
mod job;
mod jobs;
mod keeping;
mod leader;
pub mod links;
pub mod mesh;
mod prepare;
mod process;
mod pulse;
mod rehearse;
mod render;
mod resume;
mod run;
pub mod system;
pub mod tap;
pub mod wire;
mod workers;

pub use boundaries::{Boundaries, Boundary, Move};
pub use build::build_id;
pub use checkpointing::{Checkpointing, Part};
pub use commands::{Command, Commands};
pub use drive::drive;
pub use installed::Installed;
pub use job::{Job, State};
pub use jobs::{Jobs, Known, Submission, there_already};
pub use keeping::{KnownJob, LOOK, StateStore};
pub use leader::{AHEAD, Decision, Leader};
pub use prepare::{Keeping, Prepare, Prepared, blocking, runtime, start};
pub use process::{Process, no_such_job};
pub use rehearse::rehearse;
pub use render::{Rendered, render};
pub use resume::Resumed;
pub use run::{Ended, Local, run_local};
pub use workers::Workers;
