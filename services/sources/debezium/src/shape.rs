//! What the values of columns mean: the semantic types of Debezium and Kafka Connect, and how their
//! values become those of contract records. Pure.
//!
//! ```text
//! decimals                 a number with all its digits
//! dates                    `2026-11-01`
//! date-times without zone  an instant, RFC 3339: read in the configured zone, UTC by default
//! date-times with zone     an instant, RFC 3339
//! times of day             `13:05:00` with the fraction that is there
//! JSON columns             the value that the text spells
//! bits                     a number, up to 64 of them
//! everything else          as it is
//! ```
//!
//! A date or an instant outside the years 1 to 9999 is absent: PostgreSQL's `infinity` arrives as
//! such a one, and means no bound.

mod schemas;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use millrace_model::{Date, Timestamp, number};
use serde_json::Value;

const MILLI: i64 = 1_000;
const MICRO: i64 = 1_000_000;
const NANO: i64 = 1_000_000_000;

/// The meaning of a column's values beyond their bare type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Meaning {
    /// The value is what it looks like.
    #[default]
    AsIs,
    /// Unscaled bytes, two's complement, big-endian.
    Decimal { scale: u32 },
    /// `{scale, value}`, a scale of its own for each value.
    VariableDecimal,
    /// Days since 1970.
    Date,
    /// A text that begins with a date.
    IsoDate,
    /// Units since midnight.
    TimeOfDay { per_second: i64 },
    /// Units since 1970 of a clock on the wall: the zone is not in the data.
    WallTime { per_second: i64 },
    /// Text of such a clock, marked as UTC.
    IsoWallTime,
    /// Text with an offset.
    Instant,
    /// JSON text.
    Json,
    /// Little-endian bytes.
    Bits,
}

/// The meaning of a value and of its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowSchema {
    pub meaning: Meaning,
    pub fields: BTreeMap<String, RowSchema>,
    pub items: Option<Box<RowSchema>>,
}

impl Meaning {
    /// By its semantic name, or by its last part; `Decimal(2)` for one of two digits.
    pub fn named(name: &str) -> Option<Meaning> {
        if let Some(scale) = name.strip_prefix("Decimal(").and_then(|rest| rest.strip_suffix(')')) {
            return Some(Meaning::Decimal { scale: scale.parse().ok()? });
        }
        let short = name.rsplit('.').next().unwrap_or(name);
        let connect = name.starts_with("org.apache.kafka.connect.data.");
        Some(match short {
            "Decimal" if connect => Meaning::Decimal { scale: 0 },
            "VariableScaleDecimal" => Meaning::VariableDecimal,
            "Date" => Meaning::Date,
            "IsoDate" => Meaning::IsoDate,
            "Time" => Meaning::TimeOfDay { per_second: MILLI },
            "MicroTime" => Meaning::TimeOfDay { per_second: MICRO },
            "NanoTime" => Meaning::TimeOfDay { per_second: NANO },
            "Timestamp" => Meaning::WallTime { per_second: MILLI },
            "MicroTimestamp" => Meaning::WallTime { per_second: MICRO },
            "NanoTimestamp" => Meaning::WallTime { per_second: NANO },
            "IsoTimestamp" => Meaning::IsoWallTime,
            "ZonedTimestamp" => Meaning::Instant,
            "Json" => Meaning::Json,
            "Bits" => Meaning::Bits,
            _ => return None,
        })
    }
}

impl RowSchema {
    /// A shape without parts.
    pub fn of(meaning: Meaning) -> RowSchema {
        RowSchema {
            meaning,
            ..RowSchema::default()
        }
    }

    /// The value as contract records have it; what is wrong with it otherwise.
    pub fn read(&self, value: Value, zone: Tz) -> Result<Value, String> {
        match (&self.meaning, value) {
            (_, Value::Null) => Ok(Value::Null),
            (Meaning::AsIs, value) => self.parts(value, zone),
            // A datum of Avro has been read with its own logical type already.
            (Meaning::Decimal { .. }, number @ Value::Number(_)) => Ok(number),
            (Meaning::Decimal { scale }, Value::String(text)) => decimal(&text, *scale),
            (Meaning::VariableDecimal, Value::Object(object)) => match (object.get("scale").and_then(Value::as_u64), object.get("value")) {
                (Some(scale), Some(Value::String(text))) => decimal(text, u32::try_from(scale).unwrap_or(u32::MAX)),
                _ => Err("expected a decimal as `{scale, value}`".to_owned()),
            },
            (Meaning::Date, Value::Number(days)) => Ok(days.as_i64().and_then(Date::of_days).map_or(Value::Null, shown)),
            (Meaning::Date | Meaning::IsoDate, Value::String(text)) => iso_date(&text),
            (Meaning::TimeOfDay { per_second }, Value::Number(units)) => time_of_day(units.as_i64(), *per_second),
            (Meaning::WallTime { per_second }, Value::Number(units)) => wall_time(units.as_i64(), *per_second, zone),
            (Meaning::IsoWallTime, Value::String(text)) => iso_wall_time(&text, zone),
            (Meaning::Instant, Value::String(text)) => instant(&text),
            (Meaning::Json, Value::String(text)) => Ok(serde_json::from_str(&text).unwrap_or(Value::String(text))),
            (Meaning::Bits, Value::String(text)) => bits(&text),
            (Meaning::Json | Meaning::Bits | Meaning::TimeOfDay { .. }, other) => Ok(other),
            (meaning, other) => Err(format!("`{other}` is no value of the type {meaning:?}")),
        }
    }

