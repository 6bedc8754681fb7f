//! Reads calendar files, and finds what is wrong with them.

use std::collections::BTreeSet;
use std::iter::once;
use std::ops::RangeInclusive;
use std::path::Path;

use chrono::{Datelike, NaiveDate};
use toml::de::DeTable;

use super::Calendar;
use super::day::{Day, Trading};
use super::values::{SpecialDays, Times, Weekdays, Year, Zone};
use crate::spec::{At, Fields, Findings, Mistakes, OneOrMany, Span};

impl Calendar {
    /// Reads `text`, the content of the file at `path`.
    ///
    /// Times are those of the exchange's clocks, `00:00` to `24:00`; what opens on the evening before the date of its
    /// session has ` the day before` after its time. `holidays`, `[extended]` and `[[special_days]]` may be missing;
    /// special days have the usual hours where they name no others.
    ///
    /// ```
    /// # let calendar = r#"
    /// time_zone = "Europe/Berlin"
    /// first_year = 2024
    /// last_year = 2025
    /// weekdays = ["mon", "tue", "wed", "thu", "fri"]
    /// holidays = [2024-01-01, 2024-03-29, 2024-04-01, 2024-05-01, 2024-12-25, 2024-12-26, 2025-01-01]
    ///
    /// [regular]
    /// open = "09:00"
    /// close = "17:30"
    ///
    /// [extended]
    /// open = "08:00"
    /// close = "22:00"
    ///
    /// [[special_days]]
    /// regular = { close = "14:00" }
    /// extended = { close = "20:00" }
    /// dates = [2024-12-30]
    /// # "#;
    /// # tapeflow::calendars::Calendar::read("own.toml".as_ref(), calendar).expect("a calendar");
    /// ```
    ///
    /// # Errors
    ///
    /// All that is wrong with it, by line and column. Whether it makes sense is looked at once it can be read.
    pub fn read(path: &Path, text: &str) -> Result<Calendar, Mistakes> {
        let findings = Findings::default();
        let calendar = Written::read(text, &findings).and_then(|written| written.check(&findings));
        calendar.ok_or_else(|| findings.mistakes(path, text))
    }
}

/// A calendar as it is written.
struct Written {
    zone: Zone,
    first_year: At<Year>,
    last_year: At<Year>,
    weekdays: Weekdays,
    regular: At<Times>,
    extended: Option<At<Times>>,
    holidays: Vec<At<NaiveDate>>,
    special: Vec<At<SpecialDays>>,
}

impl Written {
    fn read(text: &str, findings: &Findings) -> Option<Written> {
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            findings.mistake(&error.span().unwrap_or(0..0), error.message().trim().to_string());
        }
        // Of a text that is no TOML half would be missing.
        if !findings.is_empty() {
            return None;
        }
        let mut fields = Fields::new("the calendar", root.get_ref(), 0..0, findings);
        let written = Written {
            zone: fields.get("time_zone", "the time zone of its hours, as the IANA names it").required().value,
            first_year: fields.get("first_year", "the first year it covers").required(),
            last_year: fields.get("last_year", "the last year it covers").required(),
            weekdays: fields.get("weekdays", "the days of the week with trading").required().value,
            regular: fields.get("regular", "the regular hours").required(),
            extended: fields.get("extended", "the same with those before and after them").optional(),
            holidays: fields.get("holidays", "days without trading").or(OneOrMany(Vec::new())).0,
            special: fields.get("special_days", "days with other hours").or(OneOrMany(Vec::new())).0,
        };
        fields.finish();
        findings.is_empty().then_some(written)
    }

    fn check(self, findings: &Findings) -> Option<Calendar> {
        let years = self.first_year.0..=self.last_year.0;
        if years.is_empty() {
            findings.mistake(&self.last_year.span, format!("the first year, {}, is later", years.start()));
        }
        self.check_dates(&years, findings);
        let usual = usual(&self.regular, self.extended.as_ref(), findings)?;
        let special: Vec<Day> = self.special.iter().map(|days| other(&usual, days, findings)).collect();
        let spans = once(&self.regular.span).chain(self.special.iter().map(|days| &days.span));
        let days: Vec<(&Span, &Day)> = spans.zip(once(&usual).chain(&special)).collect();
        check_days(&days, findings);
        let dates =
            self.special.iter().zip(&special).flat_map(|(days, day)| days.dates.iter().map(|date| (date.value, *day)));
        findings.is_empty().then(|| Calendar {
            zone: self.zone.0,
            years,
            weekdays: self.weekdays.0,
            usual,
            special: dates.collect(),
            holidays: self.holidays.iter().map(|date| date.value).collect(),
        })
    }

    /// Each date stands there once, and means something.
    fn check_dates(&self, years: &RangeInclusive<i32>, findings: &Findings) {
        let mut seen = BTreeSet::new();
        for date in self.holidays.iter().chain(self.special.iter().flat_map(|days| &days.dates)) {
            let At { value: day, span } = date;
            if !seen.insert(*day) {
                findings.mistake(span, format!("{day} is given twice"));
            }
            if !years.is_empty() && !years.contains(&day.year()) {
                let (first, last) = (years.start(), years.end());
                findings.mistake(span, format!("{day} is not in the years that are covered, {first} to {last}"));
            }
            if !self.weekdays.0.contains(&day.weekday()) {
                findings.mistake(span, format!("{day} is a {}, which is no day of trading", day.format("%A")));
            }
        }
    }
}

/// The hours of most days.
fn usual(regular: &At<Times>, extended: Option<&At<Times>>, findings: &Findings) -> Option<Day> {
    let complete = |times: &At<Times>| {
        let trading = times.open.zip(times.close).map(|(open, close)| Trading { open, close });
        if trading.is_none() {
            findings.mistake(&times.span, "hours need `open` and `close`");
        }
        trading
    };
    // Both are looked at before one is missed.
    let (regular, extended) = (complete(regular), extended.map(complete));
    Some(Day { regular: regular?, extended: extended.map_or(Some(None), |trading| trading.map(Some))? })
}

/// The hours of special days.
fn other(usual: &Day, days: &At<SpecialDays>, findings: &Findings) -> Day {
    if let (None, Some(times)) = (usual.extended, &days.extended) {
        findings.mistake(&times.span, "there are no extended hours on other days");
    }
    let day = Day {
        regular: changed(usual.regular, days.regular.as_ref()),
        extended: usual.extended.map(|trading| changed(trading, days.extended.as_ref())),
    };
    if day == *usual {
        findings.mistake(&days.span, "these days have the same hours as others");
    }
    day
}

fn changed(usual: Trading, times: Option<&At<Times>>) -> Trading {
    let (open, close) = times.map_or((None, None), |times| (times.open, times.close));
    Trading { open: open.unwrap_or(usual.open), close: close.unwrap_or(usual.close) }
}

/// Each of these days makes sense, also as one after any other.
fn check_days(days: &[(&Span, &Day)], findings: &Findings) {
    let latest = days.iter().map(|(_, day)| day.whole().close).max().unwrap_or_default();
    for (span, day) in days {
        for message in day.mistakes(latest) {
            findings.mistake(span, message);
        }
    }
}
