//! The sessions of XNYS against the package exchange_calendars: `golden/calendars/xnys.txt`, written by `generate.py`.

use std::collections::{BTreeMap, BTreeSet};
use std::{fs, path::Path};

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Weekday};
use tapeflow::calendars::{Calendar, Hours, Session};

/// What the golden file says of all weekdays.
struct Golden {
    closed: BTreeSet<NaiveDate>,
    /// From this day on it opens and closes then, in UTC.
    hours: BTreeMap<NaiveDate, (NaiveTime, NaiveTime)>,
}

impl Golden {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/calendars/xnys.txt");
        let mut golden = Golden { closed: BTreeSet::new(), hours: BTreeMap::new() };
        for line in fs::read_to_string(path).expect("a golden file").lines() {
            let date = |text: &str| text.parse::<NaiveDate>().expect("a date");
            let time = |text: &str| NaiveTime::parse_from_str(text, "%H:%M").expect("a time");
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["closed", ref days @ ..] => golden.closed.extend(days.iter().map(|day| date(day))),
                [day, open, close] => drop(golden.hours.insert(date(day), (time(open), time(close)))),
                _ => panic!("{line}"),
            }
        }
        golden
    }

    fn session(&self, date: NaiveDate) -> Option<Session> {
        let weekend = matches!(date.weekday(), Weekday::Sat | Weekday::Sun);
        let (_, (open, close)) = self.hours.range(..=date).next_back()?;
        let instant = |time: NaiveDateTime| time.and_utc().timestamp_nanos_opt().expect("near");
        let (open, close) = (instant(date.and_time(*open)), instant(date.and_time(*close)));
        (!weekend && !self.closed.contains(&date)).then(|| Session { date: date.to_epoch_days(), open, close })
    }
}

#[test]
fn every_session_from_1990_to_2035_is_as_expected() {
    let golden = Golden::read();
    let days = NaiveDate::from_ymd_opt(1990, 1, 1).expect("a date").iter_days();
    let expected: Vec<Session> =
        days.take_while(|day| day.year() < 2036).filter_map(|day| golden.session(day)).collect();
    assert_eq!(expected.len(), 11_577);
    for name in ["XNYS", "XNAS"] {
        let sessions = Calendar::named(name).expect(name).sessions(Hours::Regular).expect("regular hours");
        for (session, expected) in sessions.iter().zip(&expected) {
            assert_eq!(session, expected, "{name} {:?}", NaiveDate::from_epoch_days(expected.date));
        }
        assert_eq!(sessions.iter().count(), expected.len(), "{name}");
    }
}
