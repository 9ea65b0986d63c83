//! Instants, always UTC, always whole milliseconds.

use std::fmt;

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds in a day of exactly 24 hours.
pub const DAY_MS: i64 = 86_400_000;

/// An instant in milliseconds since 1970-01-01T00:00:00Z; negative before it. Leap seconds do not exist.
///
/// Serialises as one number, turned by one step so that `MAX`, which rows hold often, is 0 and takes one byte instead of ten.
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

/// The text is no instant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no RFC 3339 instant, plain date or epoch milliseconds")]
pub struct TimestampParseError(pub String);

impl Timestamp {
    /// Earlier than every instant a record can carry.
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    /// Later than every instant a record can carry; "never" where a next instant is asked for.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// Reads RFC 3339 (any offset, `T` or blank between date and time; without offset: UTC) or a plain date, which is midnight UTC.
    ///
    /// # Errors
    /// Where the text is neither; the record that carries it is to be rejected.
    pub fn parse(text: &str) -> Result<Timestamp, TimestampParseError> {
        let text = text.trim();
        if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
            return Ok(Timestamp(instant.timestamp_millis()));
        }
        if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
            return Ok(Timestamp(date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis()));
        }
        for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"] {
            if let Ok(local) = NaiveDateTime::parse_from_str(text, format) {
                return Ok(Timestamp(local.and_utc().timestamp_millis()));
            }
        }
        if let Ok(instant) = DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z") {
            return Ok(Timestamp(instant.timestamp_millis()));
        }
        Err(TimestampParseError(text.to_owned()))
    }

    /// This instant moved by `ms`, held at the ends of the range.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_sources_write() {
        let table = [
            ("1970-01-01T00:00:01Z", Some(1_000)),
            ("1970-01-01T01:00:00+01:00", Some(0)),
            ("1970-01-02", Some(DAY_MS)),
            ("1970-01-01T00:00:00.123", Some(123)),
            ("1970-01-01 00:00:02", Some(2_000)),
            ("2026-02-30", None),
            ("soon", None),
        ];
        for (text, expected) in table {
            assert_eq!(Timestamp::parse(text).ok().map(|t| t.0), expected, "{text}");
        }
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
