//! Messages that a job would go on with are gone: it is refused, or goes on where it is told to.

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};

use super::topics::{Topic, brokers, config, source, ticks};
use crate::support::cluster::wait_until;
use crate::support::{Folder, Running, newest_checkpoint};

/// Drops what is before `offset`, as retention does.
fn forget(topic: &Topic, offset: i64) {
    let admin: AdminClient<DefaultClientContext> = config().create().expect("an admin client");
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&topic.name, 0, Offset::Offset(offset)).expect("an offset");
    let deleted = block_on(admin.delete_records(&before, &AdminOptions::new())).expect("deleted");
    deleted.elements().iter().for_each(|element| element.error().expect("deleted"));
}

fn start(folder: &Folder, more: &[&str]) -> Running {
    folder.start(&[&["run", "flow.toml", "--state", "state"], more].concat(), &[])
}

fn prices(folder: &Folder) -> Vec<f64> {
    let mut prices = Vec::new();
    for file in std::fs::read_dir(folder.path("out")).into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(file.path()).unwrap_or_default();
        let rows = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        prices.extend(rows.map(|row| row["price"].as_f64().expect("a price")));
    }
    prices.sort_by(f64::total_cmp);
    prices
}

#[test]
fn a_gap_is_refused_with_both_offsets_or_passed_as_told() {
    let (topic, folder) = (Topic::new(1), Folder::new());
    let source = source(&topic.name, "").replace("stop = \"end\"", "stop = \"never\"");
    let flow = format!(
        "version = 1\nname = \"gaps\"\n[job]\ncheckpoint = \"200ms\"\n[kafka]\nbrokers = \"{}\"\n{source}\
         [sinks.out]\ntype = \"file\"\ninput = \"ticks\"\npath = \"out/\"\n",
        brokers()
    );
    folder.write("flow.toml", flow);
    let messages = ticks(310, 1, 1);
    let mut expected = Vec::new();
    let mut expect = |numbers: std::ops::Range<i64>| {
        expected.extend(numbers.map(|n| n as f64 / 4.0));
        expected.clone()
    };
    let until_read = |more: &[&str], all: Vec<f64>| {
        let before = newest_checkpoint(&folder.path("state"), "gaps");
        let running = start(&folder, more);
        wait_until("it reads", || newest_checkpoint(&folder.path("state"), "gaps") > before);
        wait_until("all is read", || prices(&folder) == all);
        running.signal("TERM");
        running.wait().fine().stderr
    };

    topic.write(&messages[..100]);
    until_read(&[], expect(0..100));

    topic.write(&messages[100..200]);
    forget(&topic, 150);
    let refused = start(&folder, &[]).wait().with_code(5).stderr;
    let reason = format!(
        "topic {}, partition 0: the checkpoint goes on at offset 100, and the broker keeps 150 to 200",
        topic.name
    );
    assert!(refused.contains(&reason) && refused.contains("--on-offset-gap earliest"), "{refused}");
    let explicit = start(&folder, &["--on-offset-gap", "fail"]).wait().with_code(5).stderr;
    assert!(explicit.contains(&reason), "{explicit}");
    let told = until_read(&["--on-offset-gap", "earliest"], expect(150..200));
    assert!(told.contains("goes on at 150 instead of 100"), "{told}");

    topic.write(&messages[200..300]);
    forget(&topic, 250);
    let before = newest_checkpoint(&folder.path("state"), "gaps");
    let running = start(&folder, &["--on-offset-gap", "latest"]);
    // What is there when it looks is passed over: it has looked when it takes checkpoints.
    wait_until("it reads", || newest_checkpoint(&folder.path("state"), "gaps") > before);
    topic.write(&messages[300..]);
    let all = expect(300..310);
    wait_until("what came last is read", || prices(&folder) == all);
    running.signal("TERM");
    let told = running.wait().fine().stderr;
    assert!(told.contains("goes on at 300 instead of 200"), "{told}");
    // What was passed over does not come back.
    until_read(&[], all);
}
