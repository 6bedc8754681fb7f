//! How each key stands with an alert: when it fires, when it is over.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What holds for all keys.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Event time between two alerts of a key, at least, in ns.
    pub cooldown: i64,
    /// It fires at every row, and is never over.
    pub repeat: bool,
}

/// How one key stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// It has fired and is not over.
    active: bool,
    /// When it fired last: event time in ns.
    alerted: Option<i64>,
}

/// What a row does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is an alert.
    Fires,
    /// The alert is over.
    Resolves,
}

impl Rule {
    /// What a row of `time` does to a key that stands so: of the two conditions of an alert only the one matters that
    /// would change it.
    pub fn turn(self, standing: Standing, time: i64, when: bool, resolve: bool) -> Option<Turn> {
        if standing.active && !self.repeat {
            return resolve.then_some(Turn::Resolves);
        }
        let waits = standing.alerted.is_some_and(|alerted| time.saturating_sub(alerted) < self.cooldown);
        (when && !waits).then_some(Turn::Fires)
    }
}

/// How all keys stand, by their numbers, and the values that are remembered of their last alert.
#[derive(Default)]
pub struct Standings {
    standings: Vec<Standing>,
    /// How many values are remembered of each.
    width: usize,
    /// NaN for those that are not known.
    values: Vec<f64>,
}

impl Standings {
    /// None yet; so many values are remembered of each.
    pub fn of(width: usize) -> Self {
        Standings { width, ..Standings::default() }
    }

    /// There are so many keys now.
    pub fn reach(&mut self, keys: usize) {
        if self.standings.len() < keys {
            self.standings.resize(keys, Standing::default());
            self.values.resize(keys * self.width, f64::NAN);
        }
    }

    /// The memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.standings.capacity() * size_of::<Standing>() + self.values.capacity() * size_of::<f64>()
    }

    /// How a key stands.
    pub fn get(&self, id: u32) -> Standing {
        self.standings[id as usize]
    }

    /// The values of a key's last alert, or, before any, those of its first row that has one.
    pub fn values(&self, id: u32) -> &[f64] {
        &self.values[id as usize * self.width..][..self.width]
    }

    /// Whether a row with these `values` brings one that was not known.
    pub fn lacks(&self, id: u32, values: impl Iterator<Item = f64>) -> bool {
        self.values(id).iter().zip(values).any(|(known, value)| known.is_nan() && !value.is_nan())
    }

    /// Remembers those of `values` that were not known, or, `anew`, all that are not null.
    pub fn remember(&mut self, id: u32, values: impl Iterator<Item = f64>, anew: bool) {
        let known = &mut self.values[id as usize * self.width..][..self.width];
        for (known, value) in known.iter_mut().zip(values) {
            if !value.is_nan() && (anew || known.is_nan()) {
                *known = value;
            }
        }
    }

    /// A key has taken a turn.
    pub fn take(&mut self, id: u32, turn: Turn, time: i64) {
        let standing = &mut self.standings[id as usize];
        match turn {
            Turn::Fires => *standing = Standing { active: true, alerted: Some(time) },
            Turn::Resolves => standing.active = false,
        }
    }

    /// Forgets how a key stands.
    pub fn forget(&mut self, id: u32) {
        self.reach(id as usize + 1);
        self.standings[id as usize] = Standing::default();
        self.values[id as usize * self.width..][..self.width].fill(f64::NAN);
    }

    /// Appends how a key stands.
    pub fn write(&self, id: u32, out: &mut Vec<u8>) {
        let state = (self.get(id), self.values(id));
        // Memory can be written, and these are plain values: neither fails.
        if let Ok(whole) = postcard::to_extend(&state, std::mem::take(out)) {
            *out = whole;
        }
    }

    /// Puts back what was written of a key, all of `bytes`.
    pub fn read(&mut self, id: u32, bytes: &[u8]) -> Result<()> {
        let broken = |reason: &dyn std::fmt::Display| Error::run(format!("not the state of this alert: {reason}"));
        let (standing, values): (Standing, Vec<f64>) = postcard::from_bytes(bytes).map_err(|error| broken(&error))?;
        if values.len() != self.width {
            return Err(broken(&format!("{} values, not {}", values.len(), self.width)));
        }
        self.reach(id as usize + 1);
        self.standings[id as usize] = standing;
        self.values[id as usize * self.width..][..self.width].copy_from_slice(&values);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The turns of rows a second apart, one letter each: `w` where `when` is true, `r` where `resolve` is, `b` both.
    fn turns(rule: Rule, rows: &str) -> String {
        let mut standings = Standings::of(0);
        standings.reach(1);
        let turn = |(second, row): (usize, char)| {
            let (time, when, resolve) = (second as i64, "wb".contains(row), "rb".contains(row));
            let turn = rule.turn(standings.get(0), time, when, resolve);
            turn.inspect(|turn| standings.take(0, *turn, time)).map_or('.', |turn| match turn {
                Turn::Fires => 'F',
                Turn::Resolves => 'R',
            })
        };
        rows.chars().enumerate().map(turn).collect()
    }

    #[test]
    fn it_fires_once_until_it_is_resolved_and_not_within_the_cooldown() {
        let rule = |cooldown, repeat| Rule { cooldown, repeat };
        for (rule, rows, expected) in [
            (rule(0, false), "-ww-wrrw", ".F...R.F"),
            (rule(0, false), "bbbr", "FRFR"),
            (rule(4, false), "wrwwwww", "FR..F.."),
            (rule(4, false), "wrw-rrrw", "FR.....F"),
            (rule(0, true), "wrww-", "F.FF."),
            (rule(3, true), "wwwwwww", "F..F..F"),
        ] {
            assert_eq!(turns(rule, rows), expected, "{rule:?} {rows}");
        }
    }

    #[test]
    fn a_row_from_before_the_last_alert_waits_too() {
        let rule = Rule { cooldown: 5, repeat: true };
        let standing = Standing { active: true, alerted: Some(100) };
        for (time, turn) in
            [(i64::MIN, None), (95, None), (104, None), (105, Some(Turn::Fires)), (i64::MAX, Some(Turn::Fires))]
        {
            assert_eq!(rule.turn(standing, time, true, false), turn, "{time}");
        }
    }

    #[test]
    fn what_is_written_can_be_put_back_and_nothing_else() {
        let mut before = Standings::of(2);
        before.reach(3);
        before.remember(1, [f64::NAN, 2.5].into_iter(), false);
        assert!(before.lacks(1, [1.0, 9.0].into_iter()) && !before.lacks(1, [f64::NAN, 9.0].into_iter()));
        before.remember(1, [1.0, 9.0].into_iter(), false);
        assert_eq!(before.values(1), [1.0, 2.5]);
        before.remember(1, [4.0, f64::NAN].into_iter(), true);
        before.take(1, Turn::Fires, -7);
        let mut bytes = Vec::new();
        before.write(1, &mut bytes);
        let mut after = Standings::of(2);
        after.read(6, &bytes).expect("a state");
        assert_eq!((after.get(6), after.values(6)), (before.get(1), &[4.0, 2.5][..]));
        assert!(after.values(5).iter().all(|value| value.is_nan()));
        assert!(Standings::of(1).read(0, &bytes).is_err(), "another number of values");
        assert!(after.read(0, &bytes[1..]).is_err() && after.read(0, b"").is_err());
    }
}
