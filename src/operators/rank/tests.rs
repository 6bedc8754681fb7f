//! The first rows of groups, compared with those of sorted lists, however rows are cut, come, and are put back.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{direction, parts};
use crate::operators::testing::{Collection, Tick, mistakes, plan, run, ticks};
use crate::spec::At;

/// A price that sorts as prices do that fall, those that are none behind.
fn falling(price: Option<f64>) -> (bool, Reverse<i64>) {
    (price.is_none(), Reverse(price.unwrap_or_default() as i64))
}

/// The first `limit` rows of each group: the group, the rank, and what the row is known by.
fn firsts<K: Ord + Clone>(rows: Vec<(&str, K, String)>, limit: usize) -> Vec<Vec<String>> {
    let mut groups: BTreeMap<&str, Vec<(K, String)>> = BTreeMap::new();
    for (group, place, name) in rows {
        groups.entry(group).or_default().push((place, name));
    }
    let mut firsts = Vec::new();
    for (group, mut rows) in groups {
        rows.sort();
        let rows = rows.into_iter().take(limit).enumerate();
        firsts.extend(rows.map(|(at, (_, name))| vec![group.to_string(), (at + 1).to_string(), name]));
    }
    firsts.sort();
    firsts
}

/// The newest tick of each symbol.
fn newest<'t>(ticks: &[&'t Tick]) -> Vec<&'t Tick> {
    let mut newest: BTreeMap<&str, &Tick> = BTreeMap::new();
    for tick in ticks {
        let known = newest.entry(&tick.symbol).or_insert(tick);
        if (tick.time, tick.offset) > (known.time, known.offset) {
            *known = tick;
        }
    }
    newest.into_values().collect()
}

const NEWEST: &str = "[operators.newest]\ntype = \"latest\"\ninput = \"ticks\"\n";

#[test]
fn the_first_rows_of_a_collection_are_told_as_they_move() {
    let flow = format!(
        "{NEWEST}[operators.it]\ntype = \"rank\"\ninput = \"newest\"\nby = \"sector\"\norder = \"price desc, volume\"\nlimit = 3\n"
    );
    let edge = plan(&flow).nodes[2].edge.clone();
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (ticks, mut rows) = (ticks(&mut rng, 600), Collection::default());
        let counts = run(&flow, &ticks, &mut rng, |told, seen, _| {
            rows.apply(told);
            let place = |tick: &Tick| (falling(tick.price), tick.volume, tick.symbol.clone());
            let of_sectors =
                newest(seen).into_iter().filter_map(|tick| Some((tick.sector?, place(tick), tick.symbol.clone())));
            assert_eq!(
                rows.columns(&edge, &["sector", "rank", "symbol"]),
                firsts(of_sectors.collect(), 3),
                "seed {seed}"
            );
        });
        assert!(counts.refused.iter().all(|reason| reason == "it has no `sector`") && !counts.refused.is_empty());
    }
}

#[test]
fn all_rows_are_one_group_where_there_are_no_groups_and_order_may_be_computed() {
    let flow = format!(
        "{NEWEST}[operators.it]\ntype = \"rank\"\ninput = \"newest\"\nrank = \"place\"\nlimit = 7\n\
         order = [\"coalesce(price, 0) * 10 + volume desc\"]\n"
    );
    let edge = plan(&flow).nodes[2].edge.clone();
    for seed in 0..20 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (ticks, mut rows) = (ticks(&mut rng, 400), Collection::default());
        run(&flow, &ticks, &mut rng, |told, seen, _| {
            rows.apply(told);
            let score = |tick: &Tick| (tick.price.unwrap_or_default() * 10.0) as i64 + tick.volume;
            let all = newest(seen)
                .into_iter()
                .map(|tick| ("", (Reverse(score(tick)), tick.symbol.clone()), tick.symbol.clone()));
            let expected = firsts(all.collect(), 7).into_iter().map(|row| row[1..].to_vec()).collect::<Vec<_>>();
            assert_eq!(rows.columns(&edge, &["place", "symbol"]), expected, "seed {seed}");
        });
    }
}

#[test]
fn of_rows_that_are_appended_the_first_of_all_that_ever_came_are_kept() {
    let flow = "[operators.it]\ntype = \"rank\"\ninput = \"ticks\"\nby = \"upper(symbol)\"\norder = [\"price desc\", \"volume asc\"]\nlimit = 4\n";
    let edge = plan(flow).nodes[1].edge.clone();
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (ticks, mut rows) = (ticks(&mut rng, 600), Collection::default());
        run(flow, &ticks, &mut rng, |told, seen, _| {
            rows.apply(told);
            // Those that are equal come in the order of their offsets.
            let place = |tick: &Tick| (falling(tick.price), tick.volume, tick.offset);
            let all = seen.iter().map(|tick| (tick.symbol.as_str(), place(tick), tick.volume.to_string()));
            assert_eq!(rows.columns(&edge, &["symbol", "rank", "volume"]), firsts(all.collect(), 4), "seed {seed}");
        });
    }
}

#[test]
fn what_replaces_a_row_takes_its_place() {
    let flow = "[operators.bars]\ntype = \"window\"\ninput = \"ticks\"\ntumbling = \"100ms\"\nemit = \"updates\"\n\
                late = \"revise\"\ncolumns = { n = \"count(*)\" }\n\
                [operators.it]\ntype = \"rank\"\ninput = \"bars\"\nby = \"symbol\"\norder = \"n desc\"\nlimit = 2\n";
    let edge = plan(flow).nodes[2].edge.clone();
    for seed in 0..20 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (ticks, mut rows) = (ticks(&mut rng, 400), Collection::default());
        run(flow, &ticks, &mut rng, |told, seen, _| {
            rows.apply(told);
            let mut bars: BTreeMap<(&str, i64), i64> = BTreeMap::new();
            for tick in seen {
                *bars.entry((&tick.symbol, tick.time.div_euclid(100_000_000))).or_default() += 1;
            }
            let all = bars.iter().map(|((symbol, start), n)| (*symbol, (Reverse(*n), *start), n.to_string()));
            assert_eq!(rows.columns(&edge, &["symbol", "rank", "n"]), firsts(all.collect(), 2), "seed {seed}");
        });
    }
}

#[test]
fn an_order_is_read_part_by_part() {
    let read = |text: &str| {
        let parts = parts(&At::new(text.to_string(), 0..0));
        parts.iter().map(|part| (direction(part).0.value, direction(part).1)).collect::<Vec<_>>()
    };
    let part = |text: &str, descending| (text.to_string(), descending);
    assert_eq!(read("price desc, volume"), [part("price", true), part("volume", false)]);
    assert_eq!(
        read("coalesce(a, b) DESC ,replace(c, ',', ')') asc"),
        [part("coalesce(a, b)", true), part("replace(c, ',', ')')", false)]
    );
    assert_eq!(read("\"a, desc\""), [part("\"a, desc\"", false)]);
}

#[test]
fn what_is_wrong_is_said() {
    let rank = |more: &str| mistakes(&format!("[operators.it]\ntype = \"rank\"\ninput = \"ticks\"\n{more}"));
    assert_eq!(rank("order = \"price\"\nlimit = 1"), "");
    assert!(rank("order = \"price\"\nlimit = 0").contains("`limit` is 1 to 10000"));
    assert!(rank("order = \"prize desc\"\nlimit = 2").contains("prize"));
    assert!(rank("order = \"price\"\nlimit = 2\nrank = \"volume\"").contains("there is a column `volume` already"));
    assert!(rank("order = \"\"\nlimit = 2").contains("order") || !rank("order = \"\"\nlimit = 2").is_empty());
}
