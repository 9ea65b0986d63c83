//! Keys of a person's ledger of events, and of what event queries keep of it.

use millrace_model::{Decimal, SubjectId, Text, Timestamp, Value};
use millrace_segment::plan::EventQuery;
use millrace_segment::view::QueryId;
use xxhash_rust::xxh3::xxh3_64;

use super::{Key, Parts, about, table};
use crate::tx::prefix_end;

/// The event queries whose newest rows lie in one row, by a hash of the event types they ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(pub u64);

impl Bucket {
    /// The bucket of a query: queries with equal types share one.
    pub fn of(query: &EventQuery) -> Bucket {
        // A type's name has no line break of its own, and if it had, two buckets would share one
        // row.
        Bucket(query.event_types.as_ref().map_or(0, |types| xxh3_64(types.join("\n").as_bytes())))
    }
}

/// An event in the ledger of a subject.
pub fn event(subject: &SubjectId, id: &str) -> Vec<u8> {
    about(table::EVENT, subject).text(id).done()
}

/// The id in an event's key.
pub fn event_id(event_key: &[u8]) -> Option<Text> {
    Parts::of(event_key).text().map(Text::from)
}

/// The name by time of an event in a long ledger.
pub fn dated(subject: &SubjectId, at: Timestamp, id: &str) -> Vec<u8> {
    about(table::DATED, subject).instant(at).text(id).done()
}

/// The range of the names by time of events up to and including an instant.
pub fn all_dated(subject: &SubjectId, to: Timestamp) -> (Vec<u8>, Vec<u8>) {
    let first = about(table::DATED, subject).done();
    let end = prefix_end(&about(table::DATED, subject).instant(to).done());
    (first, end)
}

/// The instant and the event of such a name.
pub fn date_of(dated_key: &[u8]) -> Option<(Timestamp, Text)> {
    let mut parts = Parts::of(dated_key);
    Some((parts.instant()?, parts.text()?.into()))
}

/// The newest rows of the queries of a bucket.
pub fn kept(subject: &SubjectId, bucket: Bucket) -> Vec<u8> {
    about(table::KEPT, subject).number(bucket.0).done()
}

/// An aggregate over an event query.
pub fn tally(subject: &SubjectId, query: QueryId) -> Vec<u8> {
    about(table::TALLY, subject).number(query.0).done()
}

/// The common prefix of the events of a query that keeps all of them.
pub fn verdicts(subject: &SubjectId, query: QueryId) -> Vec<u8> {
    about(table::VERDICT, subject).number(query.0).done()
}

/// An event of such a query.
pub fn verdict(subject: &SubjectId, query: QueryId, id: &str) -> Vec<u8> {
    about(table::VERDICT, subject).number(query.0).text(id).done()
}

/// The common prefix of the ends of a query's verdicts.
pub fn agenda(subject: &SubjectId, query: QueryId) -> Vec<u8> {
    Key::new(table::AGENDA).subject(subject).number(query.0).done()
}

/// The common prefix of the values that count for a tally.
pub fn tallied_values(subject: &SubjectId, query: QueryId) -> Vec<u8> {
    about(table::TALLIED_VALUE, subject).number(query.0).done()
}

/// Sorts as the values do, or in reverse.
pub fn tallied_value(subject: &SubjectId, query: QueryId, value: &Value, descending: bool) -> Vec<u8> {
    let mut row_key = tallied_values(subject, query);
    let from = row_key.len();
    row_key.extend(ordered(value));
    if descending {
        row_key[from..].iter_mut().for_each(|byte| *byte = !*byte);
    }
    row_key
}

