//! How far back a rolling function looks.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The extent of a rolling window: a number of rows, or a stretch of event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Span {
    /// The last so many rows of the key, the present one included.
    Rows(usize),
    /// The rows with an event time in (t - span, t], in nanoseconds, where t is the greatest event time the key has
    /// shown: a row that comes late counts as if it came at t.
    Time(i64),
}

impl Span {
    /// Rows before the first value: a window of rows has to fill; `None` over time, where the first row has one.
    pub fn warm_up(self) -> Option<usize> {
        match self {
            Self::Rows(rows) => Some(rows.saturating_sub(1)),
            Self::Time(_) => None,
        }
    }
}

impl FromStr for Span {
    type Err = String;

    /// Reads a duration such as `5m`, `250ms` or `1h 30m`, with the units ns, us, ms, s, m, h, d and w.
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("'{text}' is not a duration such as '5m' or '1h 30m'");
        let mut total: i64 = 0;
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (count, tail) = split(rest, |c| c.is_ascii_digit());
            let (unit, tail) = split(tail.trim_start(), |c| c.is_ascii_alphabetic());
            let count: i64 = count.parse().map_err(|_| refused())?;
            let nanos = unit_nanos(unit).ok_or_else(refused)?;
            total = count
                .checked_mul(nanos)
                .and_then(|part| total.checked_add(part))
                .ok_or_else(|| format!("'{text}' is longer than 292 years"))?;
            rest = tail.trim_start();
        }
        match total {
            0 => Err(refused()),
            _ => Ok(Self::Time(total)),
        }
    }
}

fn split(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !keep(c)).unwrap_or(text.len()))
}

fn unit_nanos(unit: &str) -> Option<i64> {
    Some(match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        "w" => 604_800_000_000_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        let minute = 60_000_000_000;
        for (text, nanos) in [
            ("5m", 5 * minute),
            (" 1h 30m", 90 * minute),
            ("1h30m", 90 * minute),
            ("10 s", 10_000_000_000),
            ("250ms", 250_000_000),
            ("1w", 7 * 24 * 60 * minute),
        ] {
            assert_eq!(text.parse(), Ok(Span::Time(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "m", "5", "0s", "-5m", "5 minutes", "1.5h", "5é", "99999999999999w"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
