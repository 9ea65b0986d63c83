//! Output records: memberships and destination states, and how they are written and read.
//!
//! Field names are those of `schemas/output`. In JSON instants are RFC 3339 and attributes plain
//! JSON; in Avro instants are `timestamp-millis` and each attribute is the JSON text of its value.
//! Readers take any encoding and ignore fields that later versions add; everything ever written
//! stays readable, which the fixtures prove.

mod codec;
mod encode;

use std::collections::BTreeMap;

use millrace_model::{Identity, Timestamp};
use serde::{Deserialize, Serialize};

pub use codec::{OutputCodec, OutputError};

/// One record of `audience.membership`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    /// Name of the segment.
    pub segment: String,
    /// Version of the definition that was evaluated.
    pub segment_version: i64,
    /// `person` or `account`.
    pub subject_type: String,
    /// Canonical id, `namespace:id`.
    pub subject_id: String,
    /// Whether the subject entered or left.
    pub status: Status,
    /// When the subject last entered; on an exit, when it had entered before.
    #[serde(with = "encode::instant")]
    pub last_qualification_time: Timestamp,
    /// The instant of the evaluation.
    #[serde(with = "encode::instant")]
    pub evaluated_at: Timestamp,
    /// The next instant at which time alone would change the status, as of `evaluated_at`. A lower
    /// bound.
    #[serde(with = "encode::optional_instant", default)]
    pub valid_until: Option<Timestamp>,
    /// Grows with every change of any membership of this subject.
    pub sequence: i64,
    /// As of `evaluated_at`, ascending.
    #[serde(with = "encode::identities", default)]
    pub identities: Vec<Identity>,
    /// What led to the change.
    pub cause: Cause,
    /// Canonical id of the profile that absorbed this one.
    #[serde(default)]
    pub merged_into: Option<String>,
}

/// Whether a subject is in an audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// The subject has entered.
    Realized,
    /// The subject has left.
    Exited,
}

/// The cause of a status change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// The kind of cause.
    pub kind: CauseKind,
    /// Source topic of the record.
    #[serde(default)]
    pub topic: Option<String>,
    /// Key of the record, or name of the definition.
    #[serde(default)]
    pub key: Option<String>,
    /// `_id` of the event.
    #[serde(default)]
    pub event_id: Option<String>,
}

/// Kinds of cause of a membership change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CauseKind {
    /// A source record or event.
    Record,
    /// Time alone.
    Timer,
    /// A new, changed or withdrawn segment.
    Definition,
    /// A link that was stated or withdrawn.
    Link,
    /// Profiles that were united or taken apart.
    Merge,
    /// The person was erased.
    Erasure,
}

/// One record of `destination.<name>`: the desired state of one destination identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationState {
    /// Name of the destination.
    pub destination: String,
    /// Name of the segment.
    pub audience: String,
    /// The identity by which the destination knows the member.
    #[serde(with = "encode::identity")]
    pub identity: Identity,
    /// Whether the destination must hold it.
    pub state: Presence,
    /// Mapped attributes by the destination's own field names; empty where absent.
    #[serde(with = "encode::attributes", default)]
    pub attributes: BTreeMap<String, serde_json::Value>,
    /// The evaluation that made this the desired state.
    #[serde(with = "encode::instant")]
    pub changed_at: Timestamp,
}

/// Whether a destination must hold an identity in an audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Presence {
    /// It must be there.
    Present,
    /// It must not be there.
    Absent,
}

impl Membership {
    /// The Kafka key: `<segment>|<subject id>`.
    pub fn key(&self) -> String {
        format!("{}|{}", self.segment, self.subject_id)
    }
}

impl DestinationState {
    /// The Kafka key: `<audience>|<namespace>:<id>`.
    pub fn key(&self) -> String {
        format!("{}|{}", self.audience, self.identity)
    }
}

/// Enums that are words on the wire: one table each, read and written as a text in every format.
macro_rules! words {
    ($ty:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $ty {
            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($ty::$variant => $word),+
                }
            }

            /// The variant of a word; `None` for a word this version does not know.
            pub fn from_word(word: &str) -> Option<$ty> {
                match word {
                    $($word => Some($ty::$variant),)+
                    _ => None,
                }
            }
        }

        impl Serialize for $ty {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $ty {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$ty, D::Error> {
                let word = String::deserialize(deserializer)?;
                $ty::from_word(&word).ok_or_else(|| serde::de::Error::unknown_variant(&word, &[$($word),+]))
            }
        }
    };
}

words!(Status { Realized = "realized", Exited = "exited" });
words!(Presence { Present = "present", Absent = "absent" });
words!(CauseKind { Record = "record", Timer = "timer", Definition = "definition", Link = "link", Merge = "merge", Erasure = "erasure" });

#[cfg(test)]
mod tests;
