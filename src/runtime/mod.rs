//! Running plans: prepared once a process, rendered on every worker, driven to their end; in this process alone
//! ([`run_local`]) or over a [`mesh`].

mod build;
pub mod epochs;
pub mod handshake;
pub mod hosts;
mod installed;
mod job;
pub mod links;
pub mod mesh;
mod prepare;
mod rehearse;
mod render;
mod run;
pub mod tap;
mod workers;

pub use build::build_id;
pub use installed::Installed;
pub use job::{Job, State};
pub use prepare::{Prepare, Prepared, blocking, runtime, start};
pub use rehearse::rehearse;
pub use render::render;
pub use run::{Ended, Local, run_local};
pub use workers::Workers;
