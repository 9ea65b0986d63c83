//! Lines that are sent: records and members, one JSON object each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A record to be appended to a source topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordLine {
    /// The topic's full name, or the kind alone: `person`, `account-link`, `activity` …
    pub topic: String,
    #[serde(default)]
    pub key: Option<String>,
    /// The record as JSON; null: a tombstone. Absent is an error: a slip must not delete.
    #[serde(deserialize_with = "super::unique::read")]
    pub value: Value,
    /// The record's timestamp: RFC 3339 or epoch milliseconds. Absent: now. A `modifiedAt` far ahead of it counts as it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Value>,
}

/// A member to be brought into an external audience.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemberLine {
    /// `namespace:id` of any identity of the person, or `b2b_account:` and a source key.
    pub member: String,
    /// RFC 3339. Absent: the audience's `expiresAfter`, counted from the import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
}
