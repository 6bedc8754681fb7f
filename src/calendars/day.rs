//! The hours of a day.

use std::fmt;

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

crate::words! {
    /// Which hours of an exchange are meant.
    Hours {
        /// The hours of its opening and closing prices.
        Regular = "regular",
        /// With those before and after them.
        Extended = "extended",
    }
}

/// A time on the clocks of the exchange, in minutes since the midnight with which the date of the session begins; less
/// than none on the evening before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(i32);

/// In minutes.
const HOUR: i32 = 60;
/// In minutes.
const DAY: i32 = 24 * HOUR;
const THE_DAY_BEFORE: &str = " the day before";

impl Time {
    /// On `date`, or the evening before.
    pub(super) fn on(self, date: NaiveDate) -> Option<NaiveDateTime> {
        date.and_time(NaiveTime::MIN).checked_add_signed(TimeDelta::minutes(self.0.into()))
    }

    /// The same time of the next session, seen from this one.
    pub(super) fn next_day(self) -> Time {
        Time(self.0 + DAY)
    }
}

impl std::str::FromStr for Time {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (clock, day) = match text.strip_suffix(THE_DAY_BEFORE) {
            Some(clock) => (clock, -DAY),
            None => (text, 0),
        };
        let wrong = || format!("`{text}` is not a time like 09:30, 24:00 or 18:00{THE_DAY_BEFORE}");
        minutes(clock).map(|minutes| Time(day + minutes)).ok_or_else(wrong)
    }
}

/// The minutes since midnight at `HH:MM`, up to `24:00`.
fn minutes(clock: &str) -> Option<i32> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| i32::from(byte - b'0'));
    let &[tens, ones, b':', ten, one] = clock.as_bytes() else { return None };
    let (hours, minutes) = (digit(tens)? * 10 + digit(ones)?, digit(ten)? * 10 + digit(one)?);
    Some(hours * HOUR + minutes).filter(|sum| minutes < HOUR && *sum <= DAY)
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minutes, day) = if self.0 < 0 { (self.0 + DAY, THE_DAY_BEFORE) } else { (self.0, "") };
        write!(f, "{:02}:{:02}{day}", minutes / HOUR, minutes % HOUR)
    }
}

/// From when until when there is trading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trading {
    pub(super) open: Time,
    pub(super) close: Time,
}

impl fmt::Display for Trading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.open, self.close)
    }
}

/// The hours of a day on which the exchange trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Day {
    pub(super) regular: Trading,
    pub(super) extended: Option<Trading>,
}

impl Day {
    pub(super) fn trading(&self, hours: Hours) -> Option<Trading> {
        match hours {
            Hours::Regular => Some(self.regular),
            Hours::Extended => self.extended,
        }
    }

    /// All hours of the day.
    pub(super) fn whole(&self) -> Trading {
        self.extended.unwrap_or(self.regular)
    }

    /// What is wrong with it, where the day before it may close as late as `latest`.
    pub(super) fn mistakes(&self, latest: Time) -> Vec<String> {
        let (regular, whole) = (self.regular, self.whole());
        let mut mistakes = Vec::new();
        for hours in [Some(regular), self.extended].into_iter().flatten().filter(|hours| hours.open >= hours.close) {
            mistakes.push(format!("{hours}: this ends before it begins"));
        }
        if whole.open > regular.open || whole.close < regular.close {
            mistakes.push(format!("the extended hours, {whole}, leave out some of the regular ones, {regular}"));
        }
        if whole.open.next_day() < latest {
            mistakes.push(format!("{whole}: this begins before the session of the day before has ended, at {latest}"));
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_they_are_read() {
        for text in ["00:00", "09:30", "24:00", "18:00 the day before", "23:59 the day before"] {
            assert_eq!(text.parse::<Time>().expect(text).to_string(), text);
        }
        for text in ["", "9:30", "09:60", "24:01", "99:00", "+9:30", "09:30:00", "09:30 ", "09:30the day before"] {
            assert!(text.parse::<Time>().is_err_and(|error| error.contains("09:30")), "{text:?}");
        }
    }

    #[test]
    fn the_evening_before_comes_first() {
        let time = |text: &str| text.parse::<Time>().expect(text);
        assert!(time("18:00 the day before") < time("00:00"));
        assert_eq!(time("18:00 the day before").next_day(), time("18:00"));
        assert_eq!(time("24:00 the day before"), time("00:00"));
    }
}
