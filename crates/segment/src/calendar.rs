//! Calendar arithmetic in a time zone: units, spans and steps.
//!
//! Milliseconds to weeks are exact multiples; months and longer are calendar steps on the local
//! date, clamped to the month's end. A local time that daylight saving skips is read with the
//! offset before the gap; one that occurs twice is its first occurrence. Instants outside the
//! calendar's range stay at the ends of `Timestamp`.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;
use millrace_model::{DAY_MS, Date, Timestamp};
use millrace_pql::ast::{Moment, Unit};

/// Milliseconds of a unit of fixed length.
pub fn fixed_ms(unit: Unit) -> Option<i64> {
    Some(match unit {
        Unit::Millisecond => 1,
        Unit::Second => 1_000,
        Unit::Minute => 60_000,
        Unit::Hour => 3_600_000,
        Unit::Day => DAY_MS,
        Unit::Week => 7 * DAY_MS,
        Unit::Month | Unit::Year | Unit::Decade | Unit::Century | Unit::Millennium => return None,
    })
}

/// Months of a calendar unit.
fn months(unit: Unit) -> i64 {
    match unit {
        Unit::Month => 1,
        Unit::Year => 12,
        Unit::Decade => 120,
        Unit::Century => 1_200,
        Unit::Millennium => 12_000,
        Unit::Millisecond | Unit::Second | Unit::Minute | Unit::Hour | Unit::Day | Unit::Week => 0,
    }
}

fn local(zone: Tz, at: Timestamp) -> Option<NaiveDateTime> {
    Some(DateTime::from_timestamp_millis(at.0)?.with_timezone(&zone).naive_local())
}

fn offset_ms(zone: Tz, at: Timestamp) -> i64 {
    DateTime::from_timestamp_millis(at.0).map_or(0, |instant| {
        i64::from(zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc()) * 1_000
    })
}

fn resolve(zone: Tz, local: NaiveDateTime) -> Timestamp {
    match zone.from_local_datetime(&local).earliest() {
        Some(instant) => Timestamp(instant.timestamp_millis()),
        None => {
            // A gap: a day earlier lies before it, with the offset that was in force.
            let before = local.checked_sub_signed(TimeDelta::days(1)).unwrap_or(local);
            let offset = zone.offset_from_utc_datetime(&before).fix().local_minus_utc();
            Timestamp(local.and_utc().timestamp_millis() - i64::from(offset) * 1_000)
        }
    }
}

/// `at` moved by `n` units; calendar units move by whole steps, fixed ones by any fraction, rounded
/// to the millisecond.
pub fn add(zone: Tz, at: Timestamp, n: f64, unit: Unit) -> Timestamp {
    if let Some(ms) = fixed_ms(unit) {
        let delta = n * ms as f64;
        return at.plus_ms(if delta >= i64::MAX as f64 { i64::MAX } else { delta.round() as i64 });
    }
    let edge = if n < 0.0 { Timestamp::MIN } else { Timestamp::MAX };
    let steps = n.trunc() * months(unit) as f64;
    if steps == 0.0 {
        return at;
    }
    let count = Months::new(steps.abs().min(f64::from(u32::MAX)) as u32);
    let moved = local(zone, at).and_then(|local| {
        if steps < 0.0 {
            local.checked_sub_months(count)
        } else {
            local.checked_add_months(count)
        }
    });
    moved.map_or(edge, |local| resolve(zone, local))
}

fn day_start(zone: Tz, date: NaiveDate) -> Timestamp {
    resolve(zone, date.and_time(NaiveTime::MIN))
}

fn date_start(unit: Unit, date: NaiveDate) -> Option<NaiveDate> {
    let year = |length: i32| NaiveDate::from_ymd_opt(date.year().div_euclid(length) * length, 1, 1);
    match unit {
        Unit::Week => date.checked_sub_days(Days::new(u64::from(date.weekday().num_days_from_monday()))),
        Unit::Month => date.with_day(1),
        Unit::Year => year(1),
        Unit::Decade => year(10),
        Unit::Century => year(100),
        Unit::Millennium => year(1_000),
        Unit::Millisecond | Unit::Second | Unit::Minute | Unit::Hour | Unit::Day => Some(date),
    }
}

/// The beginning of the unit that holds `at`; weeks begin on Monday.
pub fn start(zone: Tz, at: Timestamp, unit: Unit) -> Timestamp {
    match unit {
        Unit::Millisecond => at,
        Unit::Second | Unit::Minute | Unit::Hour => {
            let length = fixed_ms(unit).unwrap_or(1);
            let offset = offset_ms(zone, at);
            Timestamp((at.0.saturating_add(offset)).div_euclid(length) * length - offset)
        }
        Unit::Day | Unit::Week | Unit::Month | Unit::Year | Unit::Decade | Unit::Century | Unit::Millennium => local(zone, at)
            .and_then(|local| date_start(unit, local.date()))
            .map_or(Timestamp::MIN, |date| day_start(zone, date)),
    }
}

