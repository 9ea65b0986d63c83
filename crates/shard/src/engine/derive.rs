//! Derived rows: timers, and the reverse of references, aliases and memberships. Written together
//! with their base rows, and computed again from those when a shard is restored.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{Identity, SourceKind, SubjectId, SubjectKind, Text, Timestamp, namespace};

use millrace_segment::view::QueryId;

use crate::format;
use crate::key::{self, Parts, table};
use crate::row::{AliasRow, Detail, Membership, ProfileRow, RecordRow, SequencedRow, SubjectRow, VerdictRow};
use crate::state::{RowChange, StateError, StateView};

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
                keys.insert(key::subject_timer(row.timer.0, &subject));
            }
            keys.extend(realized(&row.memberships).iter().map(|segment| key::member(segment, &subject)));
        }
        Some(table::PROFILE) => {
            let Some(subject) = key::subject_of(row_key) else { return Ok(keys) };
            let profile: ProfileRow = format::decode(value)?;
            keys.extend(
                references(subject.kind, &profile)
                    .iter()
                    .map(|(node, detail)| key::dependent(node, *detail, &subject)),
            );
        }
        Some(table::VERDICT) => {
            let (Some(subject), Some(query), Some(id)) = (key::subject_of(row_key), parts.number(), parts.text()) else {
                return Ok(keys);
            };
            let verdict: VerdictRow = format::decode(value)?;
            if verdict.valid_until < Timestamp::MAX {
                keys.insert(key::agenda_entry(&subject, QueryId(query), verdict.valid_until, &id));
            }
        }
        Some(table::SEQUENCED) => {
            let (Some(subject), Some(query), Some(at), Some(id)) = (key::subject_of(row_key), parts.number(), parts.instant(), parts.text()) else {
                return Ok(keys);
            };
            let event: SequencedRow = format::decode(value)?;
            if event.turns_at < Timestamp::MAX {
                keys.insert(key::turn(&subject, QueryId(query), event.turns_at, at, &id));
            }
        }
        Some(table::ALIAS) => {
            let Some(node) = key::node_of(row_key) else { return Ok(keys) };
            let alias: AliasRow = format::decode(value)?;
            keys.extend(alias.canonical.map(|canonical| key::alias_of(&SubjectId::of(&node, canonical), &node)));
        }
        Some(table::RECORD) if parts.byte() == Some(SourceKind::AccountLink as u8) => {
            let Some(link) = parts.text() else { return Ok(keys) };
            let record: RecordRow = format::decode(value)?;
            keys.extend(record.timer.map(|at| key::link_timer(at, &link)));
        }
        _ => {}
    }
    Ok(keys)
}
