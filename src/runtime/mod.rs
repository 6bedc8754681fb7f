//! Running plans: prepared once a process, rendered on every worker, driven to their end.

pub mod epochs;
mod installed;
mod job;
mod prepare;
mod rehearse;
mod render;
mod run;
pub mod tap;

pub use installed::Installed;
pub use job::{Job, State};
pub use prepare::{Prepare, Prepared, blocking, runtime, start};
pub use rehearse::rehearse;
pub use render::render;
pub use run::{Ended, Local, run_local};
