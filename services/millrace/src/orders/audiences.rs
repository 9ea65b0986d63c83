//! Members of external audiences to the source topic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use millrace_api::backend::{BackendError, Replace};
use millrace_api::dto::{ImportView, MemberLine, RejectedLine};
use millrace_log::{Record, TopicPartition};
use millrace_model::{Identity, Operation, Schema, SourceChange, SourceKind, SubjectKind, Timestamp};
use millrace_runtime::clock::{Clock, SystemClock};
use millrace_segment::Kind;
use millrace_shard::machine::InputTopic;
use millrace_shard::murmur::partition_of;
use millrace_wire::Decoder;
use serde_json::{Value, json};

use super::{LogOrders, caught_up, failure, poll};

impl LogOrders {
    /// See `Commands::import`.
    pub(super) fn import_members(&self, audience: &str, lines: Vec<Result<MemberLine, String>>, replace: Replace) -> Result<ImportView, BackendError> {
        let subject = self.external_audience(audience)?;
        let mut view = ImportView::default();
        let mut records: BTreeMap<String, Option<Value>> = BTreeMap::new();
        for (line, parsed) in (1..).zip(lines) {
            match parsed.and_then(|member| membership(audience, subject, &member)) {
                Ok((key, value)) => {
                    view.accepted += 1;
                    records.insert(key, Some(value));
                }
                Err(reason) => view.rejected.push(RejectedLine { line, reason }),
            }
        }
        if replace != Replace::Nobody {
            if !view.rejected.is_empty() {
                return Ok(ImportView { accepted: 0, ..view });
            }
            let present = self.members_on_the_topic(audience)?;
            let now = SystemClock.now();
            let nobody_stays = !records.values().flatten().any(|membership| lasts(membership, now));
            if nobody_stays && !present.is_empty() && replace != Replace::AllEvenByNobody {
                let why = if records.is_empty() {
                    "no members are given"
                } else {
                    "all members that are given have expired"
                };
                return Err(BackendError::Refused(format!(
                    "{why}: that would take all {} out of `{audience}`; if that is meant, say so with `--allow-empty` (`allowEmpty=true`)",
                    present.len()
                )));
            }
            let gone: Vec<String> = present.into_iter().filter(|key| !records.contains_key(key)).collect();
            view.removed = gone.len() as u64;
            records.extend(gone.into_iter().map(|key| (key, None)));
        }
        let topic = self.topology.input(InputTopic::Source(SourceKind::AudienceMember));
        let partitions = self.partitions(&topic)?;
        let topic: Arc<str> = topic.into();
        let placed = records.into_iter().map(|(key, value)| {
            let place = TopicPartition {
                topic: Arc::clone(&topic),
                partition: partition_of(key.as_bytes(), partitions),
            };
            let record = Record {
                key: Some(Bytes::from(key)),
                value: value.map(|value| Bytes::from(value.to_string())),
                headers: Vec::new(),
            };
            (place, record)
        });
        let placed: Vec<_> = placed.collect();
        if !placed.is_empty() {
            self.log.append(placed).map_err(|error| failure("appending members", error))?;
        }
        Ok(view)
    }

    /// The kind of subject of an external audience.
    fn external_audience(&self, name: &str) -> Result<SubjectKind, BackendError> {
        self.with_definitions(|definitions| {
            let definition = definitions.get(name).map(|accepted| accepted.compiled.definition());
            match definition.filter(|definition| matches!(definition.kind, Kind::ExternalAudience { .. })) {
                Some(definition) => Ok(definition.subject),
                None => Err(BackendError::NotFound(format!(
                    "there is no external audience `{name}`; apply a definition with `kind: ExternalAudience` first"
                ))),
            }
        })
    }

    /// Keys of the topic's records that are memberships of the audience now.
    fn members_on_the_topic(&self, audience: &str) -> Result<BTreeSet<String>, BackendError> {
        let unusable = |error: millrace_wire::AvroSchemaError| BackendError::Failure {
            context: "reading the schemas".to_owned(),
            source: Box::new(error),
        };
        let mut decoder = Decoder::builder(Arc::new(Schema::clone(&self.schema))).map_err(unusable)?;
        if let Some(registry) = &self.registry {
            decoder = decoder.registry(Arc::clone(registry));
        }
        let decoder = decoder.build();
        let mut reader = self.reader(&self.topology.input(InputTopic::Source(SourceKind::AudienceMember)))?;
        let mut present = BTreeSet::new();
        while !caught_up(&mut *reader)? {
            for delivered in poll(&mut *reader)? {
                let (key, value) = (delivered.record.key.as_deref(), delivered.record.value.as_deref());
                let decoded = decoder.decode(SourceKind::AudienceMember, key, value, delivered.timestamp, delivered.timestamp);
                // An undecodable record is not a membership, and changes none.
                let Some(SourceChange::Record(change)) = decoded.ok().map(|decoded| decoded.change) else {
                    continue;
                };
                match change.operation {
                    Operation::Replace(value) if value.field("audience").as_str() == Some(audience) => present.insert(change.key.to_string()),
                    Operation::Patch { .. } => continue,
                    Operation::Replace(_) | Operation::Delete | Operation::Tombstone => present.remove(change.key.as_str()),
                };
            }
        }
        Ok(present)
    }
}

