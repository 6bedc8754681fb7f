//! The trades of one key that may still be cancelled or corrected.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::memory::Heap;

/// Where a trade stands: its event time (ns), then its `seq`.
pub type Place = (i64, i64);

/// What a trade is known by.
pub type Id = Box<[u8]>;

/// A row: what a correction changes of it, and what it keeps, each in Arrow's row format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub own: Box<[u8]>,
    pub kept: Box<[u8]>,
}

/// A trade.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Trade {
    /// All ids it has had.
    ids: Vec<Id>,
    /// How often it was corrected.
    revision: u64,
    /// None once it was cancelled: its ids are not free for another one.
    row: Option<Row>,
}

/// Why a message about a trade cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no trade with this id, or none within the horizon.
    Unknown,
    /// It was cancelled.
    Cancelled,
    /// There is another trade with this id already.
    Repeated,
}

/// The trades of one key.
#[derive(Default)]
pub struct Trades {
    trades: BTreeMap<Place, Trade>,
    places: HashMap<Id, Place>,
}

impl Heap for Trade {
    fn heap_bytes(&self) -> usize {
        let row = self.row.as_ref().map_or(0, |row| row.own.heap_bytes() + row.kept.heap_bytes());
        self.ids.heap_bytes() + row
    }
}

impl Heap for Trades {
    fn heap_bytes(&self) -> usize {
        self.trades.heap_bytes() + self.places.heap_bytes()
    }
}

impl Trades {
    /// The place of the trade with this id, of those at or behind `since`.
    fn find(&self, id: &[u8], since: i64) -> Option<Place> {
        self.places.get(id).copied().filter(|(time, _)| *time >= since)
    }

    /// Whether the trade with this id was cancelled, where there is one.
    fn state(&mut self, id: &[u8], since: i64) -> Result<&mut Trade, Refusal> {
        let place = self.find(id, since).ok_or(Refusal::Unknown)?;
        let trade = self.trades.get_mut(&place).ok_or(Refusal::Unknown)?;
        if trade.row.is_some() { Ok(trade) } else { Err(Refusal::Cancelled) }
    }

    /// A new trade.
    pub fn insert(&mut self, id: &[u8], since: i64, place: Place, row: Row) -> Result<(), Refusal> {
        match self.state(id, since) {
            Err(Refusal::Unknown) => {}
            Err(refusal) => return Err(refusal),
            Ok(_) => return Err(Refusal::Repeated),
        }
        self.trades.insert(place, Trade { ids: vec![id.into()], revision: 0, row: Some(row) });
        self.places.insert(id.into(), place);
        Ok(())
    }

    /// Cancels a trade; returns it, and how often it was corrected.
    pub fn retract(&mut self, id: &[u8], since: i64) -> Result<(Row, u64), Refusal> {
        let trade = self.state(id, since)?;
        let row = trade.row.take().ok_or(Refusal::Cancelled)?;
        Ok((row, trade.revision))
    }

    /// Gives a trade other columns, and where it has one another id by which it is known as well. Returns it as it was and
    /// as it is, and how often it was corrected before.
    pub fn replace(
        &mut self,
        id: &[u8],
        new: Option<&[u8]>,
        since: i64,
        own: &[u8],
    ) -> Result<(Row, Row, u64), Refusal> {
        let place = self.find(id, since).ok_or(Refusal::Unknown)?;
        let further = new.filter(|new| *new != id);
        if further.is_some_and(|new| self.find(new, since).is_some()) {
            return Err(Refusal::Repeated);
        }
        let trade = self.state(id, since)?;
        let Some(before) = trade.row.take() else { return Err(Refusal::Cancelled) };
        let now = Row { own: own.into(), kept: before.kept.clone() };
        trade.row = Some(now.clone());
        trade.revision += 1;
        let revision = trade.revision - 1;
        if let Some(new) = further {
            trade.ids.push(new.into());
            self.places.insert(new.into(), place);
        }
        Ok((before, now, revision))
    }

    /// Forgets the trades before `time`.
    pub fn forget(&mut self, time: i64) {
        let rest = self.trades.split_off(&(time, i64::MIN));
        for (place, trade) in std::mem::replace(&mut self.trades, rest) {
            for id in trade.ids {
                // Another trade may have it by now.
                if self.places.get(&id) == Some(&place) {
                    self.places.remove(&id);
                }
            }
        }
    }

    /// The event time of the first one.
    pub fn first(&self) -> Option<i64> {
        self.trades.first_key_value().map(|((time, _), _)| *time)
    }

    /// Appends them.
    pub fn write(&self, out: &mut Vec<u8>) {
        let trades: Vec<(&Place, &Trade)> = self.trades.iter().collect();
        // Memory can be written: this does not fail.
        if let Ok(whole) = postcard::to_extend(&trades, std::mem::take(out)) {
            *out = whole;
        }
    }

    /// What [`write`](Self::write) has written.
    pub fn read(bytes: &[u8]) -> Result<Trades, postcard::Error> {
        let trades: BTreeMap<Place, Trade> = postcard::from_bytes::<Vec<(Place, Trade)>>(bytes)?.into_iter().collect();
        // In the order of their places: of two trades with one id the later one has it.
        let ids = trades.iter().flat_map(|(place, trade)| trade.ids.iter().map(|id| (id.clone(), *place)));
        let places = ids.collect();
        Ok(Trades { trades, places })
    }
}
