//! The topics of a run are made, and removed when they are compared.

use std::time::Duration;

use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

/// The topics of a broker.
pub struct Topics(AdminClient<DefaultClientContext>);

impl Topics {
    pub fn of(brokers: &str) -> Topics {
        Topics(ClientConfig::new().set("bootstrap.servers", brokers).create().expect("an admin client"))
    }

    pub fn make(&self, names: &[String], partitions: i32) {
        let topics: Vec<NewTopic<'_>> =
            names.iter().map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(1))).collect();
        let made = block_on(self.0.create_topics(&topics, &options())).expect("an answer");
        made.into_iter().for_each(|topic| drop(topic.expect("a topic")));
    }

    pub fn remove(&self, names: &[String]) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let removed = block_on(self.0.delete_topics(&names, &options())).expect("an answer");
        removed.into_iter().for_each(|topic| drop(topic.expect("removed")));
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(Duration::from_secs(60)))
}
