//! The values of a calendar file.

use std::ops::RangeInclusive;

use chrono::{NaiveDate, Weekday};
use chrono_tz::{TZ_VARIANTS, Tz};
use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use super::day::Time;
use crate::spec::{At, Fields, Findings, FromToml, OneOrMany, did_you_mean, expected};

/// Reads a text as a value, or says why it is none.
fn parse<T>(
    value: &Spanned<DeValue<'_>>,
    findings: &Findings,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let text = String::from_toml(value, findings)?;
    parse(&text).map_err(|message| findings.mistake(&value.span(), message)).ok()
}

impl FromToml for Time {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        parse(value, findings, str::parse)
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]{2}:[0-9]{2}( the day before)?$" })
    }
}

/// A time zone.
#[derive(Clone, Copy, Default)]
pub(super) struct Zone(pub(super) Tz);

impl FromToml for Zone {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        parse(value, findings, |name| {
            name.parse().map(Zone).map_err(|_| {
                let near = did_you_mean(name, TZ_VARIANTS.iter().map(|zone| zone.name()));
                format!("`{name}` is not a time zone of the IANA database like America/New_York{near}")
            })
        })
    }
    fn schema() -> Json {
        String::schema()
    }
}

/// A year that can be covered. Instants in nanoseconds have room for more, but the rules of summer time end there.
pub(super) struct Year(pub(super) i32);

const YEARS: RangeInclusive<i32> = 1900..=2099;

impl Default for Year {
    fn default() -> Self {
        Year(*YEARS.start())
    }
}

impl FromToml for Year {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        let year = value.get_ref().as_integer().and_then(|year| i32::from_str_radix(year.as_str(), year.radix()).ok());
        let (first, last) = YEARS.into_inner();
        let wrong = || expected(value, findings, &format!("a year from {first} to {last}"));
        year.filter(|year| YEARS.contains(year)).map(Year).or_else(wrong)
    }
    fn schema() -> Json {
        json!({ "type": "integer", "minimum": YEARS.start(), "maximum": YEARS.end() })
    }
}

/// Days of the week, at least one.
#[derive(Default)]
pub(super) struct Weekdays(pub(super) Vec<Weekday>);

impl FromToml for Weekdays {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        let OneOrMany(days) = OneOrMany::<Weekday>::from_toml(value, findings)?;
        if days.is_empty() {
            return expected(value, findings, "at least one weekday");
        }
        Some(Weekdays(days.into_iter().map(|day| day.value).collect()))
    }
    fn schema() -> Json {
        OneOrMany::<Weekday>::schema()
    }
}

const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl FromToml for Weekday {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        parse(value, findings, |word| {
            word.parse().map_err(|_| format!("`{word}` is not a weekday{}", did_you_mean(word, WEEKDAYS)))
        })
    }
    fn schema() -> Json {
        json!({ "enum": WEEKDAYS })
    }
}

impl FromToml for NaiveDate {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        let DeValue::Datetime(written) = value.get_ref() else {
            return expected(value, findings, "a date like 2024-12-25, without quotes");
        };
        let day = written.date.filter(|_| written.time.is_none());
        let date = day.and_then(|day| NaiveDate::from_ymd_opt(day.year.into(), day.month.into(), day.day.into()));
        if date.is_none() {
            findings.mistake(&value.span(), format!("`{written}` is not a date like 2024-12-25"));
        }
        date
    }
    fn schema() -> Json {
        json!({ "type": "string", "format": "date" })
    }
}

/// Hours, or only what is other than usual.
#[derive(Default)]
pub(super) struct Times {
    pub(super) open: Option<Time>,
    pub(super) close: Option<Time>,
}

impl FromToml for Times {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            return expected(value, findings, "a table like { open = \"09:30\", close = \"16:00\" }");
        };
        let mut fields = Fields::new("a table of hours", table, value.span(), findings);
        let times = Times {
            open: fields.get("open", "when trading begins").optional().map(|time| time.value),
            close: fields.get("close", "when it ends").optional().map(|time| time.value),
        };
        fields.finish();
        Some(times)
    }
    fn schema() -> Json {
        json!({ "type": "object", "properties": { "open": Time::schema(), "close": Time::schema() } })
    }
}

/// Days with other hours than usual.
pub(super) struct SpecialDays {
    pub(super) regular: Option<At<Times>>,
    pub(super) extended: Option<At<Times>>,
    pub(super) dates: Vec<At<NaiveDate>>,
}

impl FromToml for SpecialDays {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            return expected(value, findings, "special days, written as [[special_days]]");
        };
        let mut fields = Fields::new("`special_days`", table, value.span(), findings);
        let days = SpecialDays {
            regular: fields.get("regular", "what of the regular hours is other than usual").optional(),
            extended: fields.get("extended", "what of the extended hours is other than usual").optional(),
            dates: fields.get::<OneOrMany<NaiveDate>>("dates", "the days").required().value.0,
        };
        fields.finish();
        Some(days)
    }
    fn schema() -> Json {
        let dates = OneOrMany::<NaiveDate>::schema();
        let properties = json!({ "regular": Times::schema(), "extended": Times::schema(), "dates": dates });
        json!({ "type": "object", "properties": properties, "required": ["dates"] })
    }
}
