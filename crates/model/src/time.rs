//! Instants, always UTC, always whole milliseconds; and calendar dates, which are in no zone.

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, SecondsFormat};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds in a day of exactly 24 hours.
pub const DAY_MS: i64 = 86_400_000;

/// An instant in milliseconds since 1970-01-01T00:00:00Z; negative before it. Leap seconds do not
/// exist.
///
/// Serialises as one number, turned by one step so that `MAX`, which rows hold often, is 0 and
/// takes one byte instead of ten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let turned = if self.0 < 0 { self.0 } else { self.0.checked_add(1).unwrap_or(0) };
        turned.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let turned = i64::deserialize(deserializer)?;
        Ok(match turned {
            0 => Timestamp::MAX,
            turned if turned < 0 => Timestamp(turned),
            turned => Timestamp(turned - 1),
        })
    }
}

/// The text is not an instant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no RFC 3339 instant, plain date or epoch milliseconds")]
pub struct TimestampParseError(pub String);

impl Timestamp {
    /// Earlier than every instant a record can carry.
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    /// Later than every instant a record can carry; means "never" for a next instant.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// Reads RFC 3339 (any offset, `+0000` too, `T` or blank between date and time) or a plain
    /// date, which is midnight UTC.
    ///
    /// # Errors
    /// Where the text is neither; the record that carries it must be rejected. A date and a time
    /// without a zone name no instant.
    pub fn parse(text: &str) -> Result<Timestamp, TimestampParseError> {
        let text = text.trim();
        let instant = DateTime::parse_from_rfc3339(text).ok().or_else(|| {
            let formats = ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z"];
            formats.iter().find_map(|format| DateTime::parse_from_str(text, format).ok())
        });
        if let Some(instant) = instant {
            return Ok(Timestamp(instant.timestamp_millis()));
        }
        Date::parse(text).map(Date::midnight_utc).ok_or_else(|| TimestampParseError(text.to_owned()))
    }

    /// This instant moved by `ms`, clamped to the range.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds; outside chrono's range the bare number of milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_timestamp_millis(self.0) {
            Some(instant) => f.write_str(&instant.to_rfc3339_opts(SecondsFormat::Millis, true)),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A calendar date, in no zone, as the number of days since 1970-01-01; the years 1 to 9999.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Date(i32);

impl Date {
    /// `None` where the calendar has no such day.
    pub fn new(year: i64, month: i64, day: i64) -> Option<Date> {
        let year = i32::try_from(year).ok().filter(|year| (1..=9999).contains(year))?;
        Date::of(NaiveDate::from_ymd_opt(year, u32::try_from(month).ok()?, u32::try_from(day).ok()?)?)
    }

    /// The date `days` days after 1970-01-01.
    pub fn of_days(days: i64) -> Option<Date> {
        let date = Date(i32::try_from(days).ok()?);
        (Date::new(1, 1, 1)? <= date && date <= Date::new(9999, 12, 31)?).then_some(date)
    }

    fn of(date: NaiveDate) -> Option<Date> {
        i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok().map(Date)
    }

    /// Reads `2026-11-01`.
    pub fn parse(text: &str) -> Option<Date> {
        let text = text.trim();
        if text.len() != 10 {
            return None;
        }
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        Date::new(date.year().into(), date.month().into(), date.day().into())
    }

    /// Reads a plain date, or the date part of a date with a time, in a zone or none, as written.
    pub fn parse_written(text: &str) -> Option<Date> {
        let text = text.trim();
        let Some((date, time)) = text.split_at_checked(10).filter(|(_, time)| !time.is_empty()) else {
            return Date::parse(text);
        };
        let time = time.strip_prefix(['T', 't', ' '])?;
        let zoned = Timestamp::parse(&format!("{date}T{time}")).is_ok();
        (zoned || Timestamp::parse(&format!("{date}T{time}Z")).is_ok()).then(|| Date::parse(date))?
    }

    /// The first instant of the date in UTC.
    pub fn midnight_utc(self) -> Timestamp {
        Timestamp(i64::from(self.0) * DAY_MS)
    }

    /// Year, month and day of the month.
    pub fn parts(self) -> (i64, i64, i64) {
        let date = self.calendar();
        (i64::from(date.year()), i64::from(date.month()), i64::from(date.day()))
    }

    /// The date for arithmetic on calendars.
    pub fn calendar(self) -> NaiveDate {
        NaiveDate::default() + chrono::TimeDelta::days(i64::from(self.0))
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.calendar().format("%Y-%m-%d"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_sources_write() {
        let table = [
            ("1970-01-01T00:00:01Z", Some(1_000)),
            ("1970-01-01T01:00:00+01:00", Some(0)),
            ("1970-01-02", Some(DAY_MS)),
            ("1970-01-01T00:00:00.123Z", Some(123)),
            ("1970-01-01 00:00:02Z", Some(2_000)),
            ("1970-01-01T00:00:00.123+0000", Some(123)),
            ("1970-01-01T01:00:00+01", Some(0)),
            ("1970-01-01T00:00:00.123", None),
            ("1970-01-01 00:00:02", None),
            ("2026-02-30", None),
            ("soon", None),
        ];
        for (text, expected) in table {
            assert_eq!(Timestamp::parse(text).ok().map(|t| t.0), expected, "{text}");
        }
    }

    #[test]
    fn dates_are_read_as_they_are_written() {
        for (text, expected) in [
            ("2026-11-01", Some("2026-11-01")),
            ("2026-11-01T23:59:59-08:00", Some("2026-11-01")),
            ("2026-11-01T23:59:59.5", Some("2026-11-01")),
            ("2026-11-01 00:00:00+0000", Some("2026-11-01")),
            ("2024-02-29", Some("2024-02-29")),
            ("2026-02-29", None),
            ("2026-11-01T25:00:00Z", None),
            ("2026-11-01x", None),
            ("2026-11", None),
            ("0000-01-01", None),
            ("1793491200000", None),
        ] {
            assert_eq!(Date::parse_written(text).map(|date| date.to_string()).as_deref(), expected, "{text}");
        }
        assert_eq!(Date::of_days(-1).map(Date::parts), Some((1969, 12, 31)));
        assert_eq!(Date::of_days(i64::from(i32::MAX)), None);
    }

    #[test]
    fn shown_text_reads_back() {
        let instant = Timestamp(1_732_400_000_123);
        assert_eq!(Timestamp::parse(&instant.to_string()), Ok(instant));
    }

    #[test]
    fn every_instant_is_read_as_it_was_written() {
        for instant in [i64::MIN, -1, 0, 1, 1_780_000_000_000, i64::MAX - 1, i64::MAX].map(Timestamp) {
            let written = serde_json::to_string(&instant).expect("a number");
            assert_eq!(serde_json::from_str::<Timestamp>(&written).expect("our own text"), instant, "{written}");
        }
        assert_eq!(serde_json::to_string(&Timestamp::MAX).expect("a number"), "0");
    }
}