    fn parts(&self, value: Value, zone: Tz) -> Result<Value, String> {
        match (value, &self.items) {
            (Value::Object(object), _) if !self.fields.is_empty() => {
                let members = object.into_iter().map(|(name, member)| {
                    let member = match self.fields.get(&name) {
                        Some(shape) => shape.read(member, zone)?,
                        None => member,
                    };
                    Ok((name, member))
                });
                members.collect::<Result<_, String>>().map(Value::Object)
            }
            (Value::Array(items), Some(shape)) => items.into_iter().map(|item| shape.read(item, zone)).collect::<Result<_, _>>().map(Value::Array),
            (value, _) => Ok(value),
        }
    }
}

fn shown(value: impl ToString) -> Value {
    Value::String(value.to_string())
}

fn decimal(text: &str, scale: u32) -> Result<Value, String> {
    let bytes = BASE64.decode(text).map_err(|_| format!("`{text}` is no decimal: it is not base64"))?;
    let number = number::of_unscaled(&bytes, scale).ok_or_else(|| format!("`{text}` of scale {scale} is not {}", number::BOUNDS))?;
    serde_json::from_str(&number.to_string()).map_err(|_| format!("`{text}` is no decimal"))
}

/// `2017-09-15Z`: the zone says nothing about a date.
fn iso_date(text: &str) -> Result<Value, String> {
    let date = text.trim_end_matches('Z');
    match (Date::parse(date), date.parse::<NaiveDate>()) {
        (Some(date), _) => Ok(shown(date)),
        (None, Ok(_)) => Ok(Value::Null),
        (None, Err(_)) => unbounded(text).ok_or_else(|| format!("`{text}` is no date")),
    }
}

fn time_of_day(units: Option<i64>, per_second: i64) -> Result<Value, String> {
    let units = units.filter(|units| (0..=86_400 * per_second).contains(units));
    let units = units.ok_or("expected a time of day")?;
    let (seconds, part) = (units / per_second, units % per_second);
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if part > 0 {
        let width = per_second.ilog10() as usize;
        text.push_str(format!(".{part:0width$}").trim_end_matches('0'));
    }
    Ok(Value::String(text))
}

fn wall_time(units: Option<i64>, per_second: i64, zone: Tz) -> Result<Value, String> {
    let units = units.ok_or("expected a date-time in whole units since 1970")?;
    let ms = if per_second == MILLI { units } else { units.div_euclid(per_second / MILLI) };
    match DateTime::from_timestamp_millis(ms) {
        Some(wall) if in_years(&wall) => in_zone(wall, zone),
        _ => Ok(Value::Null),
    }
}

fn iso_wall_time(text: &str, zone: Tz) -> Result<Value, String> {
    match DateTime::parse_from_rfc3339(text) {
        Ok(wall) => in_zone(wall.with_timezone(&Utc), zone),
        Err(_) => unbounded(text).ok_or_else(|| format!("`{text}` is no date-time")),
    }
}

/// The instant at which a clock of the zone shows this time: the earlier of two. In the hour that a
/// zone leaves out, clocks that did not move show it one hour later.
fn in_zone(wall: DateTime<Utc>, zone: Tz) -> Result<Value, String> {
    let local = wall.naive_utc();
    let instant = zone
        .from_local_datetime(&local)
        .earliest()
        .or_else(|| zone.from_local_datetime(&(local + TimeDelta::hours(1))).earliest());
    let instant = instant.ok_or_else(|| format!("`{local}` does not exist in {zone}"))?;
    Ok(shown(Timestamp(instant.timestamp_millis())))
}

fn instant(text: &str) -> Result<Value, String> {
    match Timestamp::parse(text) {
        Ok(at) => Ok(shown(at)),
        Err(error) => unbounded(text).ok_or_else(|| error.to_string()),
    }
}

fn in_years(at: &DateTime<Utc>) -> bool {
    (1..=9_999).contains(&at.year())
}

/// Null for a text that stands for no bound: `infinity`, or a year of more than four digits.
fn unbounded(text: &str) -> Option<Value> {
    let far = text.starts_with(['+', '-'])
        && text[1..]
            .split('-')
            .next()
            .is_some_and(|year| year.len() > 3 && year.bytes().all(|b| b.is_ascii_digit()));
    (far || text.trim_start_matches('-') == "infinity").then_some(Value::Null)
}

fn bits(text: &str) -> Result<Value, String> {
    let bytes = BASE64.decode(text).map_err(|_| format!("`{text}` are no bits: they are not base64"))?;
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if used > 8 {
        return Ok(Value::String(text.to_owned()));
    }
    let number = bytes.iter().take(used).rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    Ok(Value::from(number))
}
