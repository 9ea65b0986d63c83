//! Derived rows: timers, and the reverse of references, aliases and memberships. Written together
//! with their base rows, and computed again from those when a shard is restored.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{Identity, SourceKind, SubjectId, SubjectKind, Text, Timestamp, namespace};

use millrace_segment::view::QueryId;

use crate::format;
use crate::key::{self, Key, Parts, table};
use crate::row::{AliasRow, Detail, Membership, ProfileRow, Reach, RecordRow, SequencedRow, SubjectRow, VerdictRow};
use crate::state::{RowChange, StateError, StateView};
use crate::tx::prefix_end;

/// A subject's wake-up.
pub(super) fn subject_timer(at: Timestamp, subject: &SubjectId) -> Vec<u8> {
    Key::new(table::TIMER).instant(at).byte(0).subject(subject).done()
}

/// The beginning or end of a link's validity.
pub(super) fn link_timer(at: Timestamp, link: &str) -> Vec<u8> {
    Key::new(table::TIMER).instant(at).byte(1).text(link).done()
}

/// What wakes up.
pub(super) enum Wake {
    Subject(SubjectId),
    Link(String),
}

pub(super) fn wake_of(timer_key: &[u8]) -> Option<(Timestamp, Wake)> {
    let mut parts = Parts::of(timer_key);
    let at = parts.instant()?;
    let wake = match parts.byte()? {
        0 => Wake::Subject(parts.subject()?),
        _ => Wake::Link(parts.text()?),
    };
    Some((at, wake))
}

