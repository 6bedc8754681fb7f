//! Where a partition stands, as a checkpoint keeps it.

use serde::{Deserialize, Serialize};

use super::offsets::{OnGap, Range, bounds};
use crate::error::{Error, Result};
use crate::kafka::Inspector;
use crate::sabotage::breaks;
use crate::state::Entry;

/// Where a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The next offset.
    pub offset: i64,
    /// The one after the last, where there is a last.
    pub stop: Option<i64>,
    /// The watermark it has shown, in ns since 1970 UTC.
    pub watermark: Option<i64>,
}

impl Position {
    /// As an entry of a snapshot.
    pub fn entry(&self, partition: i32) -> Result<Entry> {
        let value = serde_json::to_vec(self).map_err(Error::run)?;
        Ok(Entry { key: partition.to_be_bytes().to_vec(), value: Some(value) })
    }

    fn read(key: &[u8], value: &[u8]) -> Result<(i32, Position)> {
        let partition = key.try_into().map(i32::from_be_bytes);
        let partition = partition.map_err(|_| Error::Unsafe("a checkpoint names no partition".to_string()))?;
        let position = serde_json::from_slice(value);
        Ok((partition, position.map_err(|error| Error::Unsafe(format!("partition {partition}: {error}")))?))
    }
}

/// Has the ranges go on where a checkpoint has left them. Messages that the broker has dropped meanwhile are a gap.
pub fn go_on<'a>(
    ranges: &mut [Range],
    kept: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    inspector: &Inspector,
    topic: &str,
    on_gap: OnGap,
) -> Result<()> {
    for kept in kept.map(|(key, value)| Position::read(key, value)) {
        let (partition, position) = kept?;
        let Some(range) = ranges.iter_mut().find(|range| range.partition == partition) else { continue };
        let (least, next) = bounds(inspector, topic, partition)?;
        let there = (least..=next).contains(&position.offset);
        let start = match on_gap {
            _ if there => position.offset + i64::from(breaks("offset")),
            OnGap::Earliest => least,
            OnGap::Latest => next,
            OnGap::Fail => {
                return Err(Error::Unsafe(format!(
                    "topic {topic}, partition {partition}: the checkpoint goes on at offset {}, and the broker keeps \
                     {least} to {next}; what is between is lost: go on with --on-offset-gap earliest (or latest)",
                    position.offset
                )));
            }
        };
        if !there {
            tracing::warn!("topic {topic}, partition {partition}: goes on at {start} instead of {}", position.offset);
        }
        // The file says whether there is an end, and where it stands was decided by the first start that asked for one.
        let stop = range.stop.map(|now| position.stop.unwrap_or(now));
        *range = Range { partition, start, stop, watermark: position.watermark };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_and_what_is_none_is_told() {
        let position = Position { offset: 7, stop: Some(9), watermark: Some(i64::MIN + 1) };
        let entry = position.entry(3).expect("an entry");
        let value = entry.value.expect("a value");
        assert_eq!(Position::read(&entry.key, &value).expect("read"), (3, position));
        assert!(Position::read(b"abc", &value).is_err());
        assert!(Position::read(&entry.key, b"{}").is_err());
    }
}
