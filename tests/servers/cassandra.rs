//! The `cassandra` sink against a real server, named by CASSANDRA.

mod changes;
mod outages;
mod support;
mod tables;
mod types;
mod writes;