/// Persons who need exact features come first, then other persons, then things.
pub(super) fn dependent(node: &Identity, detail: Detail, subject: &SubjectId) -> Vec<u8> {
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
pub(crate) fn dependents(node: &Identity, reach: Reach) -> (Vec<u8>, Vec<u8>) {
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
pub(crate) fn dependent_of(dependent_key: &[u8]) -> Option<SubjectId> {
    let mut parts = Parts::of(dependent_key);
    parts.node()?;
    parts.byte()?;
    parts.subject()
}

pub(super) fn alias_of(thing: &SubjectId, node: &Identity) -> Vec<u8> {
    Key::new(table::ALIAS_OF).subject(thing).node(node).done()
}

pub(crate) fn aliases_of(thing: &SubjectId) -> Vec<u8> {
    Key::new(table::ALIAS_OF).subject(thing).done()
}

/// The end of a verdict.
pub(super) fn agenda_entry(subject: &SubjectId, query: QueryId, until: Timestamp, id: &str) -> Vec<u8> {
    Key::new(table::AGENDA).subject(subject).number(query.0).instant(until).text(id).done()
}

pub(super) fn agenda_from(subject: &SubjectId, query: QueryId, until: Timestamp) -> Vec<u8> {
    Key::new(table::AGENDA).subject(subject).number(query.0).instant(until).done()
}

pub(super) fn turns(subject: &SubjectId, query: QueryId) -> Vec<u8> {
    Key::new(table::TURN).subject(subject).number(query.0).done()
}

pub(super) fn turns_from(subject: &SubjectId, query: QueryId, turns_at: Timestamp) -> Vec<u8> {
    Key::new(table::TURN).subject(subject).number(query.0).instant(turns_at).done()
}

/// When time changes the verdict on an event of a chain.
pub(super) fn turn(subject: &SubjectId, query: QueryId, turns_at: Timestamp, at: Timestamp, id: &str) -> Vec<u8> {
    Key::new(table::TURN)
        .subject(subject)
        .number(query.0)
        .instant(turns_at)
        .instant(at)
        .text(id)
        .done()
}

pub(super) fn turns_at(turn_key: &[u8]) -> Option<Timestamp> {
    let mut parts = Parts::of(turn_key);
    parts.subject().and_then(|_| parts.number()).and_then(|_| parts.instant())
}

/// The event whose verdict changes.
pub(super) fn turned(turn_key: &[u8]) -> Option<(Timestamp, String)> {
    let mut parts = Parts::of(turn_key);
    let _ = (parts.subject(), parts.number(), parts.instant());
    parts.instant().zip(parts.text())
}

pub(super) fn member(segment: &str, subject: &SubjectId) -> Vec<u8> {
    Key::new(table::MEMBER).text(segment).subject(subject).done()
}

/// Every node a profile refers to, with the detail in which its thing must be known: only a person
/// with several accounts adds their numbers up.
pub(super) fn references(kind: SubjectKind, profile: &ProfileRow) -> BTreeMap<Identity, Detail> {
    let direct = profile.references.iter().map(|(_, node)| node);
    let nodes: BTreeSet<&Identity> = direct.chain(profile.rows.iter().filter_map(|row| row.target.as_ref())).collect();
    let is_account = |node: &Identity| node.namespace() == namespace::ACCOUNT;
    let adds_up = kind == SubjectKind::Person && nodes.iter().filter(|node| is_account(node)).nth(1).is_some();
    let detail = |node: &Identity| if adds_up && is_account(node) { Detail::Exact } else { Detail::Banded };
    nodes.into_iter().map(|node| (node.clone(), detail(node))).collect()
}

fn realized(memberships: &[Membership]) -> BTreeSet<Text> {
    memberships
        .iter()
        .filter(|membership| membership.realized)
        .map(|membership| membership.segment.clone())
        .collect()
}

/// The derived rows that follow from a change of base rows.
pub(super) fn derive(view: &dyn StateView, rows: &[RowChange]) -> Result<Vec<RowChange>, StateError> {
    let mut derived = Vec::new();
    for (row_key, after) in rows {
        let derives = matches!(
            key::table_of(row_key),
            Some(table::SUBJECT | table::PROFILE | table::VERDICT | table::SEQUENCED | table::ALIAS | table::RECORD)
        );
        if !derives {
            continue;
        }
        let before = view.get(row_key)?;
        let mut gone = keys_of(row_key, before.as_deref())?;
        let new = keys_of(row_key, after.as_deref())?;
        gone.retain(|key| !new.contains(key));
        derived.extend(gone.into_iter().map(|key| (key, None)));
        derived.extend(new.into_iter().map(|key| (key, Some(Vec::new()))));
    }
    Ok(derived)
}

/// The derived keys of one base row.
fn keys_of(row_key: &[u8], value: Option<&[u8]>) -> Result<BTreeSet<Vec<u8>>, StateError> {
    let mut keys = BTreeSet::new();
    let Some(value) = value else { return Ok(keys) };
    let mut parts = Parts::of(row_key);
    match key::table_of(row_key) {
        Some(table::SUBJECT) => {
            let Some(subject) = key::subject_of(row_key) else { return Ok(keys) };
            let row: SubjectRow = format::decode(value)?;
            if row.timer.0 != Timestamp::MAX {
                keys.insert(subject_timer(row.timer.0, &subject));
            }
            keys.extend(realized(&row.memberships).iter().map(|segment| member(segment, &subject)));
        }
        Some(table::PROFILE) => {
            let Some(subject) = key::subject_of(row_key) else { return Ok(keys) };
            let profile: ProfileRow = format::decode(value)?;
            keys.extend(
                references(subject.kind, &profile)
                    .iter()
                    .map(|(node, detail)| dependent(node, *detail, &subject)),
            );
        }
        Some(table::VERDICT) => {
            let (Some(subject), Some(query), Some(id)) = (key::subject_of(row_key), parts.number(), parts.text()) else {
                return Ok(keys);
            };
            let verdict: VerdictRow = format::decode(value)?;
            if verdict.valid_until < Timestamp::MAX {
                keys.insert(agenda_entry(&subject, QueryId(query), verdict.valid_until, &id));
            }
        }
        Some(table::SEQUENCED) => {
            let (Some(subject), Some(query), Some(at), Some(id)) = (key::subject_of(row_key), parts.number(), parts.instant(), parts.text()) else {
                return Ok(keys);
            };
            let event: SequencedRow = format::decode(value)?;
            if event.turns_at < Timestamp::MAX {
                keys.insert(turn(&subject, QueryId(query), event.turns_at, at, &id));
            }
        }
        Some(table::ALIAS) => {
            let Some(node) = key::node_of(row_key) else { return Ok(keys) };
            let alias: AliasRow = format::decode(value)?;
            keys.extend(alias.canonical.map(|canonical| alias_of(&super::related::thing_of(&node, canonical), &node)));
        }
        Some(table::RECORD) if parts.byte() == Some(SourceKind::AccountLink as u8) => {
            let Some(link) = parts.text() else { return Ok(keys) };
            let record: RecordRow = format::decode(value)?;
            keys.extend(record.timer.map(|at| link_timer(at, &link)));
        }
        _ => {}
    }
    Ok(keys)
}
