//! The `cassandra` sink against a real server, named by CASSANDRA.

mod changes;
mod outages;
pub mod support;
mod tables;
mod types;
mod writes;
