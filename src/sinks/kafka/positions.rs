//! Which rows a topic holds already: worked out from what the slots of earlier generations say of themselves.
//!
//! A *slot* is one of the workers that wrote: number and how many there were. It owns the key groups that
//! [`keys::owner`](crate::keys::owner) gives it, and takes the rows of a lane in order, so one place a lane tells of all
//! it has committed: a *claim*. The next generation may have another number of workers; a row is there already where
//! some slot that owned its key group claims its place or a later one.

use std::collections::BTreeMap;

use crate::keys::KEY_GROUPS;
use crate::sources::lanes::{Lane, Place, Positions};

/// One of the workers of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// Which one.
    pub number: usize,
    /// How many there were.
    pub of: usize,
}

impl Slot {
    fn owns(self, group: u64) -> bool {
        group % self.of.max(1) as u64 == self.number as u64
    }
}

/// What a slot has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who says so.
    pub slot: Slot,
    /// Up to where, in each lane.
    pub positions: Positions,
}

/// What `slot` may claim before it has written anything: what holds for all the key groups it owns.
///
/// Its first claim takes the place of an earlier one of its own, which must not be forgotten.
pub fn inherited(slot: Slot, claims: &[Claim]) -> Positions {
    let owned: Vec<u64> = (0..KEY_GROUPS).filter(|group| slot.owns(*group)).collect();
    let mut positions = Positions::new();
    for lane in claims.iter().flat_map(|claim| claim.positions.keys()) {
        let committed = |group: &u64| {
            let covering = claims.iter().filter(|claim| claim.slot.owns(*group));
            covering.filter_map(|claim| claim.positions.get(lane)).max()
        };
        // A group of which nothing is known has no place: then there is none for all of them.
        if let Some(Some(place)) = owned.iter().map(committed).min() {
            positions.insert(*lane, *place);
        }
    }
    positions
}

/// The slots no longer in use whose claims say nothing that those of the `slots` in use do not say as well.
pub fn outlived(claims: &[Claim], slots: usize) -> impl Iterator<Item = Slot> {
    let says = move |group: u64, lane: &Lane, place: &Place| {
        let mut of_group = claims.iter().filter(|claim| claim.slot.of == slots && claim.slot.owns(group));
        of_group.any(|claim| claim.positions.get(lane) >= Some(place))
    };
    let old = claims.iter().filter(move |claim| claim.slot.of != slots);
    let is_outlived = move |claim: &&Claim| {
        let mut groups = (0..KEY_GROUPS).filter(|group| claim.slot.owns(*group));
        groups.all(|group| claim.positions.iter().all(|(lane, place)| says(group, lane, place)))
    };
    old.filter(is_outlived).map(|claim| claim.slot)
}

/// Which rows of a replay one slot has to leave out.
#[derive(Debug, Default)]
pub struct Committed {
    lanes: BTreeMap<Lane, Known>,
}

#[derive(Debug)]
struct Known {
    claims: Vec<(Slot, Place)>,
    last: Place,
}

impl Committed {
    /// What the claims say of the rows that come to `slot`.
    pub fn of(slot: Slot, claims: &[Claim]) -> Self {
        let mut lanes: BTreeMap<Lane, Known> = BTreeMap::new();
        let meets = |claim: &&Claim| (0..KEY_GROUPS).any(|group| slot.owns(group) && claim.slot.owns(group));
        for claim in claims.iter().filter(meets) {
            for (lane, place) in &claim.positions {
                let known = lanes.entry(*lane).or_insert(Known { claims: Vec::new(), last: *place });
                known.claims.push((claim.slot, *place));
                known.last = known.last.max(*place);
            }
        }
        Committed { lanes }
    }

    /// Whether no row is left out any more.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Whether a row may be there already: then its key group decides.
    pub fn in_doubt(&self, lane: Lane, place: Place) -> bool {
        self.lanes.get(&lane).is_some_and(|known| place <= known.last)
    }

