//! activation: the subjects that hold each destination identity, and the desired state that
//! follows.
//!
//! A subject counts for every identity of a destination's namespace that it carries while it is in
//! an audience of that destination. Several subjects may share an identity. The destination
//! receives the first that enters and the last that leaves, and every change of a mapped attribute:
//! the desired state does not depend on the order of the facts.

use std::collections::BTreeSet;

use bytes::Bytes;
use millrace_model::text::domain;
use millrace_model::{Identity, Map, SubjectId, Text, Value, namespace};

use super::outbox::Outbox;
use super::profile::carried_identities;
use super::transaction::Transaction;
use crate::deployment::{Deployment, Destination};
use crate::key::{self, table};
use crate::machine::{Output, OutputTopic, Partition};
use crate::message::Message;
use crate::program::Program;
use crate::row::{ActivatedRow, ActivationKey, ActivationRow, ProfileRow, SubjectRow};
use crate::state::StateError;

/// The stage with the parts of a step that it needs.
pub(super) struct Activation<'s, 'a> {
    pub deployment: &'s Deployment,
    pub program: &'s Program,
    pub tx: &'s mut Transaction<'a>,
    pub out: &'s mut Outbox,
}

impl Activation<'_, '_> {
    /// Compares the identities that the subject should count for with those it counts for.
    /// `refreshed`: its attributes may differ from the last ones sent.
    pub(super) fn activations(&mut self, subject: &SubjectId, row: &SubjectRow, refreshed: bool) -> Result<(), StateError> {
        let realized: Vec<Text> = row
            .memberships
            .iter()
            .filter(|membership| membership.realized)
            .map(|membership| membership.segment.clone())
            .collect();
        let mut wanted: BTreeSet<ActivationKey> = BTreeSet::new();
        let destinations = &self.deployment.destinations;
        let mut read: Option<(ProfileRow, BTreeSet<Identity>)> = None;
        for audience in realized {
            let Some(accepted) = self.program.definitions.get(&audience) else { continue };
            for destination in &accepted.compiled.definition().destinations {
                if read.is_none() {
                    let profile: ProfileRow = self.tx.get(&key::of_subject(table::PROFILE, subject))?.unwrap_or_default();
                    let identities = carried_identities(self.tx, subject, row, &profile)?;
                    read = Some((profile, identities));
                }
                let Some((profile, identities)) = &read else { continue };
                let known = known_as(destinations.get(destination), &profile.attributes, identities);
                wanted.extend(known.into_iter().map(|identity| ActivationKey {
                    destination: destination.clone(),
                    audience: audience.clone(),
                    identity,
                }));
            }
        }
        let row_key = key::of_subject(table::ACTIVATED, subject);
        let known: ActivatedRow = self.tx.get(&row_key)?.unwrap_or_default();
        let maps = |key: &ActivationKey| destinations.get(&key.destination).is_some_and(|destination| !destination.attributes.is_empty());
        let changed: Vec<ActivationKey> = wanted.iter().filter(|key| !known.contains(key) || (refreshed && maps(key))).cloned().collect();
        for key in known.difference(&wanted) {
            let message = Message::Activate {
                key: key.clone(),
                subject: subject.clone(),
                present: false,
                attributes: Value::Null,
            };
            self.out.send(message);
        }
        let (profile, _) = read.unwrap_or_default();
        for key in changed {
            let mut attributes = Map::new();
            for (name, path) in destinations.get(&key.destination).iter().flat_map(|destination| &destination.attributes) {
                let value = path.steps().iter().fold(&profile.attributes, |value, step| value.field(step));
                if !value.is_null() {
                    attributes.insert(name, value.clone());
                }
            }
            let message = Message::Activate {
                key: key.clone(),
                subject: subject.clone(),
                present: true,
                attributes: Value::Map(attributes),
            };
            self.out.send(message);
        }
        if wanted != known {
            if wanted.is_empty() {
                self.tx.delete(row_key)
            } else {
                self.tx.put(row_key, &wanted)
            }
        }
        Ok(())
    }

    /// At the key's shard: a subject begins to count for it, changes its attributes, or no longer
    /// counts.
    pub(super) fn activate(&mut self, key: &ActivationKey, subject: SubjectId, present: bool, attributes: Value) -> Result<(), StateError> {
        let row_key = key::activation(key);
        let mut row: ActivationRow = self.tx.get(&row_key)?.unwrap_or_default();
        let before = desired(&row).cloned();
        if present {
            row.members.insert(subject, attributes);
        } else {
            row.members.remove(&subject);
        }
        let after = desired(&row);
        if before.as_ref() != after {
            let attributes = after.and_then(Value::as_map).cloned().unwrap_or_default();
            let state = millrace_wire::DestinationState {
                destination: key.destination.to_string(),
                audience: key.audience.to_string(),
                identity: key.identity.clone(),
                state: if after.is_some() {
                    millrace_wire::Presence::Present
                } else {
                    millrace_wire::Presence::Absent
                },
                attributes: attributes.iter().map(|(name, value)| (name.to_string(), value.to_json())).collect(),
                changed_at: self.tx.now,
            };
            let value = self.deployment.output.encode_destination_state(&state).map_err(StateError::store)?;
            let topic_key = Bytes::from(state.key());
            self.out.post(Output {
                topic: OutputTopic::Destination(key.destination.clone()),
                partition: Partition::Hash(topic_key.clone()),
                key: Some(topic_key),
                value: Some(Bytes::from(value)),
                headers: Vec::new(),
            });
        }
        if row.members.is_empty() {
            self.tx.delete(row_key)
        } else {
            self.tx.put(row_key, &row)
        }
        Ok(())
    }
}

/// The identities by which a destination knows a subject.
fn known_as(destination: Option<&Destination>, attributes: &Value, identities: &BTreeSet<Identity>) -> BTreeSet<Identity> {
    let namespace = destination.map_or(namespace::EMAIL, |destination| destination.namespace.as_str());
    let Some(path) = destination.and_then(|destination| destination.known_by.as_ref()) else {
        return identities.iter().filter(|identity| identity.namespace() == namespace).cloned().collect();
    };
    let value = path.steps().iter().fold(attributes, |value, step| value.field(step));
    let values = value.as_list().unwrap_or(std::slice::from_ref(value));
    let identity = |text: &str| match namespace {
        namespace::DOMAIN => Identity::new(namespace, &domain(text)),
        _ => Identity::new(namespace, text),
    };
    values.iter().filter_map(Value::as_str).filter_map(identity).collect()
}

/// The attributes desired at the destination; `None`: nobody is desired there. Of several subjects
/// the least one's: destinations know one person per identity.
fn desired(row: &ActivationRow) -> Option<&Value> {
    row.members.values().next()
}
