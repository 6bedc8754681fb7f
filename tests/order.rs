//! Rows in order: under load, from several senders, whatever their number.
