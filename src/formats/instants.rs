//! Instants as text: RFC 3339 in UTC, with as many digits of a second as there are: none, 3, 6 or 9.

use std::io::Write;

use chrono::{DateTime, Datelike, Timelike};

const NANOSECONDS: i64 = 1_000_000_000;

/// Writes instants. Most follow one of the same second, whose text is kept.
pub(super) struct Instants {
    /// How many make a second.
    unit: i64,
    second: i64,
    /// `2026-01-05T14:30:00`
    text: Vec<u8>,
}

impl Instants {
    /// For instants that are a number of units since 1970, so many of which make a second.
    pub(super) fn new(unit: i64) -> Self {
        Instants { unit, second: i64::MIN, text: Vec::new() }
    }

    /// Appends an instant; one that no calendar holds is null.
    #[inline]
    pub(super) fn write(&mut self, instant: i64, out: &mut Vec<u8>) {
        let second = instant.div_euclid(self.unit);
        if second != self.second && !self.begin(second) {
            out.extend_from_slice(b"null");
            return;
        }
        out.push(b'"');
        out.extend_from_slice(&self.text);
        let nanoseconds = instant.rem_euclid(self.unit) * (NANOSECONDS / self.unit);
        match nanoseconds {
            0 => {}
            n if n % 1_000_000 == 0 => digits(out, n / 1_000_000, 3),
            n if n % 1_000 == 0 => digits(out, n / 1_000, 6),
            n => digits(out, n, 9),
        }
        out.extend_from_slice(b"Z\"");
    }

    #[cold]
    fn begin(&mut self, second: i64) -> bool {
        let Some(time) = DateTime::from_timestamp(second, 0) else { return false };
        let (year, month, day) = (time.year(), time.month(), time.day());
        let (hour, minute, rest) = (time.hour(), time.minute(), time.second());
        self.text.clear();
        // Years of more than four digits have a sign, so that they are not taken for shorter ones.
        let sign = if year > 9999 { "+" } else { "" };
        let written = write!(self.text, "{sign}{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{rest:02}");
        self.second = if written.is_ok() { second } else { i64::MIN };
        written.is_ok()
    }
}

/// Appends a point and so many digits.
#[inline]
fn digits(out: &mut Vec<u8>, mut value: i64, count: usize) {
    out.push(b'.');
    let start = out.len();
    out.resize(start + count, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(unit: i64, instant: i64) -> String {
        let mut out = Vec::new();
        Instants::new(unit).write(instant, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn an_instant_has_as_many_digits_as_it_needs() {
        for (unit, instant, expected) in [
            (1, 0, "\"1970-01-01T00:00:00Z\""),
            (1_000, 1_700_000_000_120, "\"2023-11-14T22:13:20.120Z\""),
            (1_000, -1, "\"1969-12-31T23:59:59.999Z\""),
            (1_000_000, 1_700_000_000_000_001, "\"2023-11-14T22:13:20.000001Z\""),
            (NANOSECONDS, 1_700_000_000_000_000_001, "\"2023-11-14T22:13:20.000000001Z\""),
            (NANOSECONDS, 1_700_000_000_500_000_000, "\"2023-11-14T22:13:20.500Z\""),
            (1, 253_402_300_800, "\"+10000-01-01T00:00:00Z\""),
            (1, i64::MAX, "null"),
        ] {
            assert_eq!(text(unit, instant), expected);
        }
    }

    #[test]
    fn the_text_of_a_second_is_kept_for_that_second_only() {
        let mut instants = Instants::new(1_000);
        let mut out = Vec::new();
        for instant in [1_000, 1_001, 61_000, 1_002] {
            instants.write(instant, &mut out);
        }
        let expected = concat!(
            "\"1970-01-01T00:00:01Z\"",
            "\"1970-01-01T00:00:01.001Z\"",
            "\"1970-01-01T00:01:01Z\"",
            "\"1970-01-01T00:00:01.002Z\""
        );
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }
}
