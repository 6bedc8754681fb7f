//! Running plans: prepared once a process, rendered on every worker, driven to their end; in this process alone
//! ([`run_local`]) or in a cluster ([`Process`]).

mod alive;
mod build;
mod commands;
mod drive;
pub mod epochs;
pub mod generation;
pub mod handshake;
pub mod hosts;
mod installed;
mod job;
mod jobs;
pub mod links;
pub mod mesh;
mod prepare;
mod process;
mod pulse;
mod rehearse;
mod render;
mod run;
pub mod standing;
pub mod system;
pub mod tap;
pub mod wire;
mod workers;

pub use build::build_id;
pub use commands::{Command, Commands};
pub use drive::drive;
pub use installed::Installed;
pub use job::{Job, State};
pub use jobs::{Jobs, Known, Submission, there_already};
pub use prepare::{Prepare, Prepared, blocking, runtime, start};
pub use process::{Process, STALL, no_such_job};
pub use rehearse::rehearse;
pub use render::render;
pub use run::{Ended, Local, run_local};
pub use workers::Workers;
