//! Keys of derived tables: timers, and the reverse of references, aliases and memberships.

use millrace_model::{Identity, SubjectId, SubjectKind, Timestamp};
use millrace_segment::view::QueryId;

use super::{Key, Parts, table};
use crate::row::{Detail, Reach};
use crate::tx::prefix_end;

/// The first wake-up at or after an instant.
pub fn timers_from(at: Timestamp) -> Vec<u8> {
    Key::new(table::TIMER).instant(at).done()
}

/// A subject's wake-up.
pub fn subject_timer(at: Timestamp, subject: &SubjectId) -> Vec<u8> {
    Key::new(table::TIMER).instant(at).byte(0).subject(subject).done()
}

/// The beginning or end of a link's validity.
pub fn link_timer(at: Timestamp, link: &str) -> Vec<u8> {
    Key::new(table::TIMER).instant(at).byte(1).text(link).done()
}

/// What wakes up.
pub enum Wake {
    /// A subject: time alone may change what it is evaluated to.
    Subject(SubjectId),
    /// The source record of a link, by key: its validity begins or ends.
    Link(String),
}

/// The instant and the sleeper of a timer.
pub fn wake_of(timer_key: &[u8]) -> Option<(Timestamp, Wake)> {
    let mut parts = Parts::of(timer_key);
    let at = parts.instant()?;
    let wake = match parts.byte()? {
        0 => Wake::Subject(parts.subject()?),
        _ => Wake::Link(parts.text()?),
    };
    Some((at, wake))
}

/// Persons who need exact features come first, then other persons, then things.
pub fn dependent(node: &Identity, detail: Detail, subject: &SubjectId) -> Vec<u8> {
    let class = match (detail, subject.kind) {
        (Detail::Exact, _) => EXACT,
        (Detail::Banded, SubjectKind::Person) => BANDED,
        (Detail::Banded, _) => THING,
    };
    Key::new(table::DEPENDENT).node(node).byte(class).subject(subject).done()
}

/// Classes of dependents; no thing needs exact features.
const EXACT: u8 = 0;
const BANDED: u8 = 1;
const THING: u8 = 2;

/// The range of the dependents of a node that must be evaluated.
pub fn dependents(node: &Identity, reach: Reach) -> (Vec<u8>, Vec<u8>) {
    let key = || Key::new(table::DEPENDENT).node(node);
    let prefix = match reach {
        Reach::All => key(),
        Reach::Exact => key().byte(EXACT),
        Reach::Things => key().byte(THING),
    };
    let first = prefix.done();
    let end = prefix_end(&first);
    (first, end)
}

/// The subject of a dependent's key.
pub fn dependent_of(dependent_key: &[u8]) -> Option<SubjectId> {
    let mut parts = Parts::of(dependent_key);
    parts.node()?;
    parts.byte()?;
    parts.subject()
}

/// A node that is a thing, as this shard knows it.
pub fn alias_of(thing: &SubjectId, node: &Identity) -> Vec<u8> {
    Key::new(table::ALIAS_OF).subject(thing).node(node).done()
}

/// The common prefix of the nodes that are a thing.
pub fn aliases_of(thing: &SubjectId) -> Vec<u8> {
    Key::new(table::ALIAS_OF).subject(thing).done()
}

/// The end of a verdict.
pub fn agenda_entry(subject: &SubjectId, query: QueryId, until: Timestamp, id: &str) -> Vec<u8> {
    Key::new(table::AGENDA).subject(subject).number(query.0).instant(until).text(id).done()
}

/// The first verdict of a query that ends at or after an instant.
pub fn agenda_from(subject: &SubjectId, query: QueryId, until: Timestamp) -> Vec<u8> {
    Key::new(table::AGENDA).subject(subject).number(query.0).instant(until).done()
}

/// The common prefix of the turns of a chain.
pub fn turns(subject: &SubjectId, query: QueryId) -> Vec<u8> {
    Key::new(table::TURN).subject(subject).number(query.0).done()
}

/// The first turn of a chain at or after an instant.
pub fn turns_from(subject: &SubjectId, query: QueryId, turns_at: Timestamp) -> Vec<u8> {
    Key::new(table::TURN).subject(subject).number(query.0).instant(turns_at).done()
}

/// When time changes the verdict on an event of a chain.
pub fn turn(subject: &SubjectId, query: QueryId, turns_at: Timestamp, at: Timestamp, id: &str) -> Vec<u8> {
    Key::new(table::TURN)
        .subject(subject)
        .number(query.0)
        .instant(turns_at)
        .instant(at)
        .text(id)
        .done()
}

/// The instant at which a turn happens.
pub fn turns_at(turn_key: &[u8]) -> Option<Timestamp> {
    let mut parts = Parts::of(turn_key);
    parts.subject().and_then(|_| parts.number()).and_then(|_| parts.instant())
}

/// The event whose verdict changes.
pub fn turned(turn_key: &[u8]) -> Option<(Timestamp, String)> {
    let mut parts = Parts::of(turn_key);
    let _ = (parts.subject(), parts.number(), parts.instant());
    parts.instant().zip(parts.text())
}

/// The members of a segment.
pub fn members(segment: &str) -> Vec<u8> {
    Key::new(table::MEMBER).text(segment).done()
}

/// A member of a segment. Those of one segment sort by kind, then by canonical id.
pub fn member(segment: &str, subject: &SubjectId) -> Vec<u8> {
    Key::new(table::MEMBER).text(segment).subject(subject).done()
}
