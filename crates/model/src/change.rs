//! One validated change of one source record: the output of ingest to the shards.

use serde::{Deserialize, Serialize};

use crate::{Identity, Path, SourceKind, Text, Timestamp, Value};

/// A change of a record, or an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceChange {
    /// A change of a keyed record.
    Record(Change),
    /// A change of an experience event.
    Event(Event),
}

/// A change of one keyed record (every kind but activities).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Never `SourceKind::Activity`.
    pub kind: SourceKind,
    /// The record's own `sourceKey`, trimmed.
    pub key: Text,
    /// Orders the changes of one key; of equal ones the later in the topic wins.
    pub modified_at: Timestamp,
    /// What happens to the record.
    pub operation: Operation,
}

/// What a change does to its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// The record is exactly this map of typed fields (bookkeeping fields — `modifiedAt`,
    /// `isDeleted`, `changedFields` — left out).
    Replace(Value),
    /// Only `paths` are taken from `value`; a path absent there is set to null.
    Patch {
        /// What is taken, each path once.
        paths: Vec<Path>,
        /// Where it is taken from.
        value: Value,
    },
    /// `isDeleted: true`. Ordered by `modified_at` like any other change.
    Delete,
    /// Null value in the topic: the key's record is deleted, and later records start from nothing,
    /// whatever their `modified_at`.
    Tombstone,
}

/// An experience event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// `_id`, unique; a repeat with a later `modified_at` replaces.
    pub id: Text,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// Orders the versions of one event.
    pub modified_at: Timestamp,
    /// At least one; each once; in no particular order (the shard orders them by namespace
    /// priority).
    pub identities: Vec<Identity>,
    /// What happens to the event.
    pub operation: EventOperation,
}

/// What a change does to its event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventOperation {
    /// The event's typed fields, `_id` and `timestamp` among them.
    Put(Value),
    /// `isDeleted: true`.
    Delete,
}

/// A record that cannot be used, and why. A value, never an error: the pipeline counts it,
/// dead-letters it and continues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// A fixed word, lower case with hyphens, such as `wrong-type`; the `reason` label of
    /// `millrace_dead_letters_total`.
    pub reason: Text,
    /// Where in the record, what was expected, what was found, what to do.
    pub detail: String,
}

impl Change {
    /// The identity node of the record itself, for kinds that are fragments of unified things.
    pub fn node(&self) -> Option<Identity> {
        Identity::new(self.kind.subject()?.namespace(), &self.key)
    }
}
