use std::path::Path;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Weekday};
use chrono_tz::Tz;

use super::*;

const HOUR: i64 = 3_600_000_000_000;
const DAY: i64 = 24 * HOUR;
const ALL: &str = "[\"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\", \"sun\"]";

fn sessions(name: &str, hours: Hours) -> Sessions {
    Calendar::named(name).expect(name).sessions(hours).expect("hours")
}

fn new_york(hours: Hours) -> Sessions {
    sessions("XNYS", hours)
}

/// Nanoseconds since 1970 of an instant in UTC.
fn utc(text: &str) -> i64 {
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").expect(text);
    time.and_utc().timestamp_nanos_opt().expect("near")
}

/// What the clocks show at an instant, which is not how sessions are made.
fn clocks(zone: Tz, time: i64) -> NaiveDateTime {
    DateTime::from_timestamp_nanos(time).with_timezone(&zone).naive_local()
}

fn date(session: &Session) -> NaiveDate {
    NaiveDate::from_epoch_days(session.date).expect("a date")
}

fn read(text: &str) -> Calendar {
    Calendar::read(Path::new("own.toml"), text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// A calendar of these regular hours on all days, with more lines before them.
fn own(zone: &str, years: (i32, i32), (open, close): (&str, &str), more: &str) -> String {
    format!(
        "time_zone = \"{zone}\"\nfirst_year = {}\nlast_year = {}\n\
         weekdays = {ALL}\n{more}\n\
         [regular]\nopen = \"{open}\"\nclose = \"{close}\"\n",
        years.0, years.1
    )
}

#[test]
fn sessions_rise_and_do_not_overlap() {
    for name in Calendar::names() {
        for sessions in [Hours::Regular, Hours::Extended].iter().filter_map(|hours| {
            let calendar = Calendar::named(name).expect(name);
            calendar.sessions(*hours)
        }) {
            let all: Vec<&Session> = sessions.iter().collect();
            assert!(all.iter().all(|session| session.open < session.close), "{name}");
            assert!(all.windows(2).all(|two| two[0].date < two[1].date && two[0].close <= two[1].open), "{name}");
        }
    }
}

#[test]
fn new_york_opens_at_half_past_nine_on_its_clocks_and_never_on_a_weekend() {
    let time = |hour, minute| NaiveTime::from_hms_opt(hour, minute, 0).expect("a time");
    let zone = chrono_tz::America::New_York;
    for (regular, extended) in new_york(Hours::Regular).iter().zip(new_york(Hours::Extended).iter()) {
        let date = date(regular);
        assert!(!matches!(date.weekday(), Weekday::Sat | Weekday::Sun), "{date}");
        assert_eq!(clocks(zone, regular.open), date.and_time(time(9, 30)));
        assert_eq!(clocks(zone, extended.open), date.and_time(time(4, 0)));
        let close = clocks(zone, regular.close);
        assert!([time(13, 0), time(14, 0), time(16, 0)].map(|time| date.and_time(time)).contains(&close), "{close}");
        // After-hours are as long as ever where it closes early.
        assert_eq!((extended.date, extended.close), (regular.date, regular.close + 4 * HOUR));
    }
}

#[test]
fn summer_time_moves_the_instants_and_not_the_length() {
    let sessions = new_york(Hours::Regular);
    for (day, open, close) in [
        ("2006-03-31", "14:30", "21:00"),
        ("2006-04-03", "13:30", "20:00"),
        ("2024-03-08", "14:30", "21:00"),
        ("2024-03-11", "13:30", "20:00"),
        ("2024-11-01", "13:30", "20:00"),
        ("2024-11-04", "14:30", "21:00"),
    ] {
        let (open, close) = (utc(&format!("{day} {open}")), utc(&format!("{day} {close}")));
        let Found::In(session) = sessions.at(open) else { panic!("closed on {day}") };
        assert_eq!((date(&session).to_string().as_str(), session.open, session.close), (day, open, close));
        assert_eq!(sessions.at(close - 1), Found::In(session));
        assert_eq!([sessions.at(open - 1), sessions.at(close)], [Found::Closed; 2]);
    }
}

#[test]
fn what_was_closed_has_no_session() {
    let sessions = new_york(Hours::Extended);
    for day in
        ["1994-04-27", "2001-09-11", "2004-06-11", "2007-01-02", "2012-10-29", "2018-12-05", "2022-06-20", "2025-01-09"]
    {
        assert_eq!(sessions.at(utc(&format!("{day} 17:00"))), Found::Closed, "{day}");
    }
    // Before 2022 Juneteenth was a day like others.
    assert!(matches!(sessions.at(utc("2020-06-19 17:00")), Found::In(_)));
    let next = sessions.after(utc("2001-09-10 20:00")).expect("a session");
    assert_eq!((date(&next).to_string().as_str(), next.open), ("2001-09-17", utc("2001-09-17 08:00")));
}

#[test]
fn years_that_are_not_covered_are_not_closed() {
    let sessions = new_york(Hours::Regular);
    assert_eq!(Calendar::named("XNYS").map(|calendar| calendar.years()), Ok(1990..=2035));
    // Midnight in New York.
    assert_eq!(sessions.at(utc("1990-01-01 05:00") - 1), Found::NotCovered);
    assert_eq!(sessions.at(utc("1990-01-01 05:00")), Found::Closed);
    assert_eq!(sessions.at(utc("2036-01-01 05:00") - 1), Found::Closed);
    assert_eq!(sessions.at(utc("2036-01-01 05:00")), Found::NotCovered);
    assert_eq!([i64::MIN, i64::MAX].map(|time| sessions.at(time)), [Found::NotCovered; 2]);
    assert_eq!(sessions.after(utc("2035-12-31 17:00")), None);
}

#[test]
fn always_open_means_days_in_utc() {
    let sessions = sessions("24/7", Hours::Regular);
    assert!(sessions.iter().enumerate().all(|(day, session)| {
        let day = i32::try_from(day).expect("few");
        *session == Session { date: day, open: i64::from(day) * DAY, close: i64::from(day + 1) * DAY }
    }));
    assert_eq!(sessions.at(-1), Found::NotCovered);
    assert!(matches!(sessions.at(utc("2099-12-31 23:59")), Found::In(_)));
    assert!(Calendar::named("24/7").expect("24/7").sessions(Hours::Extended).is_none());
}

#[test]
fn names_are_known() {
    assert_eq!(Calendar::names().collect::<Vec<_>>(), ["XNYS", "XNAS", "24/7"]);
    assert_eq!(Calendar::named("XNAS"), Calendar::named("XNYS"));
    let unknown = |name| Calendar::named(name).expect_err(name);
    assert_eq!(unknown("XNSY"), "there is no calendar `XNSY`; did you mean `XNYS`?");
    assert_eq!(unknown("tokyo"), "there is no calendar `tokyo`; known: XNYS, XNAS, 24/7");
}

#[test]
fn a_session_may_open_on_the_evening_before() {
    let text = own("America/Chicago", (2024, 2024), ("17:00 the day before", "16:00"), "");
    let sessions = read(&text).sessions(Hours::Regular).expect("regular");
    let Found::In(session) = sessions.at(utc("2024-01-03 23:00")) else { panic!("closed") };
    assert_eq!((date(&session).to_string().as_str(), session.close), ("2024-01-04", utc("2024-01-04 22:00")));
    // The year begins and ends with them too.
    assert!(
        matches!(sessions.at(utc("2023-12-31 23:00")), Found::In(session) if session.open == utc("2023-12-31 23:00"))
    );
    assert_eq!(sessions.at(utc("2024-12-31 22:59")), Found::Closed);
    assert_eq!(sessions.at(utc("2024-12-31 23:00")), Found::NotCovered);
}

#[test]
fn days_without_a_gap_stay_so_when_the_clocks_move() {
    for zone in ["America/New_York", "America/Sao_Paulo", "Asia/Beirut", "Australia/Lord_Howe", "America/Nuuk"] {
        for (open, close) in [("00:00", "24:00"), ("02:30 the day before", "02:30"), ("17:00 the day before", "17:00")]
        {
            let sessions = read(&own(zone, (1990, 2035), (open, close), "")).sessions(Hours::Regular).expect("regular");
            let all: Vec<&Session> = sessions.iter().collect();
            assert_eq!(all.len(), 16_801, "{zone}");
            assert!(all.windows(2).all(|two| two[0].close == two[1].open), "{zone}");
            let lengths = all.iter().map(|session| TimeDelta::nanoseconds(session.close - session.open).num_minutes());
            assert!(lengths.clone().any(|minutes| minutes < 1440) && lengths.clone().any(|minutes| minutes > 1440));
            assert!(lengths.clone().all(|minutes| (1380..=1500).contains(&minutes)), "{zone}");
        }
    }
}

#[test]
fn times_that_clocks_skip_or_show_twice() {
    let session = |zone, (open, close), day: &str| {
        let year = day[..4].parse().expect("a year");
        let sessions = read(&own(zone, (year, year), (open, close), "")).sessions(Hours::Regular).expect("regular");
        sessions.iter().find(|session| date(session).to_string() == day).map(|session| (session.open, session.close))
    };
    let new_york = |hours, day| session("America/New_York", hours, day);
    // 02:00 to 03:00 is skipped: what would open then does so when the clocks go on.
    let skipped = utc("2024-03-10 07:00");
    assert_eq!(new_york(("02:30", "04:00"), "2024-03-10"), Some((skipped, utc("2024-03-10 08:00"))));
    assert_eq!(new_york(("02:10", "02:40"), "2024-03-10"), None);
    // 01:00 to 02:00 comes twice: the first counts.
    assert_eq!(new_york(("01:30", "02:30"), "2024-11-03"), Some((utc("2024-11-03 05:30"), utc("2024-11-03 07:30"))));
    assert_eq!(session("Pacific/Apia", ("09:00", "17:00"), "2011-12-30"), None, "a day that was skipped");
}

#[test]
fn special_days_change_what_they_name() {
    let special = "[[special_days]]\nregular = { open = \"10:00\" }\ndates = [2024-01-03]\n";
    let calendar = read(&(own("UTC", (2024, 2024), ("09:00", "17:00"), "holidays = 2024-01-02") + special));
    let sessions = calendar.sessions(Hours::Regular).expect("regular");
    let shown: Vec<_> = sessions.iter().take(3).map(|session| (session.open, session.close)).collect();
    let expected = [("01 09:00", "01 17:00"), ("03 10:00", "03 17:00"), ("04 09:00", "04 17:00")];
    assert_eq!(
        shown,
        expected.map(|(open, close)| (utc(&format!("2024-01-{open}")), utc(&format!("2024-01-{close}"))))
    );
}

/// The mistakes of a file, as `line:column message`.
fn mistakes(text: &str) -> Vec<String> {
    let mistakes = Calendar::read(Path::new("own.toml"), text).expect_err("mistakes");
    mistakes.list.iter().map(|at| format!("{}:{} {}", at.line, at.column, at.message)).collect()
}

#[test]
fn all_that_cannot_be_read_is_told_at_once() {
    let text = r#"
time_zone = "America/NewYork"
first_year = 1234
weekdays = ["mon", "tuesdey"]
holidays = [2024-12-25, "2024-12-26", 2024-12-27T10:00:00]
holiday = []
[regular]
open = "9:30"
clsoe = "16:00"
[[special_days]]
regular = "13:00"
"#;
    let expected = [
        "1:1 the calendar needs `last_year`",
        "2:13 `America/NewYork` is not a time zone of the IANA database like America/New_York; \
         did you mean `America/New_York`?",
        "3:14 expected a year from 1900 to 2099, found the number 1234",
        "4:20 `tuesdey` is not a weekday; known: mon, tue, wed, thu, fri, sat, sun",
        "5:25 expected a date like 2024-12-25, without quotes, found the text \"2024-12-26\"",
        "5:39 `2024-12-27T10:00:00` is not a date like 2024-12-25",
        "6:1 the calendar has no key `holiday`; did you mean `holidays`?",
        "8:8 `9:30` is not a time like 09:30, 24:00 or 18:00 the day before",
        "9:1 a table of hours has no key `clsoe`; did you mean `close`?",
        "10:1 `special_days` needs `dates`",
        "11:11 expected a table like { open = \"09:30\", close = \"16:00\" }, found the text \"13:00\"",
    ];
    assert_eq!(mistakes(text), expected);
    let weekdays = own("UTC", (2024, 2024), ("09:00", "17:00"), "").replace(ALL, "[]");
    assert_eq!(mistakes(&weekdays), ["4:12 expected at least one weekday, found a list"]);
    assert!(mistakes("first_year = 2024-02-30").iter().all(|mistake| mistake.starts_with("1:")));
}

#[test]
fn all_that_makes_no_sense_is_told_at_once() {
    let text = r#"
time_zone = "America/New_York"
first_year = 2024
last_year = 2024
weekdays = ["mon", "tue", "wed", "thu", "fri"]
holidays = [2024-07-04, 2024-07-06, 2024-07-04, 2023-12-25]
[regular]
open = "09:30"
close = "16:00"
[[special_days]]
regular = { close = "09:30" }
dates = [2024-07-04]
[[special_days]]
extended = { close = "17:00" }
dates = [2024-07-05]
[[special_days]]
regular = { open = "12:00 the day before" }
dates = [2024-07-08]
"#;
    let expected = [
        "6:25 2024-07-06 is a Saturday, which is no day of trading",
        "6:37 2024-07-04 is given twice",
        "6:49 2023-12-25 is not in the years that are covered, 2024 to 2024",
        "10:1 09:30 to 09:30: this ends before it begins",
        "12:10 2024-07-04 is given twice",
        "13:1 these days have the same hours as others",
        "14:12 there are no extended hours on other days",
        "16:1 12:00 the day before to 16:00: this begins before the session of the day before has ended, at 16:00",
    ];
    assert_eq!(mistakes(text), expected);
}

#[test]
fn hours_that_make_no_sense_are_told() {
    let of = |years, hours, more: &str| mistakes(&(own("UTC", years, hours, "") + more));
    let (year, day) = ((2024, 2024), ("09:00", "17:00"));
    assert_eq!(of((2024, 2023), day, ""), ["3:13 the first year, 2024, is later"]);
    assert_eq!(of(year, ("17:00", "09:00"), ""), ["6:1 17:00 to 09:00: this ends before it begins"]);
    for (open, close) in [("10:00", "18:00"), ("08:00", "16:00")] {
        let extended = format!("[extended]\nopen = \"{open}\"\nclose = \"{close}\"\n");
        let message =
            format!("6:1 the extended hours, {open} to {close}, leave out some of the regular ones, 09:00 to 17:00");
        assert_eq!(of(year, day, &extended), [message]);
    }
    assert_eq!(of(year, day, "[extended]\nopen = \"08:00\"\n"), ["9:1 hours need `open` and `close`"]);
}
