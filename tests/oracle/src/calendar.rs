//! Instants, calendar steps and periods in a time zone.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use millrace_pql::ast::{Moment, Unit};

/// Reads RFC 3339 or a plain date (midnight UTC).
pub(crate) fn parse_instant(text: &str) -> Option<i64> {
    let text = text.trim();
    let zoned = || DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z").ok();
    let instant = DateTime::parse_from_rfc3339(text).ok().or_else(zoned);
    instant
        .map(|instant| instant.timestamp_millis())
        .or_else(|| parse_date(text).map(|date| midnight(Tz::UTC, date)))
}

/// Reads a plain date.
pub(crate) fn parse_date(text: &str) -> Option<NaiveDate> {
    let text = text.trim();
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| text.len() == 10)
}

/// Reads a date, of a date with a time the date that is written.
pub(crate) fn written_date(text: &str) -> Option<NaiveDate> {
    text.trim().get(..10).and_then(parse_date)
}

/// Where a date begins in a zone.
pub(crate) fn midnight(zone: Tz, date: NaiveDate) -> i64 {
    instant_of(zone, date.and_time(NaiveTime::MIN))
}

fn utc(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).expect("instants of test worlds are within chrono's range")
}

/// Wall-clock time at `ms`.
fn wall(zone: Tz, ms: i64) -> NaiveDateTime {
    utc(ms).with_timezone(&zone).naive_local()
}

/// The instant of a wall-clock time: the first of two where clocks go back, moved on by the gap
/// where they go forward.
fn instant_of(zone: Tz, wall: NaiveDateTime) -> i64 {
    match zone.from_local_datetime(&wall).earliest() {
        Some(instant) => instant.timestamp_millis(),
        None => {
            let before = zone.offset_from_utc_datetime(&(wall - Days::new(1))).fix().local_minus_utc();
            wall.and_utc().timestamp_millis() - i64::from(before) * 1000
        }
    }
}

/// Milliseconds of a unit that always has the same length.
fn exact_ms(unit: Unit) -> Option<i64> {
    Some(match unit {
        Unit::Millisecond => 1,
        Unit::Second => 1_000,
        Unit::Minute => 60_000,
        Unit::Hour => 3_600_000,
        Unit::Day => 86_400_000,
        Unit::Week => 7 * 86_400_000,
        _ => return None,
    })
}

fn months(unit: Unit) -> u32 {
    match unit {
        Unit::Year => 12,
        Unit::Decade => 120,
        Unit::Century => 1_200,
        Unit::Millennium => 12_000,
        _ => 1,
    }
}

/// `ms` moved by `n` units: weeks and days are exact, months and longer are calendar steps clamped
/// at the end of the month.
pub(crate) fn step(zone: Tz, ms: i64, n: i64, unit: Unit) -> i64 {
    if let Some(length) = exact_ms(unit) {
        return ms + n * length;
    }
    let distance = Months::new(n.unsigned_abs() as u32 * months(unit));
    let from = wall(zone, ms);
    let moved = if n < 0 {
        from.checked_sub_months(distance)
    } else {
        from.checked_add_months(distance)
    };
    instant_of(zone, moved.expect("steps of test worlds stay within chrono's range"))
}

/// The start of the calendar period `offset` periods away from the one that holds `ms`.
pub(crate) fn period_start(zone: Tz, ms: i64, unit: Unit, offset: i64) -> i64 {
    if let (Some(length), true) = (exact_ms(unit), !matches!(unit, Unit::Day | Unit::Week)) {
        let ahead = i64::from(zone.offset_from_utc_datetime(&utc(ms).naive_utc()).fix().local_minus_utc()) * 1000;
        return (ms + ahead).div_euclid(length) * length - ahead + offset * length;
    }
    let date = wall(zone, ms).date();
    let years = |length: i32| first_of(date.year().div_euclid(length) * length + offset as i32 * length, 1);
    let start = match unit {
        Unit::Week => date - Days::new(u64::from(date.weekday().num_days_from_monday())) + chrono::Duration::weeks(offset),
        Unit::Month => {
            let month = i64::from(date.year()) * 12 + i64::from(date.month0()) + offset;
            first_of(month.div_euclid(12) as i32, month.rem_euclid(12) as u32 + 1)
        }
        Unit::Year => years(1),
        Unit::Decade => years(10),
        Unit::Century => years(100),
        Unit::Millennium => years(1000),
        _ => date + chrono::Duration::days(offset),
    };
    instant_of(zone, start.and_time(NaiveTime::MIN))
}

