//! Joins of random rows, compared with what a plain loop over all rows finds.

mod as_of;
mod latest;
mod rows;
