//! The merged profile of a subject: attributes, identities, relation rows and references.

use std::collections::{BTreeMap, BTreeSet};

use millrace_identity::Reason;
use millrace_model::relation::{Reference, Role};
use millrace_model::{Identity, Map, SubjectId, SubjectKind, Value};

use super::owner::row_id;
use super::resolve::identities_of;
use super::view::RowView;
use super::{Step, derive};
use crate::format;
use crate::key::{self, table};
use crate::merge::merge;
use crate::message::RowId;
use crate::record::Fragment;
use crate::row::{AsideRow, FragmentRow, ProfileRelation, ProfileRow, RelationRow, SubjectRow};
use crate::state::{Row, StateError};

impl Step<'_> {
    /// Merges fragments and rows again. Returns whether anything that rules can see changed.
    pub(super) fn merge_profile(&mut self, subject: &SubjectId) -> Result<bool, StateError> {
        let profile_key = key::of_subject(table::PROFILE, subject);
        let before: Option<ProfileRow> = self.tx.get(&profile_key)?;
        let mut fragments: Vec<(Identity, Fragment)> = Vec::new();
        let mut rows = Vec::new();
        let (first, end) = key::records(subject);
        for (row_key, value) in self.tx.scan(&first, &end, usize::MAX)? {
            if key::table_of(&row_key) == Some(table::FRAGMENT) {
                let row: FragmentRow = format::decode(&value)?;
                if let (Some(node), Some(fragment)) = (key::Parts::of(&row_key).node(), row.fragment) {
                    fragments.push((node, fragment));
                }
                continue;
            }
            let relation: RelationRow = format::decode(&value)?;
            let (Some(RowId { kind, key }), Some(value)) = (row_id(&row_key), relation.value) else {
                continue;
            };
            let target = kind.named(Role::Target, &value).next();
            rows.push(ProfileRelation {
                kind,
                key,
                target,
                value: living(value),
            });
        }
        rows.sort_by(|a, b| (a.kind, &a.key).cmp(&(b.kind, &b.key)));
        // A row may be attached to two nodes of one cluster while it moves between them.
        rows.dedup_by(|a, b| (a.kind, &a.key) == (b.kind, &b.key));

        let records = u32::try_from(fragments.len()).unwrap_or(u32::MAX);
        let after = if records == 0 && rows.is_empty() {
            ProfileRow::default()
        } else {
            self.profile_of(subject.kind, &fragments, rows)
        };
        let row = self.tx.subject(subject)?;
        let population = (row.records == 0) != (records == 0);
        row.records = records;
        let before_or_none = before.clone().unwrap_or_default();
        if before_or_none == after {
            return Ok(population);
        }
        self.refer(
            subject,
            &derive::references(subject.kind, &before_or_none),
            &derive::references(subject.kind, &after),
        )?;
        if after == ProfileRow::default() {
            self.tx.delete(profile_key)
        } else {
            self.tx.put(profile_key, &after)
        }
        Ok(true)
    }

    fn profile_of(&self, kind: SubjectKind, fragments: &[(Identity, Fragment)], rows: Vec<ProfileRelation>) -> ProfileRow {
        let source = kind.source();
        let record = self.deployment.schema.record(source);
        let attributes = if fragments.is_empty() {
            Value::Null
        } else {
            living(merge(fragments.iter().map(|(node, fragment)| (node, fragment)), record).value)
        };
        let mut identities: BTreeSet<Identity> = BTreeSet::new();
        let mut references: BTreeSet<(Reference, Identity)> = BTreeSet::new();
        for (node, fragment) in fragments {
            let current = fragment.current();
            identities.insert(node.clone());
            identities.extend(identities_of(source, &current));
            for names in source.names() {
                if let Role::ReferenceOfEach(sense) = names.role {
                    references.extend(names.nodes(&current).into_iter().map(|node| (sense, node)));
                }
            }
        }
        for names in source.names() {
            if let Role::Reference(sense) = names.role {
                references.extend(names.nodes(&attributes).into_iter().map(|node| (sense, node)));
            }
        }
        ProfileRow {
            attributes,
            identities,
            rows,
            references: references.into_iter().collect(),
        }
    }
}

/// Every identity of the subject that a live record or retained event carries, without those
/// set aside.
/// The subject's own id is among them only if a record or event carries it.
pub fn carried_identities(rows: &dyn RowView, subject: &SubjectId, row: &SubjectRow, profile: &ProfileRow) -> Result<BTreeSet<Identity>, StateError> {
    let mut identities = profile.identities.clone();
    if row.event_links > 0 {
        for (link_key, _) in rows.rows(&key::of_subject(table::EVENT_LINK, subject))? {
            let mut parts = key::Parts::of(&link_key);
            identities.extend(parts.node());
            identities.extend(parts.node());
        }
    }
    remove_asides(rows, subject, row, &mut identities)?;
    Ok(identities)
}

/// Leaves out the identities of a subject that are set aside.
pub fn remove_asides(rows: &dyn RowView, subject: &SubjectId, row: &SubjectRow, identities: &mut BTreeSet<Identity>) -> Result<(), StateError> {
    if row.asides > 0 {
        for (node, _) in asides(rows.rows(&key::of_subject(table::ASIDE, subject))?)? {
            identities.remove(&node);
        }
    }
    Ok(())
}

/// The identities set aside that rows `ASIDE` name, each with the first reason found.
pub fn asides(rows: Vec<Row>) -> Result<BTreeMap<Identity, Reason>, StateError> {
    let mut found = BTreeMap::new();
    for (aside_key, value) in rows {
        let mut parts = key::Parts::of(&aside_key);
        parts.node();
        let row: AsideRow = format::decode(&value)?;
        if let (Some(node), Some(reason)) = (parts.node(), row.reason) {
            found.entry(node).or_insert(reason);
        }
    }
    Ok(found)
}

/// `isDeleted` can be read, and is false on live things.
fn living(mut value: Value) -> Value {
    if let Value::Map(map) = &mut value {
        map.insert("isDeleted", Value::Bool(false));
    } else if value.is_null() {
        value = Value::Map(Map::new());
    }
    value
}
