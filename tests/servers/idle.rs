//! A partition that was idle and comes too late: where its rows belong is written down, and the same after a crash.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::kafka::{MEANS, assert_means, by_symbol, expected_means};
use super::topics::{Flow, PATIENCE, Topic, Written, source, tick};

/// Ticks of two symbols in turn.
fn ticks(partition: i32, numbers: std::ops::Range<i64>) -> Vec<Written> {
    let one =
        |n: i64| Written { partition, payload: Some(tick(&format!("S{}", n / 2 % 2), n).into()), ..<_>::default() };
    numbers.map(one).collect()
}

struct Run(Child);

impl Run {
    fn start(flow: &Flow) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapeflow"));
        command.args(["run", "--quiet", "flow.toml", "--workers", "2", "--state", "state"]);
        Run(command.current_dir(flow.folder.path()).stdout(Stdio::null()).spawn().expect("the program runs"))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until_rows(out: &Topic, count: usize) {
    let began = Instant::now();
    while out.read().len() < count {
        assert!(began.elapsed() < PATIENCE, "{} rows of {count}", out.read().len());
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn rows_of_a_partition_that_was_idle_have_the_same_place_after_a_crash() {
    let (topic, out) = (Topic::new(2), Topic::new(1));
    let nodes = format!(
        "{}{MEANS}[sinks.out]\ntype = \"kafka\"\ninput = \"means\"\ntopic = \"{}\"\n",
        source(&topic.name, "order = \"event_time\"\nidle_timeout = \"300ms\""),
        out.name
    );
    let flow =
        Flow::with(&nodes.replace("stop = \"end\"", "stop = \"never\""), "epoch = \"20ms\"\ncheckpoint = \"1h\"");
    let mut messages = Vec::new();
    let mut write = |some: &[Vec<Written>]| {
        some.iter().for_each(|some| topic.write(some));
        messages.extend(some.concat());
        messages.len()
    };
    let run = Run::start(&flow);
    write(&[ticks(0, 0..100), ticks(1, 0..100)]);
    // Nothing comes from the second partition any more: it is given up. The last row waits for a later one.
    let count = write(&[ticks(0, 1000..1100)]);
    until_rows(&out, count - 1);
    // It comes too late. What it was given up to is where its rows belong.
    write(&[ticks(1, 500..520)]);
    let count = write(&[ticks(0, 1200..1201)]);
    until_rows(&out, count - 1);
    drop(run);
    // A crash, and all is read again.
    write(&[ticks(0, 1300..1308), ticks(1, 1300..1308)]);
    let file = flow.folder.path().join("flow.toml");
    let text = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, text.replace("stop = \"never\"", "stop = \"end\"")).expect("a file");
    let (mut again, began) = (Run::start(&flow), Instant::now());
    let status = loop {
        match again.0.try_wait().expect("a status") {
            Some(status) => break status,
            None => sleep(Duration::from_millis(20)),
        }
        assert!(began.elapsed() < PATIENCE, "it does not end");
    };
    assert!(status.success());

    let rows = out.read();
    assert_eq!(rows.len(), messages.len());
    let prices = |rows: &[Written]| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        rows.iter().for_each(|row| *counts.entry(row.json()["price"].to_string()).or_default() += 1);
        counts
    };
    assert_eq!(prices(&rows), prices(&messages));
    // The mean beside each row is that of the rows before it: they have come in one order, before and after.
    assert_means(by_symbol(rows.iter().map(Written::json)), &expected_means(&rows));
}
