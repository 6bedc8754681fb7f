//! Running plans: prepared once a process, rendered on every worker, driven to their end; in this process alone
//! ([`run_local`]) or in a cluster ([`Process`]).

mod build;
mod commands;
mod drive;
pub mod epochs;
pub mod handshake;
pub mod hosts;
mod installed;
mod job;
mod jobs;
pub mod links;
pub mod mesh;
mod prepare;
mod process;
mod recovery;
mod rehearse;
mod render;
mod run;
pub mod tap;
mod workers;

pub use build::build_id;
pub use commands::{Command, Commands};
pub use drive::drive;
pub use installed::Installed;
pub use job::{Job, State};
pub use jobs::{Jobs, Known, Submission, there_already};
pub use prepare::{Prepare, Prepared, blocking, runtime, start};
pub use process::{Process, no_such_job};
pub use recovery::Recovery;
pub use rehearse::rehearse;
pub use render::render;
pub use run::{Ended, Local, run_local};
pub use workers::Workers;