/// The record of a membership, and its key: one for each audience and identity, so that an import
/// renews memberships of an earlier one.
fn membership(audience: &str, subject: SubjectKind, line: &MemberLine) -> Result<(String, Value), String> {
    let member = Identity::parse(&line.member).map_err(|error| format!("`member`: {error}; expected `namespace:id`"))?;
    let kind = SubjectKind::of_namespace(member.namespace());
    if kind != subject {
        return Err(format!("`{member}` names a {}; the audience is about {}s", kind.name(), subject.name()));
    }
    let mut value = json!({ "audience": audience, "member": member.to_string() });
    if let Some(until) = &line.valid_until {
        Timestamp::parse(until).map_err(|_| format!("`validUntil` is `{until}`; expected RFC 3339"))?;
        value["validUntil"] = until.as_str().into();
    }
    Ok((format!("{audience}|{member}"), value))
}

/// Whether a membership counts now: one without an end of its own begins with the import.
fn lasts(membership: &Value, now: Timestamp) -> bool {
    let until = membership["validUntil"].as_str().and_then(|until| Timestamp::parse(until).ok());
    until.is_none_or(|until| until > now)
}

#[cfg(test)]
mod tests {
    use millrace_api::backend::Commands;
    use millrace_log::Log;

    use super::*;
    use crate::orders::tests::{orders_and_log, topic};

    fn lines(members: &[&str]) -> Vec<Result<MemberLine, String>> {
        let line = |member: &&str| {
            let (member, until) = member.split_once(' ').unwrap_or((member, ""));
            Ok(MemberLine {
                member: member.to_owned(),
                valid_until: (!until.is_empty()).then(|| until.to_owned()),
            })
        };
        members.iter().map(line).collect()
    }

    #[test]
    fn an_import_adds_renews_and_replaces() {
        let (orders, log) = orders_and_log();
        log.create_topic(&topic("millrace.source.audience-member")).unwrap();
        let unknown = orders.import("partners", lines(&["email:a@b.c"]), Replace::Nobody);
        assert!(matches!(unknown, Err(BackendError::NotFound(_))), "{unknown:?}");
        orders.put_segment("partners", "kind: ExternalAudience\nmetadata: { name: partners }").unwrap();
        type Case<'a> = (&'a [&'a str], Replace, (u64, u64, usize));
        let table: [Case<'_>; 6] = [
            (
                &["email:A@b.c", "ecid:1 2026-12-31T00:00:00Z", "b2b_account:1", "nobody", "ecid:2 soon"],
                Replace::Nobody,
                (2, 0, 3),
            ),
            (&["email:a@b.c", "email:d@e.f"], Replace::All, (2, 1, 0)),
            (&["email:a@b.c", "nobody"], Replace::All, (0, 0, 1)),
            (&["email:a@b.c"], Replace::All, (1, 1, 0)),
            (&["email:x@y.z 2020-01-01T00:00:00Z"], Replace::AllEvenByNobody, (1, 1, 0)),
            (&[], Replace::AllEvenByNobody, (0, 1, 0)),
        ];
        for (members, replace, expected) in table {
            if replace == Replace::AllEvenByNobody {
                let refused = orders.import("partners", lines(members), Replace::All).map_err(|error| error.to_string());
                assert!(refused.is_err_and(|reason| reason.contains("--allow-empty")));
            }
            let view = orders.import("partners", lines(members), replace).unwrap();
            assert_eq!((view.accepted, view.removed, view.rejected.len()), expected, "{members:?}");
        }
        let content = log.content("millrace.source.audience-member");
        let shown = content.iter().map(|delivered| {
            let key = String::from_utf8_lossy(delivered.record.key.as_deref().unwrap_or_default()).into_owned();
            format!("{}{key}", if delivered.record.value.is_some() { "+" } else { "-" })
        });
        let expected = [
            "+partners|ecid:1",
            "+partners|email:a@b.c",
            "-partners|ecid:1",
            "+partners|email:a@b.c",
            "+partners|email:d@e.f",
            "+partners|email:a@b.c",
            "-partners|email:d@e.f",
            "-partners|email:a@b.c",
            "+partners|email:x@y.z",
            "-partners|email:x@y.z",
        ];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }
}
