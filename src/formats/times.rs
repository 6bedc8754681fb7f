//! Days, times of day and instants, from text.

use arrow::datatypes::TimeUnit;
use chrono::{Datelike, NaiveDate};

use super::types::per_second;

/// The day 1970-01-01 as chrono counts days.
const EPOCH: i32 = 719_163;
const SECONDS_A_DAY: i64 = 86_400;

/// `YYYY-MM-DD` as days since 1970.
pub(super) fn date(text: &str) -> Option<i32> {
    let mut text = Reader(text.as_bytes());
    let days = text.date()?;
    text.end(days)
}

/// `HH:MM:SS[.f]` as units since midnight; digits finer than the unit are cut off.
pub(super) fn time(text: &str, unit: TimeUnit) -> Option<i64> {
    let mut text = Reader(text.as_bytes());
    let (seconds, nanos) = text.time()?;
    text.end(in_unit(seconds, nanos, unit)?)
}

/// `YYYY-MM-DD[T ]HH:MM:SS[.f][Z|+HH:MM]`, in UTC where no offset is given, as units since 1970; digits
/// finer than the unit are cut off.
pub(super) fn timestamp(text: &str, unit: TimeUnit) -> Option<i64> {
    let mut text = Reader(text.as_bytes());
    let days = i64::from(text.date()?);
    text.one_of(b"T t")?;
    let (seconds, nanos) = text.time()?;
    let offset = text.offset()?;
    text.end(in_unit(days * SECONDS_A_DAY + seconds - offset, nanos, unit)?)
}

/// Whether so many units lie within a day.
pub(super) fn is_time(value: i64, unit: TimeUnit) -> bool {
    (0..SECONDS_A_DAY * per_second(unit)).contains(&value)
}

fn in_unit(seconds: i64, nanos: i64, unit: TimeUnit) -> Option<i64> {
    let per_second = per_second(unit);
    // The sum is made in 128 bits: just before the least instant the seconds alone would not fit.
    let units = i128::from(seconds) * i128::from(per_second) + i128::from(nanos / (1_000_000_000 / per_second));
    units.try_into().ok()
}

/// The text not yet read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn date(&mut self) -> Option<i32> {
        let year = self.digits(4)?;
        self.one_of(b"-")?;
        let month = self.digits(2)?;
        self.one_of(b"-")?;
        let day = self.digits(2)?;
        let date = NaiveDate::from_ymd_opt(year.try_into().ok()?, month, day)?;
        Some(date.num_days_from_ce() - EPOCH)
    }

    /// Seconds and nanoseconds since midnight.
    fn time(&mut self) -> Option<(i64, i64)> {
        let hours = self.below(24)?;
        self.one_of(b":")?;
        let minutes = self.below(60)?;
        self.one_of(b":")?;
        let seconds = self.below(60)?;
        Some((hours * 3600 + minutes * 60 + seconds, self.fraction()?))
    }

    /// A fraction of a second, where there is one, in nanoseconds.
    fn fraction(&mut self) -> Option<i64> {
        if self.one_of(b".").is_none() {
            return Some(0);
        }
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (fraction, rest) = self.0.split_at_checked(digits).filter(|_| digits > 0)?;
        self.0 = rest;
        let padded = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
        Some(padded.fold(0, |nanos, digit| nanos * 10 + i64::from(digit - b'0')))
    }

    /// Seconds east of UTC: `Z`, `+05:30`, `+0530`, `+05` or nothing.
    fn offset(&mut self) -> Option<i64> {
        if self.0.is_empty() || self.one_of(b"Zz").is_some() {
            return Some(0);
        }
        let sign = if self.one_of(b"+-")? == b'-' { -1 } else { 1 };
        let hours = self.below(24)?;
        let colon = self.one_of(b":").is_some();
        let minutes = if self.0.is_empty() && !colon { 0 } else { self.below(60)? };
        Some(sign * (hours * 3600 + minutes * 60))
    }

    /// Two digits that stand for less than `limit`.
    fn below(&mut self, limit: u32) -> Option<i64> {
        self.digits(2).filter(|value| *value < limit).map(i64::from)
    }

    fn digits(&mut self, count: usize) -> Option<u32> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        digits.iter().try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + u32::from(digit - b'0')))
    }

    fn one_of(&mut self, allowed: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first().filter(|(first, _)| allowed.contains(first))?;
        self.0 = rest;
        Some(*first)
    }

    /// The value, if all of the text was read.
    fn end<T>(&self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};

    #[test]
    fn dates_count_days_since_1970() {
        assert_eq!(date("1970-01-01"), Some(0));
        assert_eq!(date("1969-12-31"), Some(-1));
        assert_eq!(date("2024-02-29"), Some(19_782));
        assert_eq!(date("9999-12-31"), Some(2_932_896));
        for text in ["2023-02-29", "2024-13-01", "2024-00-01", "2024-1-1", "20240101", "2024-01-01 ", "", "-024-01-01"]
        {
            assert_eq!(date(text), None, "{text:?}");
        }
    }

    #[test]
    fn times_of_day_count_units_since_midnight() {
        assert_eq!(time("08:45:33", Second), Some(31_533));
        assert_eq!(time("08:45:33.25", Millisecond), Some(31_533_250));
        assert_eq!(time("23:59:59.999999999", Nanosecond), Some(86_399_999_999_999));
        for text in ["24:00:00", "23:60:00", "23:59:60", "8:45:33", "08:45", "08:45:33.", "08:45:33Z", "08:45:+3"] {
            assert_eq!(time(text, Second), None, "{text:?}");
        }
    }

    #[test]
    fn instants_are_read_in_every_common_spelling() {
        let expected = Some(1_700_000_000_123);
        for text in [
            "2023-11-14T22:13:20.123Z",
            "2023-11-14t22:13:20.123z",
            "2023-11-14 22:13:20.123",
            "2023-11-14 22:13:20.123+00:00",
            "2023-11-14T23:43:20.123456789+01:30",
            "2023-11-14T23:43:20.1230000000009+0130",
            "2023-11-14T17:13:20.123-05",
        ] {
            assert_eq!(timestamp(text, Millisecond), expected, "{text:?}");
        }
        for text in [
            "2023-11-14",
            "2023-11-14T22:13",
            "2023-11-14T22:13:20+",
            "2023-11-14T22:13:20+1",
            "2023-11-14T22:13:20+01:",
            "2023-11-14T22:13:20 Z",
            "2023-11-14_22:13:20",
        ] {
            assert_eq!(timestamp(text, Millisecond), None, "{text:?}");
        }
    }

    #[test]
    fn instants_before_1970_are_cut_off_towards_the_past_too() {
        assert_eq!(timestamp("1969-12-31T23:59:59.9999", Millisecond), Some(-1));
        assert_eq!(timestamp("1969-12-31T23:59:59.9999", Second), Some(-1));
    }

    #[test]
    fn an_instant_beyond_64_bits_is_none() {
        assert_eq!(timestamp("9999-12-31T23:59:59.999999Z", Microsecond), Some(253_402_300_799_999_999));
        assert_eq!(timestamp("9999-12-31T23:59:59Z", Nanosecond), None);
        assert_eq!(timestamp("2262-04-11T23:47:16.854775807Z", Nanosecond), Some(i64::MAX));
        assert_eq!(timestamp("2262-04-11T23:47:16.854775808Z", Nanosecond), None);
        assert_eq!(timestamp("1677-09-21T00:12:43.145224192Z", Nanosecond), Some(i64::MIN));
        assert_eq!(timestamp("1677-09-21T00:12:43.145224191Z", Nanosecond), None);
    }
}
