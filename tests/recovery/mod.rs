//! Jobs that are killed again and again give what an undisturbed run gives: every row once, with the values that a
//! recomputation finds which shares no code with tapeflow.

mod alone;
mod changes;
mod cluster;
mod market;
mod rescale;
mod savepoints;