/// Bytes that sort as values do, and are the same for equal ones. Lists and maps are only
/// distinguished, not ordered.
fn ordered(value: &Value) -> Vec<u8> {
    let signed = |number: i64| ((number as u64) ^ (1 << 63)).to_be_bytes();
    match value {
        Value::Null => vec![0],
        Value::Bool(flag) => vec![1, u8::from(*flag)],
        Value::Int(_) | Value::Decimal(_) => {
            let number = value.as_decimal().unwrap_or_default();
            // By the whole number below, then by what is above it, which is never negative.
            let below = number.floor();
            let whole = below.trunc().mantissa() / 10_i128.pow(below.scale());
            let rest = (number - below).normalize();
            let rest = rest.mantissa() * 10_i128.pow(Decimal::MAX_SCALE - rest.scale());
            let above = rest.unsigned_abs().to_be_bytes();
            [&[2][..], &((whole as u128) ^ (1 << 127)).to_be_bytes(), &above[4..]].concat()
        }
        Value::Text(text) => Key::new(3).text(text).done(),
        Value::Date(date) => [&[4][..], &signed(date.midnight_utc().0)].concat(),
        Value::Time(at) => [&[5][..], &signed(at.0)].concat(),
        Value::List(_) | Value::Map(_) => [vec![6], crate::format::encode(value)].concat(),
    }
}

/// How far the events of a query lead through its chain.
pub fn sequence(subject: &SubjectId, query: QueryId) -> Vec<u8> {
    about(table::SEQUENCE, subject).number(query.0).done()
}

/// The common prefix of the events of a chain.
pub fn all_sequenced(subject: &SubjectId, query: QueryId) -> Vec<u8> {
    about(table::SEQUENCED, subject).number(query.0).done()
}

/// Before every event of an instant, and after those of earlier ones.
pub fn sequenced_from(subject: &SubjectId, query: QueryId, at: Timestamp) -> Vec<u8> {
    about(table::SEQUENCED, subject).number(query.0).instant(at).done()
}

/// An event of a chain. Those of one query sort by instant, then by id.
pub fn sequenced(subject: &SubjectId, query: QueryId, at: Timestamp, id: &str) -> Vec<u8> {
    about(table::SEQUENCED, subject).number(query.0).instant(at).text(id).done()
}

/// The common prefix of the milestones of a chain.
pub fn milestones(subject: &SubjectId, query: QueryId) -> Vec<u8> {
    about(table::MILESTONE, subject).number(query.0).done()
}

/// Latest first, so that a scan from here finds the last one up to an instant.
pub fn milestone(subject: &SubjectId, query: QueryId, at: Timestamp) -> Vec<u8> {
    about(table::MILESTONE, subject).number(query.0).instant(Timestamp(!at.0)).done()
}

/// The instant of a milestone.
pub fn milestone_at(milestone_key: &[u8]) -> Option<Timestamp> {
    let mut parts = Parts::of(milestone_key);
    parts.number().and_then(|_| parts.instant()).map(|at| Timestamp(!at.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallied_values_sort_as_values_do() {
        let number = |text: &str| Value::number_or_null(millrace_model::number::parse(text));
        let date = |day: i64| Value::Date(millrace_model::Date::new(2026, 11, day).expect("a day"));
        let values = [
            Value::Bool(false),
            Value::Bool(true),
            number("-7e28"),
            number("-9223372036854775808.5"),
            Value::Int(i64::MIN),
            Value::Int(-2),
            number("-1.5"),
            number("-1.4999999999999999999999999999"),
            number("-0.0000000000000000000000000001"),
            Value::Int(0),
            number("0.0000000000000000000000000001"),
            Value::Int(1),
            number("1.5"),
            number("1.51"),
            Value::Int(1 << 60),
            number("1152921504606846976.5"),
            Value::Int((1 << 60) + 1),
            number("7e28"),
            Value::text(""),
            Value::text("a"),
            Value::text("a\0"),
            Value::text("b"),
            date(1),
            date(2),
            Value::Time(Timestamp(-1)),
            Value::Time(Timestamp(1)),
        ];
        let keys: Vec<_> = values.iter().map(ordered).collect();
        assert!(values.is_sorted() && keys.is_sorted(), "{keys:?}");
        assert_eq!(ordered(&number("-0.0")), ordered(&Value::Int(0)));
        assert_eq!(ordered(&number("7.0")), ordered(&Value::Int(7)));
    }
}
