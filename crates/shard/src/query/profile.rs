//! A subject as it is: merged fields, identities, source records, memberships, events.

use std::collections::BTreeMap;

use millrace_identity::Reason;
use millrace_model::{CanonicalId, Identity, Relation, SubjectId, SubjectKind, Text, Timestamp, Value};

use super::committed::{Committed, Exact};
use super::{Query, QueryError, Reader, get, scan};
use crate::engine::{SubjectView, asides, carried_identities, ends, is_alive};
use crate::format;
use crate::key::{self, Parts, table};
use crate::merge::{Merged, merge};
use crate::record::Fragment;
use crate::row::{ComputedRow, ExitRow, FragmentRow, LedgerRow, ProfileRelation, ProfileRow, SubjectRow};
use crate::state::StateError;

/// A subject as it is.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The subject, by the canonical id of its cluster.
    pub subject: SubjectId,
    /// Whether it is in the population: a live record or a retained event.
    pub alive: bool,
    /// Those that its records and retained events carry, its own id included, without those set aside.
    /// Ascending.
    pub identities: Vec<Identity>,
    /// Identities that its records or events carry and that are set aside, each with the reason.
    pub aside: Vec<(Identity, Reason)>,
    /// Merged fields and their sources.
    pub merged: Merged,
    /// The source records that make it up.
    pub records: Vec<(Identity, Fragment)>,
    /// The relation rows that belong to it.
    pub rows: Vec<ProfileRelation>,
    /// Segments the subject is in or was in, as last written to the membership topic. Ascending by
    /// name.
    pub memberships: Vec<WrittenMembership>,
    /// Ascending by name.
    pub computed: ComputedRow,
    /// Retained events.
    pub events: u64,
    /// A person's accounts.
    pub accounts: Vec<CanonicalId>,
    /// The heir, for a subject that was absorbed.
    pub merged_into: Option<CanonicalId>,
}

/// The last record of a subject and a segment on the membership topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenMembership {
    /// The segment's name.
    pub segment: Text,
    /// Whether the record says that it entered.
    pub realized: bool,
    /// When the subject last entered.
    pub qualified_at: Timestamp,
    /// When that was written: the entry, or the exit.
    pub evaluated_at: Timestamp,
    /// The instant until which it holds as far as is known now; `MAX` for an exit.
    pub valid_until: Timestamp,
}

/// One retained event.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// The event's id, unique within its person.
    pub id: Text,
    /// When it occurred.
    pub occurred_at: Timestamp,
    /// The node that reported it.
    pub home: Identity,
    /// Its fields, in the version that counts.
    pub body: Value,
}

impl Query {
    /// Changes with a subject's records, not with its events: merged fields, identities, relations.
    ///
    /// # Errors
    /// Where its shard is not open, or its store failed.
    pub fn profile_row(&self, subject: &SubjectId) -> Result<ProfileRow, QueryError> {
        let reader = self.owner_of(&subject.id.0)?;
        Ok(get(&reader, &key::of_subject(table::PROFILE, subject))?.unwrap_or_default())
    }

