//! Why a record cannot be used: a closed set of words, the `reason` label of
//! `millrace_dead_letters_total`.

use std::fmt;

use millrace_model::{Rejection, Text};

/// The words are part of the public contract: never renamed, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The value has no bytes at all. (No value is a tombstone.)
    Empty,
    /// Value, key or id is longer than the limit.
    Oversize,
    /// Key or value is not UTF-8 text.
    BadUtf8,
    /// The first byte belongs to no known encoding, or to one that is not configured.
    UnknownEncoding,
    /// The JSON text does not parse, or has a field twice.
    MalformedJson,
    /// Avro single-object encoding with a fingerprint of no known schema of this topic.
    UnknownFingerprint,
    /// The registry does not know the schema id.
    UnknownSchemaId,
    /// The registry's schema cannot be used: not Avro or JSON, or it does not parse.
    UnusableSchema,
    /// The Avro datum does not fit its schema.
    BadAvro,
    /// A field holds something of another type.
    WrongType,
    /// `changedFields` names a field that does not exist.
    UnknownChangedField,
    /// Neither the value nor the Kafka key names the record; a membership names no audience.
    MissingKey,
    /// The value's key and the Kafka key differ.
    KeyMismatch,
    /// A tombstone without a Kafka key.
    TombstoneWithoutKey,
    /// A tombstone on the activity topic, whose key names a person and not an event.
    TombstoneOnActivity,
    /// An activity without `_id`.
    MissingId,
    /// An activity without `timestamp`.
    MissingTimestamp,
    /// An activity without any identity of a person, or a membership of an external audience
    /// without a member.
    NoIdentity,
    /// An account link of fewer than two accounts.
    TooFewMembers,
    /// An activity further ahead of now than is allowed.
    FromTheFuture,
    /// A record of the control topic that cannot take effect.
    BadDefinition,
    /// A destination refused a change permanently.
    DestinationRefused,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 22] = [
        Reason::Empty,
        Reason::Oversize,
        Reason::BadUtf8,
        Reason::UnknownEncoding,
        Reason::MalformedJson,
        Reason::UnknownFingerprint,
        Reason::UnknownSchemaId,
        Reason::UnusableSchema,
        Reason::BadAvro,
        Reason::WrongType,
        Reason::UnknownChangedField,
        Reason::MissingKey,
        Reason::KeyMismatch,
        Reason::TombstoneWithoutKey,
        Reason::TombstoneOnActivity,
        Reason::MissingId,
        Reason::MissingTimestamp,
        Reason::NoIdentity,
        Reason::TooFewMembers,
        Reason::FromTheFuture,
        Reason::BadDefinition,
        Reason::DestinationRefused,
    ];

    /// The reason as dead letters and metrics carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Empty => "empty",
            Reason::Oversize => "oversize",
            Reason::BadUtf8 => "bad-utf8",
            Reason::UnknownEncoding => "unknown-encoding",
            Reason::MalformedJson => "malformed-json",
            Reason::UnknownFingerprint => "unknown-fingerprint",
            Reason::UnknownSchemaId => "unknown-schema-id",
            Reason::UnusableSchema => "unusable-schema",
            Reason::BadAvro => "bad-avro",
            Reason::WrongType => "wrong-type",
            Reason::UnknownChangedField => "unknown-changed-field",
            Reason::MissingKey => "missing-key",
            Reason::KeyMismatch => "key-mismatch",
            Reason::TombstoneWithoutKey => "tombstone-without-key",
            Reason::TombstoneOnActivity => "tombstone-on-activity",
            Reason::MissingId => "missing-id",
            Reason::MissingTimestamp => "missing-timestamp",
            Reason::NoIdentity => "no-identity",
            Reason::TooFewMembers => "too-few-members",
            Reason::FromTheFuture => "from-the-future",
            Reason::BadDefinition => "bad-definition",
            Reason::DestinationRefused => "destination-refused",
        }
    }

    /// A rejection for this reason. `detail`: where, what was expected, what was found.
    pub fn because(self, detail: impl Into<String>) -> Rejection {
        Rejection {
            reason: Text::const_new(self.as_str()),
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_distinct_kebab_case() {
        let words: std::collections::BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for word in words {
            assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{word}");
        }
    }
}
