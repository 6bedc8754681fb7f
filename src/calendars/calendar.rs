//! The rules of a calendar, and the sessions that follow from them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;

use chrono::{Datelike, NaiveDate, NaiveDateTime, TimeZone, Weekday};
use chrono_tz::{GapInfo, Tz};

use super::day::{Day, Hours, Trading};
use super::sessions::{Session, Sessions};
use crate::spec::did_you_mean;

/// The calendars that are built in: name, file and its text.
const BUILT_IN: &[(&str, &str, &str)] = &[
    ("XNYS", "xnys.toml", include_str!("xnys.toml")),
    ("XNAS", "xnys.toml", include_str!("xnys.toml")),
    ("24/7", "24-7.toml", include_str!("24-7.toml")),
];

/// When an exchange trades.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    pub(super) zone: Tz,
    pub(super) years: RangeInclusive<i32>,
    pub(super) weekdays: Vec<Weekday>,
    pub(super) usual: Day,
    pub(super) special: BTreeMap<NaiveDate, Day>,
    pub(super) holidays: BTreeSet<NaiveDate>,
}

impl Calendar {
    /// The names of the calendars that are built in.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, ..)| *name)
    }

    /// The calendar of that name.
    ///
    /// # Errors
    ///
    /// There is none of that name; the message tells those there are.
    pub fn named(name: &str) -> Result<Calendar, String> {
        let (_, file, text) = BUILT_IN.iter().find(|(known, ..)| *known == name).ok_or_else(|| {
            let known = did_you_mean(name, Calendar::names());
            format!("there is no calendar `{name}`{known}")
        })?;
        Calendar::read(Path::new(file), text).map_err(|mistakes| mistakes.to_string())
    }

    /// The years it covers; of others it knows nothing.
    pub fn years(&self) -> RangeInclusive<i32> {
        self.years.clone()
    }

    /// All sessions of the years it covers; nothing where extended hours are meant and it has none. This takes
    /// milliseconds: do it once.
    pub fn sessions(&self, hours: Hours) -> Option<Sessions> {
        let usual = self.usual.trading(hours)?;
        let (first, last) = self.years.clone().into_inner();
        let begin = |year| NaiveDate::from_ymd_opt(year, 1, 1);
        // Where sessions open on the evening before, so do years.
        let turn = |date| instant(self.zone, usual.open.on(date)?.min(date.into()));
        let (first, end) = (begin(first)?, begin(last + 1)?);
        let dates = first.iter_days().take_while(|date| *date < end);
        let sessions = dates.filter_map(|date| self.session(date, self.day(date)?.trading(hours)?));
        Some(Sessions::new(sessions.collect(), turn(first)?..turn(end)?))
    }

    /// The hours of a day, where it is one of trading.
    fn day(&self, date: NaiveDate) -> Option<&Day> {
        let trades = self.weekdays.contains(&date.weekday()) && !self.holidays.contains(&date);
        trades.then(|| self.special.get(&date).unwrap_or(&self.usual))
    }

    /// None where the clocks skip all of it.
    fn session(&self, date: NaiveDate, Trading { open, close }: Trading) -> Option<Session> {
        let (open, close) = (instant(self.zone, open.on(date)?)?, instant(self.zone, close.on(date)?)?);
        (open < close).then_some(Session { date: date.to_epoch_days(), open, close })
    }
}

/// The first instant at which the clocks of `zone` show `local`, in nanoseconds since 1970; where they skip it, that at
/// which they do.
fn instant(zone: Tz, local: NaiveDateTime) -> Option<i64> {
    let shown = zone.from_local_datetime(&local).earliest();
    shown.or_else(|| GapInfo::new(&local, &zone)?.end)?.timestamp_nanos_opt()
}
