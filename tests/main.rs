//! All tests that need more than one module: one binary, so that they are linked once.

mod fuzz_decode;
mod odd_files;
mod support;
mod talib;