fn first_of(year: i32, month: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, month, 1).expect("periods of test worlds are within chrono's range")
}

/// `start..end` of a moment. `now` is the one that has no length.
pub(crate) fn moment(zone: Tz, now: i64, moment: Moment) -> (i64, i64) {
    let (unit, offset) = match moment {
        Moment::Now => return (now, now),
        Moment::Today => (Unit::Day, 0),
        Moment::Yesterday => (Unit::Day, -1),
        Moment::Tomorrow => (Unit::Day, 1),
        Moment::This(unit) => (unit, 0),
        Moment::Last(unit) => (unit, -1),
        Moment::Next(unit) => (unit, 1),
    };
    (period_start(zone, now, unit, offset), period_start(zone, now, unit, offset + 1))
}

/// Year, month and day of month at `ms`.
pub(crate) fn date_parts(zone: Tz, ms: i64) -> (i32, u32, u32) {
    let date = wall(zone, ms).date();
    (date.year(), date.month(), date.day())
}

/// Midnight of a date; `None` where there is no such day.
pub(crate) fn date(year: i64, month: i64, day: i64) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, u32::try_from(month).ok()?, u32::try_from(day).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        parse_instant(text).unwrap()
    }

    #[test]
    fn steps() {
        let berlin = Tz::Europe__Berlin;
        let table = [
            (Tz::UTC, "2026-01-31T10:00:00Z", 1, Unit::Month, "2026-02-28T10:00:00Z"),
            (Tz::UTC, "2026-03-31T10:00:00Z", -1, Unit::Month, "2026-02-28T10:00:00Z"),
            (Tz::UTC, "2024-02-29T10:00:00Z", 1, Unit::Year, "2025-02-28T10:00:00Z"),
            (Tz::UTC, "2026-01-01T00:00:00Z", 2, Unit::Decade, "2046-01-01T00:00:00Z"),
            // Clocks go forward on 29 March: a day is still 24 hours, a month keeps the wall clock.
            (berlin, "2026-03-28T11:00:00Z", 1, Unit::Day, "2026-03-29T11:00:00Z"),
            (berlin, "2026-03-15T11:00:00Z", 1, Unit::Month, "2026-04-15T10:00:00Z"),
            // 02:30 does not exist on that day.
            (berlin, "2026-02-28T01:30:00Z", 1, Unit::Month, "2026-03-28T01:30:00Z"),
            (berlin, "2026-04-29T00:30:00Z", -1, Unit::Month, "2026-03-29T01:30:00Z"),
        ];
        for (zone, from, n, unit, expected) in table {
            assert_eq!(
                step(zone, at(from), n, unit),
                at(expected),
                "{from} {n} {unit:?} {}",
                utc(step(zone, at(from), n, unit))
            );
        }
    }

    #[test]
    fn periods() {
        let now = at("2026-03-29T10:30:15.250Z");
        let table = [
            (Tz::UTC, Moment::Now, "2026-03-29T10:30:15.250Z", "2026-03-29T10:30:15.250Z"),
            (Tz::UTC, Moment::Today, "2026-03-29", "2026-03-30"),
            (Tz::UTC, Moment::Yesterday, "2026-03-28", "2026-03-29"),
            (Tz::UTC, Moment::Tomorrow, "2026-03-30", "2026-03-31"),
            // A Sunday: the week began on Monday the 23rd.
            (Tz::UTC, Moment::This(Unit::Week), "2026-03-23", "2026-03-30"),
            (Tz::UTC, Moment::Last(Unit::Month), "2026-02-01", "2026-03-01"),
            (Tz::UTC, Moment::Next(Unit::Year), "2027-01-01", "2028-01-01"),
            (Tz::UTC, Moment::This(Unit::Decade), "2020-01-01", "2030-01-01"),
            (Tz::UTC, Moment::This(Unit::Hour), "2026-03-29T10:00:00Z", "2026-03-29T11:00:00Z"),
            // The day on which clocks go forward has 23 hours.
            (Tz::Europe__Berlin, Moment::Today, "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            (Tz::America__New_York, Moment::Today, "2026-03-29T04:00:00Z", "2026-03-30T04:00:00Z"),
            (Tz::Asia__Kolkata, Moment::This(Unit::Hour), "2026-03-29T10:30:00Z", "2026-03-29T11:30:00Z"),
        ];
        for (zone, word, start, end) in table {
            assert_eq!(moment(zone, now, word), (at(start), at(end)), "{zone} {word:?}");
        }
    }
}
