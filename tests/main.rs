//! All tests that need more than one module: one binary, so that they are linked once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall fail")]

mod calendars;
mod cli;
mod cluster;
mod coverage;
mod delivery;
mod fuzz_decode;
mod golden;
mod odd_files;
mod order;
mod recovery;
mod servers;
mod state;
mod support;
mod talib;