/// The beginning of the unit `n` units away from the one that begins at `begin`. Days and longer
/// count on the calendar.
pub fn shift(zone: Tz, begin: Timestamp, n: i64, unit: Unit) -> Timestamp {
    let edge = if n < 0 { Timestamp::MIN } else { Timestamp::MAX };
    let days = match unit {
        Unit::Millisecond | Unit::Second | Unit::Minute | Unit::Hour => return begin.plus_ms(fixed_ms(unit).unwrap_or(1).saturating_mul(n)),
        Unit::Day => Some(n),
        Unit::Week => Some(n.saturating_mul(7)),
        Unit::Month | Unit::Year | Unit::Decade | Unit::Century | Unit::Millennium => None,
    };
    // A day may begin after a skipped midnight; noon-safe: the date is what counts.
    let Some(date) = local(zone, begin).map(|local| local.date()) else {
        return edge;
    };
    let moved = match days {
        Some(days) if days < 0 => date.checked_sub_days(Days::new(days.unsigned_abs())),
        Some(days) => date.checked_add_days(Days::new(days.unsigned_abs())),
        None => {
            let count = Months::new(u32::try_from(n.unsigned_abs().saturating_mul(months(unit).unsigned_abs())).unwrap_or(u32::MAX));
            if n < 0 {
                date.checked_sub_months(count)
            } else {
                date.checked_add_months(count)
            }
        }
    };
    moved.map_or(edge, |date| day_start(zone, date))
}

/// Where a date begins.
pub fn midnight(zone: Tz, date: Date) -> Timestamp {
    day_start(zone, date.calendar())
}

/// Year, month and day of an instant.
pub fn parts(zone: Tz, at: Timestamp) -> Option<(i64, i64, i64)> {
    let date = local(zone, at)?.date();
    Some((i64::from(date.year()), i64::from(date.month()), i64::from(date.day())))
}

/// A word of time as a staircase over now: the unit of its steps, and how many units it is away
/// from the present one.
pub fn staircase(moment: Moment) -> (Unit, i64) {
    match moment {
        Moment::Now => (Unit::Millisecond, 0),
        Moment::Today => (Unit::Day, 0),
        Moment::Yesterday => (Unit::Day, -1),
        Moment::Tomorrow => (Unit::Day, 1),
        Moment::This(unit) => (unit, 0),
        Moment::Last(unit) => (unit, -1),
        Moment::Next(unit) => (unit, 1),
    }
}

/// The level of the staircase at `now`.
pub fn stand(zone: Tz, now: Timestamp, (unit, away): (Unit, i64)) -> Timestamp {
    let begin = start(zone, now, unit);
    if away == 0 { begin } else { shift(zone, begin, away, unit) }
}

/// The earliest instant at which the staircase is at `level` or above.
pub fn reach(zone: Tz, level: Timestamp, (unit, away): (Unit, i64)) -> Timestamp {
    if level == Timestamp::MAX || level == Timestamp::MIN {
        return level;
    }
    let begin = start(zone, level, unit);
    let begin = if begin == level { begin } else { shift(zone, begin, 1, unit) };
    if away == 0 { begin } else { shift(zone, begin, -away, unit) }
}

/// The next instant after `now` at which the staircase moves.
pub fn next_step(zone: Tz, now: Timestamp, (unit, _): (Unit, i64)) -> Timestamp {
    let next = shift(zone, start(zone, now, unit), 1, unit);
    if next > now { next } else { now.plus_ms(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("instant")
    }

    #[test]
    fn months_clamp_and_keep_the_local_hour() {
        let berlin = Tz::Europe__Berlin;
        for (from, n, unit, to) in [
            ("2026-01-31T00:00:00Z", 1.0, Unit::Month, "2026-02-28T00:00:00Z"),
            ("2024-02-29T12:00:00Z", 1.0, Unit::Year, "2025-02-28T12:00:00Z"),
            // Winter to summer: noon in Berlin stays noon.
            ("2026-03-15T11:00:00Z", 1.0, Unit::Month, "2026-04-15T10:00:00Z"),
            // A day is 24 hours, over the change too.
            ("2026-03-28T11:00:00Z", 1.0, Unit::Day, "2026-03-29T11:00:00Z"),
            // 02:30 on 29 March does not exist.
            ("2026-02-28T01:30:00Z", 1.0, Unit::Month, "2026-03-28T01:30:00Z"),
            ("2026-03-31T00:00:00Z", -1.0, Unit::Month, "2026-02-28T01:00:00Z"),
        ] {
            assert_eq!(add(berlin, at(from), n, unit), at(to), "{from} + {n} {unit:?}");
        }
    }

    #[test]
    fn staircases() {
        let zone = Tz::Europe__Berlin;
        let now = at("2026-03-29T12:00:00Z");
        assert_eq!(stand(zone, now, staircase(Moment::Today)), at("2026-03-28T23:00:00Z"));
        assert_eq!(next_step(zone, now, staircase(Moment::Today)), at("2026-03-29T22:00:00Z"));
        assert_eq!(stand(zone, now, staircase(Moment::This(Unit::Week))), at("2026-03-22T23:00:00Z"));
        assert_eq!(stand(zone, now, staircase(Moment::Last(Unit::Month))), at("2026-01-31T23:00:00Z"));
        for moment in [
            Moment::Now,
            Moment::Today,
            Moment::Yesterday,
            Moment::This(Unit::Hour),
            Moment::Last(Unit::Month),
            Moment::Next(Unit::Week),
        ] {
            let stairs = staircase(moment);
            let level = at("2026-03-29T09:17:00Z");
            let when = reach(zone, level, stairs);
            assert!(
                stand(zone, when, stairs) >= level && stand(zone, when.plus_ms(-1), stairs) < level,
                "{moment:?}"
            );
        }
    }
}
