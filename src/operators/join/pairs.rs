//! The pairs of rows that belong together, as far as they are others than before an epoch.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::collection::{Collection, Columns, Id, Moved, WHOLE};
use crate::operators::{LEFT, RIGHT};
use crate::spec::{DELETE, INSERT};

/// A change of a pair: what becomes of it, the left row and the right one, if there is one.
pub type Change = (&'static str, Columns, Option<Columns>);

/// What a left row is joined with: the right row of an id, or nothing.
type Partner = Option<Id>;

/// Tells of all pairs of a join key that are not what they were: what they were is deleted, what they are is inserted.
/// With `outer` a left row without a right one is joined with nothing.
pub fn changes(sides: &[Collection; 2], key: u32, outer: bool, mut tell: impl FnMut(Change)) {
    let (left, right) = (&sides[LEFT], &sides[RIGHT]);
    let (moved_left, moved_right) = (left.moved(key), right.moved(key));
    let now = partners(right.rows(key).iter().map(|(id, kept)| (id, &kept.columns)), outer);
    let before = before(&now, &moved_right, outer);
    // Where a right row is known by nulls alone, its pair is known by the same as that of nothing, which must have gone.
    let mut new = Vec::new();
    let mut pair = |before: Option<(&Columns, &Option<Columns>)>, now: Option<(&Columns, &Option<Columns>)>| {
        if before == now {
            return;
        }
        if let Some((left, right)) = before {
            tell((DELETE, Rc::clone(left), right.clone()));
        }
        new.extend(now.map(|(left, right)| (INSERT, Rc::clone(left), right.clone())));
    };
    let nothing = BTreeMap::from([(None, None)]);
    // A left row whose key has a null is joined with nothing, if it is joined at all.
    let of = |id: &Id, partners| match (id.first() == Some(&WHOLE), outer) {
        (true, _) => Some(partners),
        (false, true) => Some(&nothing),
        (false, false) => None,
    };
    for (id, (was, is)) in &moved_left {
        let (Some(before), Some(now)) = (of(id, &before), of(id, &now)) else { continue };
        for partner in before.keys().chain(now.keys().filter(|partner| !before.contains_key(*partner))) {
            let old = was.as_ref().zip(before.get(partner));
            pair(old, is.as_ref().zip(now.get(partner)));
        }
    }
    let changed: Vec<&Partner> =
        now.keys().chain(before.keys().filter(|partner| !now.contains_key(*partner))).collect();
    let changed: Vec<&Partner> =
        changed.into_iter().filter(|partner| before.get(*partner) != now.get(*partner)).collect();
    let stays = |id: &Id| id.first() == Some(&WHOLE) && !moved_left.contains_key(id) && !changed.is_empty();
    for (_, kept) in left.rows(key).iter().filter(|(id, _)| stays(id)) {
        for partner in &changed {
            let with = |partners: &'_ BTreeMap<Partner, Option<Columns>>| partners.get(*partner).cloned();
            let (was, is) = (with(&before), with(&now));
            pair(was.as_ref().map(|right| (&kept.columns, right)), is.as_ref().map(|right| (&kept.columns, right)));
        }
    }
    new.into_iter().for_each(tell);
}

/// What left rows are joined with, where these are the right ones.
fn partners<'r>(rows: impl Iterator<Item = (&'r Id, &'r Columns)>, outer: bool) -> BTreeMap<Partner, Option<Columns>> {
    let mut partners: BTreeMap<Partner, Option<Columns>> =
        rows.map(|(id, columns)| (Some(id.clone()), Some(Rc::clone(columns)))).collect();
    if outer && partners.is_empty() {
        partners.insert(None, None);
    }
    partners
}

/// What they were joined with before right rows have moved.
fn before(
    now: &BTreeMap<Partner, Option<Columns>>,
    moved: &BTreeMap<Id, Moved>,
    outer: bool,
) -> BTreeMap<Partner, Option<Columns>> {
    let mut rows: BTreeMap<&Id, &Columns> =
        now.iter().filter_map(|(id, columns)| Some((id.as_ref()?, columns.as_ref()?))).collect();
    for (id, (was, _)) in moved {
        match was {
            Some(columns) => drop(rows.insert(id, columns)),
            None => drop(rows.remove(id)),
        }
    }
    partners(rows.into_iter(), outer)
}
