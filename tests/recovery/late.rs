//! Rows that come too late for the order of event time: they have the same place whatever is killed.

use std::collections::BTreeMap;

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};

use super::killed_again_and_again;
use super::market::{ROWS, Values, flow, lines, rows_of_lines, trades};
use crate::support::Folder;

/// How many neighbours change places: three times as many as the lateness allows for.
const DISORDER: usize = 120;

fn market() -> Folder {
    let folder = Folder::new();
    let text = lines(&trades(5));
    let mut lines: Vec<&str> = text.lines().collect();
    let mut random = StdRng::seed_from_u64(5);
    lines.chunks_mut(DISORDER).for_each(|some| some.shuffle(&mut random));
    folder.write("trades.jsonl", lines.join("\n") + "\n");
    folder.write("flow.toml", flow("100ms"));
    folder
}

fn rows(folder: &Folder) -> BTreeMap<i64, Values> {
    let rows = rows_of_lines(&folder.path("lines"));
    assert_eq!(rows.len(), ROWS);
    rows.into_iter().collect()
}

#[test]
fn killed_at_any_moment_it_gives_the_rows_of_a_run_that_was_not() {
    let undisturbed = market();
    undisturbed.tapeflow(&["run", "flow.toml"]).fine();
    let expected = rows(&undisturbed);
    assert_eq!(expected.len(), ROWS);

    let folder = market();
    killed_again_and_again(&folder, &mut StdRng::seed_from_u64(6), 700);
    let found = rows(&folder);
    let wrong: Vec<i64> = expected.keys().copied().filter(|row| found.get(row) != expected.get(row)).collect();
    assert!(wrong.is_empty(), "{} rows differ, the first is {:?}", wrong.len(), wrong.first());
}
