//! Against a real Kafka and a real Cassandra: `KAFKA_BROKERS` and `CASSANDRA` say where they are
//! (`cluster/servers start`, then `cluster/servers env`).

mod beginnings;
mod cassandra;
mod chaos;
mod dead_letters;
mod end_to_end;
mod exactly_once;
mod gaps;
mod idle;
mod kafka;
mod late;
mod options;
mod recovery;
pub mod secrets;
mod set;
mod topics;
mod validate;
