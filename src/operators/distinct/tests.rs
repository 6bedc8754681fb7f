//! The first rows of ids, compared with a plain loop, however rows are cut, come, and are put back.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::operators::testing::{Tick, mistakes, plan, run, ticks};
use crate::sources::SEQ;
use crate::sources::seq::SeqLayout;

const MS: i64 = 1_000_000;

/// The `seq` of the rows that are no repeats.
fn firsts(ticks: &[&Tick], horizon: i64) -> Vec<i64> {
    let mut known: BTreeMap<(&str, i64), i64> = BTreeMap::new();
    let mut firsts = Vec::new();
    for tick in ticks {
        let id = (tick.symbol.as_str(), tick.volume);
        if known.get(&id).is_none_or(|first| tick.place - first >= horizon) {
            known.insert(id, tick.place);
            firsts.push(SeqLayout::topic(false).seq(tick.partition, tick.offset, 0).expect("it fits"));
        }
    }
    firsts.sort_unstable();
    firsts
}

#[test]
fn the_first_row_of_an_id_goes_on_until_the_horizon_has_passed() {
    for (horizon, text) in [(300 * MS, "horizon = \"300ms\""), (i64::MAX, "")] {
        let flow = format!(
            "[operators.it]\ntype = \"distinct\"\ninput = \"ticks\"\nid = [\"upper(symbol)\", \"volume\"]\n{text}\n"
        );
        for seed in 0..40 {
            let mut rng = StdRng::seed_from_u64(seed);
            let ticks = ticks(&mut rng, 600);
            let mut found: Vec<i64> = Vec::new();
            let counts = run(&flow, &ticks, &mut rng, |told, seen, _| {
                for rows in told {
                    found.extend(rows.data[SEQ].as_primitive::<Int64Type>().values());
                }
                found.sort_unstable();
                assert_eq!(found, firsts(seen, horizon), "seed {seed}");
            });
            assert_eq!(counts.repeats as usize + found.len(), ticks.len());
        }
    }
}

#[test]
fn rows_leave_with_the_key_that_they_came_with() {
    let distinct = |id: &str| plan(&format!("[operators.it]\ntype = \"distinct\"\ninput = \"ticks\"\nid = {id}\n"));
    let by_volume = distinct("\"volume\"").nodes[1].edge.clone();
    assert_eq!((by_volume.key.clone(), by_volume.placed, by_volume.in_order), (vec![0], false, false));
    let by_key = distinct("\"symbol\"").nodes[1].edge.clone();
    assert_eq!((by_key.placed, by_key.in_order), (true, true));
}

#[test]
fn what_is_wrong_is_said() {
    let distinct = |more: &str| mistakes(&format!("[operators.it]\ntype = \"distinct\"\ninput = \"ticks\"\n{more}"));
    assert_eq!(distinct("id = \"volume\""), "");
    assert!(distinct("id = \"volume\"\nhorizon = \"0s\"").contains("with no `horizon` nothing is a repeat"));
    let over = "[operators.newest]\ntype = \"latest\"\ninput = \"ticks\"\n\
                [operators.it]\ntype = \"distinct\"\ninput = \"newest\"\nid = \"symbol\"\n";
    assert!(mistakes(over).contains("`distinct` goes with rows that are only appended"));
}
