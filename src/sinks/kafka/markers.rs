//! Markers: what each slot says of itself, in a compacted topic beside the rows, in the same transactions.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::positions::{Claim, Slot, outlived};
use crate::batch::Epoch;
use crate::error::{Error, Result};
use crate::kafka::{Connection, Outbox, Outgoing, make_compacted, read_compacted};
use crate::sources::lanes::{Lanes, Place, Positions};

/// How long tombstones may take to be written.
const WRITTEN: Duration = Duration::from_secs(30);

/// The markers of one sink of a job.
#[derive(Clone)]
pub struct Markers {
    /// Where the topic is.
    pub connection: Connection,
    /// The topic.
    pub topic: String,
    /// The id of the job.
    pub job: String,
    /// The name of the sink.
    pub sink: String,
    /// The number of this generation.
    pub generation: u64,
}

/// A later marker of a slot takes the place of an earlier one.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Key {
    job: String,
    sink: String,
    slot: usize,
    slots: usize,
}

/// Sources go by their names: these stay when a dataflow file is rearranged.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Value {
    /// For people.
    generation: u64,
    /// Likewise: the last epoch that was committed.
    epoch: Epoch,
    positions: BTreeMap<String, BTreeMap<u32, Place>>,
}

impl Markers {
    /// Makes the topic where it is missing.
    pub fn make_topic(&self) -> Result<()> {
        make_compacted(&self.connection, &self.who(), &self.topic)
    }

    /// The key of the markers of `slot`.
    pub fn key(&self, slot: Slot) -> Result<Vec<u8>> {
        let (job, sink) = (self.job.clone(), self.sink.clone());
        serde_json::to_vec(&Key { job, sink, slot: slot.number, slots: slot.of }).map_err(Error::run)
    }

    /// A marker: all up to `positions` is committed, by epochs up to `epoch`.
    pub fn value(&self, epoch: Epoch, positions: &Positions, lanes: &Lanes) -> Result<Vec<u8>> {
        let mut sources: BTreeMap<String, BTreeMap<u32, Place>> = BTreeMap::new();
        for ((source, lane), place) in positions {
            if let Some(name) = lanes.name(*source) {
                sources.entry(name.to_string()).or_default().insert(*lane, *place);
            }
        }
        let value = Value { generation: self.generation, epoch, positions: sources };
        serde_json::to_vec(&value).map_err(Error::run)
    }

    /// What all slots of all generations claim. It blocks.
    pub fn read(&self, lanes: &Lanes) -> Result<Vec<Claim>> {
        let (mut found, mut broken) = (BTreeMap::new(), None);
        read_compacted(&self.connection, &self.who(), &self.topic, |key, payload| {
            match self.claim(key, payload, lanes) {
                Ok(Some((slot, Some(positions)))) => drop(found.insert(slot, positions)),
                Ok(Some((slot, None))) => drop(found.remove(&slot)),
                Ok(None) => {}
                Err(error) => drop(broken.get_or_insert(error)),
            }
        })?;
        match broken {
            Some(error) => {
                Err(Error::run(format!("topic {}: a marker of this job cannot be read: {error}", self.topic)))
            }
            None => Ok(found.into_iter().map(|(slot, positions)| Claim { slot, positions }).collect()),
        }
    }

    /// What a message of the topic says of this sink; nothing where it speaks of another.
    fn claim(
        &self,
        key: &[u8],
        payload: Option<&[u8]>,
        lanes: &Lanes,
    ) -> Result<Option<(Slot, Option<Positions>)>, serde_json::Error> {
        // Keys of others may look as they like.
        let Ok(key) = serde_json::from_slice::<Key>(key) else { return Ok(None) };
        if key.job != self.job || key.sink != self.sink {
            return Ok(None);
        }
        let slot = Slot { number: key.slot, of: key.slots };
        let Some(payload) = payload else { return Ok(Some((slot, None))) };
        let value: Value = serde_json::from_slice(payload)?;
        let mut positions = Positions::new();
        for (name, places) in value.positions {
            if let Some(source) = lanes.source(&name) {
                positions.extend(places.into_iter().map(|(lane, place)| ((source, lane), place)));
            }
        }
        Ok(Some((slot, Some(positions))))
    }

    /// Takes the markers of slots back that are no longer in use and not needed beside those of the `slots` in use. It
    /// blocks.
    pub fn retire(&self, claims: &[Claim], slots: usize) -> Result<()> {
        let old: Vec<Slot> = outlived(claims, slots).collect();
        if old.is_empty() {
            return Ok(());
        }
        let outbox = Outbox::new(&self.connection, &self.who())?;
        for slot in &old {
            let key = self.key(*slot)?;
            outbox.send(Outgoing { topic: &self.topic, key: Some(&key), payload: None, headers: None })?;
        }
        outbox.flush(WRITTEN)
    }

    fn who(&self) -> String {
        format!("topic {}", self.topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Files, Plan};

    fn lanes(sources: &str) -> Lanes {
        let nodes: String =
            sources.split(' ').map(|name| format!("[sources.{name}]\ntype = \"generator\"\n")).collect();
        let first = sources.split(' ').next().unwrap_or_default();
        let sink = format!("[sinks.out]\ntype = \"discard\"\ninput = \"{first}\"\n");
        let text = format!("version = 1\nname = \"t\"\n{nodes}{sink}");
        Lanes::of(&Plan::of("t.toml".as_ref(), &text, &Files::default()).expect("a plan").0)
    }

    fn markers(job: &str) -> Markers {
        let (topic, sink) = ("markers".to_string(), "out".to_string());
        Markers { connection: Connection::to("nowhere"), topic, job: job.to_string(), sink, generation: 4 }
    }

    #[test]
    fn a_marker_is_read_as_it_was_written_also_where_sources_have_moved() {
        let (markers, before, after) = (markers("j"), lanes("a b"), lanes("c b"));
        let place = |lanes: &Lanes, name| (lanes.source(name).expect("a source"), 7);
        let positions = Positions::from([(place(&before, "a"), (0, 5)), (place(&before, "b"), (-3, 1 << 60))]);
        let slot = Slot { number: 1, of: 2 };
        let (key, value) = (markers.key(slot).expect("a key"), markers.value(9, &positions, &before).expect("a value"));
        let read = |lanes: &Lanes| markers.claim(&key, Some(&value), lanes).expect("it is read");
        assert_eq!(read(&before), Some((slot, Some(positions))));
        assert_eq!(read(&after), Some((slot, Some([(place(&after, "b"), (-3, 1 << 60))].into()))));
        assert_eq!(markers.claim(&key, None, &before).expect("it is read"), Some((slot, None)));
    }

    #[test]
    fn what_is_not_of_this_sink_is_left_alone() {
        let (own, lanes) = (markers("j"), lanes("a"));
        let other = markers("k").key(Slot { number: 0, of: 1 }).expect("a key");
        assert_eq!(own.claim(&other, Some(b"{}"), &lanes).expect("not ours"), None);
        assert_eq!(own.claim(b"\xff", Some(b"{}"), &lanes).expect("not ours"), None);
        let key = own.key(Slot { number: 0, of: 1 }).expect("a key");
        assert!(own.claim(&key, Some(b"{}"), &lanes).is_err(), "our own has to be readable");
    }
}
