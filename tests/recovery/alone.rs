//! One process, killed and run again with another number of workers.

use std::time::Duration;

use rand::{SeedableRng, rngs::StdRng};

use super::market::{differences, expected, flow, lines, rows_of_lake, rows_of_lines, trades};
use super::{alerts, joins, killed_again_and_again, started, tables, windows};
use crate::support::cluster::wait_until;
use crate::support::{Folder, newest_checkpoint};

pub fn market(seed: u64, checkpoint: &str) -> Folder {
    let folder = Folder::new();
    folder.write("trades.jsonl", lines(&trades(seed)));
    folder.write("flow.toml", flow(checkpoint));
    folder
}

pub fn check(folder: &Folder, seed: u64, what: &str) {
    let expected = expected(&trades(seed));
    for (name, found) in [("lines", rows_of_lines(&folder.path("lines"))), ("lake", rows_of_lake(&folder.path("lake")))]
    {
        let wrong = differences(&expected, &found);
        let some: Vec<&String> = wrong.iter().take(5).collect();
        assert!(wrong.is_empty(), "{what}: {} differences in {name}: {some:#?}", wrong.len());
    }
    let trades = trades(seed);
    let mut wrong = alerts::differences(&trades, &folder.path(""));
    wrong.extend(windows::differences(&trades, &folder.path("")));
    wrong.extend(tables::differences(&trades, &folder.path("")));
    wrong.extend(joins::differences(&trades, &folder.path("")));
    assert!(wrong.is_empty(), "{what}: {} differences: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
}

#[test]
fn killed_at_any_moment_it_goes_on_from_its_last_checkpoint_with_any_number_of_workers() {
    for seed in [1, 2] {
        let folder = market(seed, "100ms");
        killed_again_and_again(&folder, &mut StdRng::seed_from_u64(seed), 1000);
        check(&folder, seed, &format!("seed {seed}"));
        assert!(
            !folder.path("state/jobs/market/job.json").exists(),
            "it has come to its end: it is not installed again"
        );
    }
}

#[test]
fn a_manifest_that_cannot_be_written_now_is_written_later() {
    let folder = market(5, "200ms");
    let running = folder.start(&["run", "flow.toml", "--state", "state"], &[]);
    let id = || folder.list("state/jobs/market").into_iter().find(|name| !name.contains('.'));
    wait_until("the job is known", || id().is_some());
    let checkpoint = |number: u64| format!("state/jobs/market/{}/{number:010}", id().expect("a job"));
    wait_until("it has a checkpoint", || !folder.list(&checkpoint(1)).is_empty());
    // A folder in its place, which can be neither replaced nor read.
    let in_the_way = folder.path(&checkpoint(4)).join("manifest.0000000001.json");
    std::fs::create_dir_all(&in_the_way).expect("a folder");
    wait_until("its state is written", || folder.list(&checkpoint(4)).len() > 1);
    std::thread::sleep(Duration::from_millis(700));
    std::fs::remove_dir(&in_the_way).expect("removed");
    let ended = running.wait().fine();
    assert!(ended.stderr.contains("checkpoint 4: ") && ended.stderr.contains("trying again"), "{}", ended.stderr);
    check(&folder, 5, "a manifest was late");
}

#[test]
fn asked_to_end_it_goes_on_where_it_was() {
    let folder = market(3, "1h");
    for workers in ["1", "3", "2"] {
        let running = started(&folder, &["--workers", workers], 1000);
        running.signal("INT");
        running.wait().fine();
    }
    let ended = folder.tapeflow(&["run", "flow.toml", "--state", "state"]).fine();
    assert!(ended.stderr.contains("goes on from checkpoint"), "{}", ended.stderr);
    check(&folder, 3, "stopped three times");
}

#[test]
fn what_a_run_with_more_workers_has_written_before_its_first_checkpoint_goes() {
    let folder = market(9, "100ms");
    let running = folder.start(&["run", "flow.toml", "--state", "state"], &[]);
    wait_until("there are checkpoints", || newest_checkpoint(&folder.path("state"), "market") > Some(3));
    running.signal("KILL");
    running.wait();
    folder.write("lines/part-2.jsonl", folder.read("lines/part-0.jsonl"));
    folder.tapeflow(&["run", "flow.toml", "--state", "state", "--workers", "2"]).fine();
    check(&folder, 9, "three workers had no checkpoint");
}

#[test]
fn another_dataflow_or_other_files_are_refused() {
    let folder = market(4, "100ms");
    let running = started(&folder, &[], 500);
    running.signal("INT");
    running.wait().fine();
    let run = || folder.tapeflow(&["run", "flow.toml", "--state", "state"]);
    folder.write("flow.toml", flow("100ms").replace("sma(price, 5)", "sma(price, 6)"));
    let refused = run();
    assert_eq!(refused.status.code(), Some(5), "{}", refused.stderr);
    assert!(refused.stderr.contains("`means` was `indicators sma(price, 5)"), "{}", refused.stderr);
    folder.write("flow.toml", flow("100ms").replace("means", "averages"));
    let refused = run();
    assert_eq!(refused.status.code(), Some(5), "{}", refused.stderr);
    assert!(refused.stderr.contains("`means` has state there and is not in the file any more"), "{}", refused.stderr);
    folder.write("flow.toml", flow("100ms"));
    folder.write("trades.jsonl", lines(&trades(4)[1..]));
    let refused = run();
    assert_eq!(refused.status.code(), Some(5), "{}", refused.stderr);
    assert!(refused.stderr.contains("are not those that the checkpoint knows"), "{}", refused.stderr);
}
