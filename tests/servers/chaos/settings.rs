//! How long and how hard a run is.

use std::str::FromStr;
use std::time::Duration;

use super::faults::Kind;

/// What a run is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What all that is random comes from: choices, moments, trades.
    pub seed: u64,
    /// How many faults there are.
    pub faults: usize,
    /// The faults of one segment, in another order in each. Between two segments all outputs are compared.
    pub deck: Vec<Kind>,
    /// Trades written a second.
    pub rate: u64,
    /// So many rows a second reach the outputs when a fault lands.
    pub least: u64,
    /// How long a stopped process stands still.
    pub stopped: Duration,
    /// `[job] checkpoint`
    pub checkpoint: Duration,
    /// Whether the state has a small disk of its own.
    pub disk: bool,
    /// Whether all faults come soon after a checkpoint.
    pub aimed: bool,
    /// The promise that is broken on purpose.
    pub sabotage: Option<&'static str>,
}

impl Settings {
    /// The long run: `make chaos FAULTS=200 SEED=1`.
    pub fn long() -> Settings {
        use Kind::{Again, Broker, Database, Disk, Kill, Stop};
        Settings {
            seed: variable("SEED", 1),
            faults: variable("FAULTS", 200),
            deck: vec![Kill, Kill, Kill, Kill, Kill, Again, Again, Broker, Database, Stop, Disk],
            rate: variable("RATE", 6_000),
            least: variable("LEAST", 5_000),
            stopped: Duration::from_secs(30),
            checkpoint: Duration::from_secs(3),
            disk: true,
            aimed: false,
            sabotage: None,
        }
    }

    /// The short one among the other tests, which take their share of the machine: of what is cheap, one of each kind.
    pub fn short() -> Settings {
        use Kind::{Again, Broker, Kill, Stop};
        Settings {
            faults: 5,
            deck: vec![Kill, Again, Broker, Stop],
            rate: 1_500,
            least: 300,
            stopped: Duration::from_secs(4),
            checkpoint: Duration::from_secs(1),
            disk: false,
            ..Settings::long()
        }
    }

    /// A run between hosts: `make chaos-net FAULTS=28 SEED=1`.
    pub fn net() -> Settings {
        use Kind::{Delay, Kill, Loss, OneWay, Partition};
        Settings {
            faults: variable("FAULTS", 28),
            deck: vec![Kill, Partition, Partition, OneWay, OneWay, Loss, Delay],
            disk: false,
            ..Settings::long()
        }
    }

    /// A run of these faults, with a promise broken or none.
    #[cfg(feature = "sabotage")]
    pub fn control(sabotage: Option<&'static str>, deck: &[Kind]) -> Settings {
        let (faults, deck) = (deck.len(), deck.to_vec());
        Settings { faults, deck, sabotage, aimed: true, ..Settings::short() }
    }
}

/// `TAPEFLOW_CHAOS_NAME`, where it is set.
fn variable<T: FromStr>(name: &str, default: T) -> T {
    let name = format!("TAPEFLOW_CHAOS_{name}");
    match std::env::var(&name) {
        Ok(text) if !text.is_empty() => text.parse().unwrap_or_else(|_| panic!("{name}: '{text}' is no number")),
        _ => default,
    }
}
