//! The newest row of each key, compared with a plain loop, however rows are cut, come, and are put back.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::operators::testing::{Collection, Tick, mistakes, plan, run, ticks};

const MS: i64 = 1_000_000;

/// What each symbol comes to: its rows in the order in which they came, with how far event time had come with them. What
/// has had no row for `expire` begins anew.
fn newest(ticks: &[&Tick], expire: i64, passed: i64) -> Vec<Vec<String>> {
    let mut all: BTreeMap<&str, (&Tick, i64)> = BTreeMap::new();
    for tick in ticks {
        let heard = tick.place;
        let known = all.entry(&tick.symbol).or_insert((tick, heard));
        let is_newer = (tick.time, tick.partition, tick.offset) > (known.0.time, known.0.partition, known.0.offset);
        if is_newer || known.1.saturating_add(expire) <= heard {
            known.0 = tick;
        }
        known.1 = known.1.max(heard);
    }
    let all = all.into_iter().filter(|(_, (_, heard))| heard.saturating_add(expire) > passed);
    let price = |tick: &Tick| tick.price.map_or(String::new(), |price| format!("{price:?}"));
    let mut rows: Vec<_> =
        all.map(|(symbol, (tick, _))| vec![symbol.to_string(), price(tick), tick.volume.to_string()]).collect();
    rows.sort();
    rows
}

#[test]
fn there_is_the_newest_row_of_each_key_at_the_end_of_every_epoch() {
    let flow = "[operators.it]\ntype = \"latest\"\ninput = \"ticks\"\n";
    let edge = plan(flow).nodes[1].edge.clone();
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let ticks = ticks(&mut rng, 600);
        let mut rows = Collection::default();
        run(flow, &ticks, &mut rng, |told, seen, passed| {
            rows.apply(told);
            let expected = newest(seen, i64::MAX, passed);
            assert_eq!(rows.columns(&edge, &["symbol", "price", "volume"]), expected, "seed {seed}");
        });
    }
}

#[test]
fn keys_without_rows_expire() {
    let flow = "[operators.it]\ntype = \"latest\"\ninput = \"ticks\"\nexpire = \"200ms\"\n";
    let edge = plan(flow).nodes[1].edge.clone();
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let ticks = ticks(&mut rng, 600);
        let mut rows = Collection::default();
        run(flow, &ticks, &mut rng, |told, seen, passed| {
            rows.apply(told);
            let expected = newest(seen, 200 * MS, passed);
            assert_eq!(rows.columns(&edge, &["symbol", "price", "volume"]), expected, "seed {seed}");
        });
    }
}

#[test]
fn changes_become_a_collection_of_the_rows_that_they_leave() {
    // The newest row of the newest rows, whose moves replace nothing; and of bars, which do replace.
    let twice = "[operators.first]\ntype = \"latest\"\ninput = \"ticks\"\n\
                 [operators.it]\ntype = \"latest\"\ninput = \"first\"\n";
    let bars = "[operators.bars]\ntype = \"window\"\ninput = \"ticks\"\ntumbling = \"100ms\"\nemit = \"updates\"\n\
                late = \"revise\"\ncolumns = { n = \"count(*)\", high = \"max(price)\" }\n\
                [operators.it]\ntype = \"latest\"\ninput = \"bars\"\nby = [\"symbol\", \"start\"]\n";
    let edges = [twice, bars].map(|flow| plan(flow).nodes[2].edge.clone());
    for seed in 0..20 {
        let mut rng = StdRng::seed_from_u64(seed);
        let ticks = ticks(&mut rng, 400);
        let mut rows = Collection::default();
        run(twice, &ticks, &mut rng, |told, seen, passed| {
            rows.apply(told);
            let expected = newest(seen, i64::MAX, passed);
            assert_eq!(rows.columns(&edges[0], &["symbol", "price", "volume"]), expected, "seed {seed}");
        });
        let mut rows = Collection::default();
        run(bars, &ticks, &mut rng, |told, seen, _| {
            rows.apply(told);
            let mut bars: BTreeMap<(&str, i64), i64> = BTreeMap::new();
            for tick in seen {
                *bars.entry((tick.symbol.as_str(), tick.time.div_euclid(100 * MS))).or_default() += 1;
            }
            let mut expected: Vec<_> =
                bars.into_iter().map(|((symbol, _), n)| vec![symbol.to_string(), n.to_string()]).collect();
            expected.sort();
            assert_eq!(rows.columns(&edges[1], &["symbol", "n"]), expected, "seed {seed}");
        });
    }
}

#[test]
fn what_is_wrong_is_said() {
    let latest = |more: &str| mistakes(&format!("[operators.it]\ntype = \"latest\"\ninput = \"ticks\"\n{more}"));
    assert_eq!(latest(""), "");
    assert!(latest("by = [\"sector\", \"sector\"]").contains("`sector` stands twice"));
    assert!(latest("by = \"sektor\"").contains("sektor"));
    let over = "[operators.bars]\ntype = \"window\"\ninput = \"ticks\"\ntumbling = \"10s\"\nlate = \"revise\"\n\
                columns = { n = \"count(*)\" }\n[operators.it]\ntype = \"latest\"\ninput = \"bars\"\n";
    assert!(mistakes(over).contains("by = [\"symbol\", \"start\"]"), "{}", mistakes(over));
}
