//! The state store is away for a while: the job goes on, and so do its checkpoints when it is back.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::alone::{check, market};
use super::market::{differences, expected, rows_of_lines, trades};
use crate::support::cluster::wait_until;
use crate::support::newest_checkpoint;

fn newest(state: &Path) -> Option<u64> {
    newest_checkpoint(state, "market")
}

#[test]
fn a_job_outlasts_a_store_that_is_away_and_nothing_is_written_in_its_place() {
    let folder = market(7, "100ms");
    let (state, away) = (folder.path("state"), folder.path("elsewhere"));
    let running = folder.start(&["run", "flow.toml", "--state", "state"], &[]);
    wait_until("there are checkpoints", || newest(&state) > Some(2));
    std::fs::rename(&state, &away).expect("taken away");
    let before = newest(&away);
    std::thread::sleep(Duration::from_millis(1500));
    assert!(!state.exists(), "what is written there would be missing from the store");
    std::fs::rename(&away, &state).expect("brought back");
    wait_until("there are checkpoints again", || newest(&state) > before.map(|number| number + 2));
    running.signal("KILL");
    let killed = running.wait();
    assert!(killed.stderr.contains("trying again"), "{}", killed.stderr);
    let ended = folder.tapeflow(&["run", "flow.toml", "--state", "state"]).fine();
    assert!(ended.stderr.contains("goes on from checkpoint"), "{}", ended.stderr);
    check(&folder, 7, "the store was away");
}

#[test]
fn a_damaged_newest_checkpoint_is_passed_over_and_named() {
    let folder = market(8, "100ms");
    let state = folder.path("state");
    let running = folder.start(&["run", "flow.toml", "--state", "state"], &[]);
    wait_until("there are checkpoints", || newest(&state) > Some(5));
    running.signal("KILL");
    running.wait();
    let listed = folder.tapeflow(&["checkpoint", "list", "--state", "state", "--json"]).fine();
    let listed: Value = serde_json::from_str(&listed.stdout).expect("JSON");
    let numbers = listed["checkpoints"].as_array().expect("a list").iter().filter_map(|found| found["number"].as_u64());
    let last = numbers.max().expect("checkpoints");
    let job = std::fs::read_dir(state.join("jobs/market")).expect("a folder").flatten();
    let job = job.map(|item| item.path()).find(|path| path.is_dir()).expect("the job");
    let files = std::fs::read_dir(job.join(format!("{last:010}"))).expect("a checkpoint").flatten();
    let damaged = files.map(|file| file.path()).find(|path| path.to_string_lossy().contains("manifest")).expect("one");
    let mut bytes = std::fs::read(&damaged).expect("a manifest");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, bytes).expect("damaged");
    let ended = folder.tapeflow(&["run", "flow.toml", "--state", "state"]).fine();
    let from = format!("goes on from checkpoint {}", last - 1);
    assert!(ended.stderr.contains(&from) && ended.stderr.contains("manifest"), "{last}: {}", ended.stderr);
    // Parquet files that appeared with the damaged one stay.
    let wrong = differences(&expected(&trades(8)), &rows_of_lines(&folder.path("lines")));
    assert_eq!(wrong, [""; 0]);
}
