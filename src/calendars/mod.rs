//! When exchanges trade: the calendars that are built in, and those of users.
//!
//! A [`Calendar`] is the rules of a file: a time zone, hours, weekdays, holidays and days with other hours. Its
//! [`Sessions`] are what an operator asks for each row: the intervals of trading, in order, as instants.
//!
//! ```
//! use tapeflow::calendars::{Calendar, Found, Hours};
//!
//! let sessions = Calendar::named("XNYS")?.sessions(Hours::Regular).ok_or("no such hours")?;
//! let noon = 1_720_022_400_000_000_000; // 2024-07-03 12:00 in New York
//! let Found::In(session) = sessions.at(noon) else { return Err("closed".to_string()) };
//! assert_eq!(session.date, 19_907); // 2024-07-03
//! assert_eq!((session.close - session.open) / 3_600_000_000_000, 3); // it closed at 13:00
//! # Ok::<(), String>(())
//! ```

mod calendar;
mod day;
mod read;
mod sessions;
#[cfg(test)]
mod tests;
mod values;

pub use calendar::Calendar;
pub use day::Hours;
pub use sessions::{Found, Session, Sessions};
