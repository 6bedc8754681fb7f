//! What a run came to, for people and as a line of JSON.

use std::collections::BTreeMap;
use std::io::{Write, stderr, stdout};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::faults::Kind;

/// A fault, after the fact.
pub struct Landed {
    pub kind: Kind,
    /// Rows a second that came out when it landed.
    pub rate: f64,
    /// How far the nearest beginning or end of a checkpoint was.
    pub checkpoint: Option<Duration>,
    /// Whether a checkpoint was in the making.
    pub within_checkpoint: bool,
    /// After how long what was written in the half second after it was in the topic; or in the table, where it was the
    /// database that failed.
    pub recovered: Option<Duration>,
}

/// A run so far.
#[derive(Default)]
pub struct Report {
    pub landed: Vec<Landed>,
    pub rows: u64,
    pub checkpoints: usize,
    pub restarts: usize,
    pub segments: usize,
}

/// Tells people something now, whatever becomes of the test.
pub fn say(words: &str) {
    let _ = writeln!(stderr(), "{words}");
}

impl Report {
    /// Prints it.
    pub fn print(&self, seed: u64, took: Duration, differences: usize) {
        let report = self.json(seed, took, differences);
        say(&format!("chaos: {} faults in {:.0} s, {differences} differences", self.landed.len(), took.as_secs_f64()));
        for (name, value) in report.as_object().into_iter().flatten() {
            say(&format!("chaos:   {name}: {value}"));
        }
        let _ = writeln!(stdout(), "{report}");
    }

    fn json(&self, seed: u64, took: Duration, differences: usize) -> Json {
        let near =
            |limit: Duration| self.landed.iter().filter(|one| one.checkpoint.is_some_and(|d| d <= limit)).count();
        let mut kinds: BTreeMap<Kind, Vec<&Landed>> = BTreeMap::new();
        self.landed.iter().for_each(|landed| kinds.entry(landed.kind).or_default().push(landed));
        let kinds: BTreeMap<String, Json> =
            kinds.iter().map(|(kind, landed)| (kind.to_string(), of_kind(landed))).collect();
        // A second kill lands while nothing flows: that is what it is for.
        let flowing = self.landed.iter().filter(|landed| landed.kind != Kind::Again);
        json!({
            "seed": seed,
            "faults": self.landed.len(),
            "seconds": took.as_secs(),
            "segments": self.segments,
            "rows": self.rows,
            "checkpoints": self.checkpoints,
            "restarts_of_processes_that_ended_by_themselves": self.restarts,
            "least_rows_a_second_when_a_fault_landed": flowing.clone().map(|one| one.rate as u64).min(),
            "median_rows_a_second_when_a_fault_landed": median(flowing.map(|one| one.rate)) as u64,
            "within_1s_of_a_checkpoint": near(Duration::from_secs(1)),
            "within_100ms_of_a_checkpoint": near(Duration::from_millis(100)),
            "while_a_checkpoint_was_in_the_making": self.landed.iter().filter(|one| one.within_checkpoint).count(),
            "kinds": kinds,
            "differences": differences,
        })
    }
}

fn of_kind(landed: &[&Landed]) -> Json {
    let took: Vec<f64> = landed.iter().filter_map(|one| Some(one.recovered?.as_secs_f64())).collect();
    let tenths = |seconds: f64| (seconds * 10.0).round() / 10.0;
    let most = took.iter().copied().fold(0.0, f64::max);
    json!({ "faults": landed.len(), "recovered_p50_s": tenths(median(took.into_iter())), "recovered_max_s": tenths(most) })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