    /// A subject's profile; `None` if nothing is known of it.
    ///
    /// # Errors
    /// Where a shard is not open, or its store failed.
    pub fn profile(&self, subject: &SubjectId, now: Timestamp) -> Result<Option<Profile>, QueryError> {
        let reader = self.owner_of(&subject.id.0)?;
        let Some(row) = get::<SubjectRow>(&reader, &key::of_subject(table::SUBJECT, subject))? else {
            return Ok(None);
        };
        let profile: ProfileRow = get(&reader, &key::of_subject(table::PROFILE, subject))?.unwrap_or_default();
        let records = self.records(&reader, subject)?;
        let record_type = self.config.schema.record(subject.kind.source());
        let merged = merge(records.iter().map(|(node, fragment)| (node, fragment)), record_type);
        let aside = asides(scan(&reader, &key::of_subject(table::ASIDE, subject))?)?;
        let computed = get(&reader, &key::of_subject(table::COMPUTED, subject))?.unwrap_or_default();
        let program = self.program()?;
        let exact = Exact {
            query: self,
            program: &program,
            committed: Committed(reader),
        };
        let mut identities = carried_identities(&exact, subject, &row, &profile)?;
        identities.insert(subject.id.0.clone());
        let mut view = SubjectView::new(&exact, subject, &program, []);
        let accounts = if subject.kind == SubjectKind::Person {
            view.named(Relation::Accounts).unwrap_or_default()
        } else {
            Default::default()
        };
        let segments = row
            .memberships
            .iter()
            .filter(|membership| membership.realized)
            .map(|membership| &membership.segment);
        let ends = ends(&mut view, &program, &row.memberships, segments, now);
        view.finish()?;
        let memberships = self.written(subject, &row, &ends)?;
        Ok(Some(Profile {
            alive: is_alive(subject.kind, &row, now),
            identities: identities.into_iter().collect(),
            aside: aside.into_iter().collect(),
            merged,
            records,
            rows: profile.rows,
            memberships,
            computed,
            events: row.events,
            accounts: accounts.into_iter().collect(),
            merged_into: row.merged_into,
            subject: subject.clone(),
        }))
    }

    /// The last written memberships of a subject, in the order of their segments.
    pub(super) fn written(&self, subject: &SubjectId, row: &SubjectRow, ends: &BTreeMap<Text, Timestamp>) -> Result<Vec<WrittenMembership>, QueryError> {
        let realized = row.memberships.iter().filter(|membership| membership.realized);
        let mut written: Vec<WrittenMembership> = realized
            .map(|membership| WrittenMembership {
                segment: membership.segment.clone(),
                realized: true,
                qualified_at: membership.qualified_at,
                evaluated_at: membership.qualified_at,
                valid_until: ends.get(&membership.segment).copied().unwrap_or(Timestamp::MAX),
            })
            .collect();
        let reader = self.owner_of(&subject.id.0)?;
        for (exit_key, value) in scan(&reader, &key::of_subject(table::EXITED, subject))? {
            let Some(segment) = Parts::of(&exit_key).text() else { continue };
            let ExitRow { qualified_at, exited_at } = format::decode(&value)?;
            written.push(WrittenMembership {
                segment: segment.into(),
                realized: false,
                qualified_at,
                evaluated_at: exited_at,
                valid_until: Timestamp::MAX,
            });
        }
        written.sort_by(|a, b| a.segment.cmp(&b.segment));
        Ok(written)
    }

    pub(super) fn records(&self, reader: &Reader, subject: &SubjectId) -> Result<Vec<(Identity, Fragment)>, StateError> {
        let mut records = Vec::new();
        for (fragment_key, value) in scan(reader, &key::of_subject(table::FRAGMENT, subject))? {
            let row: FragmentRow = format::decode(&value)?;
            if let (Some(node), Some(fragment)) = (Parts::of(&fragment_key).node(), row.fragment) {
                records.push((node, fragment));
            }
        }
        Ok(records)
    }

    /// A person's retained events, newest first.
    ///
    /// # Errors
    /// Where a shard is not open, or its store failed.
    pub fn events(&self, subject: &SubjectId, limit: usize) -> Result<Vec<StoredEvent>, QueryError> {
        let reader = self.owner_of(&subject.id.0)?;
        let mut events = Vec::new();
        for (event_key, value) in scan(&reader, &key::of_subject(table::EVENT, subject))? {
            let Some(id) = key::event_id(&event_key) else { continue };
            if let Some(copy) = LedgerRow::decode(subject, &id, &value)?.effective() {
                let body = copy.body.clone().unwrap_or_default();
                events.push(StoredEvent {
                    id,
                    occurred_at: copy.occurred_at,
                    home: copy.home.clone(),
                    body,
                });
            }
        }
        events.sort_by(|a, b| (b.occurred_at, &a.id).cmp(&(a.occurred_at, &b.id)));
        events.truncate(limit);
        Ok(events)
    }
}