    /// The slot has come to `place`: behind all claims the replay of a lane has ended.
    pub fn pass(&mut self, lane: Lane, place: Place) {
        if self.lanes.get(&lane).is_some_and(|known| place > known.last) {
            self.lanes.remove(&lane);
        }
    }

    /// Whether the row of this key group is there already.
    pub fn holds(&self, lane: Lane, place: Place, group: u64) -> bool {
        let known = self.lanes.get(&lane);
        known.is_some_and(|known| known.claims.iter().any(|(slot, last)| slot.owns(group) && place <= *last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::owner;

    const LANE: Lane = (0, 7);

    fn claim(number: usize, of: usize, seq: i64) -> Claim {
        Claim { slot: Slot { number, of }, positions: [(LANE, (0, seq))].into() }
    }

    #[test]
    fn a_slot_owns_what_its_worker_does() {
        for workers in [1, 2, 3, 128, 200] {
            for hash in 0..1000 {
                let group = hash % KEY_GROUPS;
                let owners: Vec<usize> =
                    (0..workers).filter(|number| Slot { number: *number, of: workers }.owns(group)).collect();
                assert_eq!(owners, [owner(hash, workers)]);
            }
        }
    }

    #[test]
    fn another_number_of_workers_leaves_out_what_the_owner_of_the_group_had_committed() {
        // Of two workers the first had come to 10, the second to 20. Now there are three.
        let claims = [claim(0, 2, 10), claim(1, 2, 20)];
        let slot = Slot { number: 0, of: 3 };
        let mut committed = Committed::of(slot, &claims);
        assert!(committed.in_doubt(LANE, (0, 15)));
        assert!(!committed.holds(LANE, (0, 15), 0), "an even group is behind");
        assert!(committed.holds(LANE, (0, 15), 3), "an odd group is not");
        assert!(committed.holds(LANE, (0, 10), 6) && committed.holds(LANE, (0, 20), 9));
        assert!(!committed.in_doubt((0, 8), (0, 1)), "of other partitions nothing is known");
        assert_eq!(inherited(slot, &claims), [(LANE, (0, 10))].into());
        committed.pass(LANE, (0, 20));
        assert!(!committed.is_empty() && !committed.in_doubt(LANE, (0, 21)));
        committed.pass(LANE, (0, 21));
        assert!(committed.is_empty(), "the replay of the lane has ended");
    }

    #[test]
    fn the_same_workers_go_on_where_they_were() {
        let claims = [claim(0, 2, 10), claim(1, 2, 20)];
        let slot = Slot { number: 1, of: 2 };
        let committed = Committed::of(slot, &claims);
        assert!(committed.holds(LANE, (0, 20), 1) && !committed.holds(LANE, (0, 21), 1));
        assert_eq!(inherited(slot, &claims), [(LANE, (0, 20))].into());
    }

    #[test]
    fn of_two_generations_the_later_place_counts() {
        // One worker came to 10; of the two that followed only the second wrote anything.
        let claims = [claim(0, 1, 10), claim(1, 2, 30)];
        let committed = Committed::of(Slot { number: 0, of: 1 }, &claims);
        assert!(committed.holds(LANE, (0, 30), 1) && !committed.holds(LANE, (0, 11), 2));
        assert_eq!(inherited(Slot { number: 0, of: 1 }, &claims), [(LANE, (0, 10))].into());
        assert_eq!(inherited(Slot { number: 0, of: 2 }, &claims), [(LANE, (0, 10))].into());
        assert_eq!(inherited(Slot { number: 1, of: 2 }, &claims), [(LANE, (0, 30))].into());
    }

    #[test]
    fn nothing_is_claimed_for_a_group_that_never_wrote() {
        let claims = [claim(1, 2, 30)];
        assert_eq!(inherited(Slot { number: 0, of: 1 }, &claims), Positions::new());
        assert!(!Committed::of(Slot { number: 0, of: 1 }, &claims).holds(LANE, (0, 1), 2));
        assert!(Committed::of(Slot { number: 0, of: 2 }, &claims).is_empty());
    }

    #[test]
    fn event_time_goes_before_seq() {
        let claims = [Claim { slot: Slot { number: 0, of: 1 }, positions: [((1, 0), (100, 5))].into() }];
        let committed = Committed::of(Slot { number: 0, of: 1 }, &claims);
        assert!(committed.holds((1, 0), (99, 9), 0) && committed.holds((1, 0), (100, 5), 0));
        assert!(!committed.holds((1, 0), (100, 6), 0));
    }

    #[test]
    fn claims_of_slots_no_longer_used_are_outlived_once_those_in_use_say_the_same() {
        let old = [claim(0, 2, 10), claim(1, 2, 20)];
        let outlived = |used: &[Claim]| outlived(&[&old, used].concat(), used[0].slot.of).collect::<Vec<_>>();
        assert_eq!(outlived(&[claim(0, 1, 9)]), []);
        assert_eq!(outlived(&[claim(0, 1, 10)]), [Slot { number: 0, of: 2 }]);
        assert_eq!(outlived(&[claim(0, 1, 20)]).len(), 2);
        assert_eq!(outlived(&[claim(0, 3, 99), claim(1, 3, 99)]), [], "a third of the groups has said nothing");
        assert_eq!(outlived(&[claim(0, 3, 99), claim(1, 3, 99), claim(2, 3, 15)]), [Slot { number: 0, of: 2 }]);
        let elsewhere = Claim { positions: [((0, 8), (0, 99))].into(), ..claim(0, 1, 0) };
        assert_eq!(outlived(&[elsewhere]), [], "of another lane");
        assert_eq!(outlived(&[claim(0, 2, 99), claim(1, 2, 99)]), [], "those in use are kept");
    }

    /// Rows of several keys over generations of other sizes, each ended at a place of its own: every row exactly once.
    #[test]
    fn no_row_is_missing_or_repeated_over_many_generations() {
        let mut state = 7_u64;
        let mut next = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let rows: Vec<(Lane, i64, u64)> = (0..400).map(|seq| ((0, (seq % 3) as u32), seq, next(128))).collect();
        let mut taken_back = 0;
        for _ in 0..50 {
            let mut written: BTreeMap<i64, usize> = BTreeMap::new();
            let mut markers: BTreeMap<Slot, Positions> = BTreeMap::new();
            for generation in 0..6 {
                let of = 1 + next(4) as usize;
                let claims = |markers: &BTreeMap<Slot, Positions>| -> Vec<Claim> {
                    markers
                        .iter()
                        .map(|(slot, positions)| Claim { slot: *slot, positions: positions.clone() })
                        .collect()
                };
                for slot in outlived(&claims(&markers), of) {
                    markers.remove(&slot);
                    taken_back += 1;
                }
                let claims = claims(&markers);
                for number in 0..of {
                    let slot = Slot { number, of };
                    let (mut own, mut committed) = (inherited(slot, &claims), Committed::of(slot, &claims));
                    // Each slot is killed somewhere else; the last generation comes to the end.
                    let end = if generation == 5 { rows.len() } else { next(rows.len() as u64) as usize };
                    for (lane, seq, group) in rows[..end].iter().filter(|row| slot.owns(row.2)) {
                        if committed.in_doubt(*lane, (0, *seq)) && committed.holds(*lane, (0, *seq), *group) {
                            continue;
                        }
                        committed.pass(*lane, (0, *seq));
                        *written.entry(*seq).or_default() += 1;
                        own.insert(*lane, (0, *seq));
                        markers.insert(slot, own.clone());
                    }
                }
            }
            assert_eq!(written.len(), rows.len());
            assert!(written.values().all(|count| *count == 1));
        }
        assert!(taken_back > 0, "claims are taken back");
    }
}
