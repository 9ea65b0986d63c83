//! Bodies of the API. They evolve separately from logic: fields are added, never renamed.
//!
//! Instants are RFC 3339 texts in UTC with milliseconds. Ids of unified things are `namespace:id`.
//! Absent fields and null mean the same.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod lines;
mod unique;

pub use lines::{MemberLine, RecordLine};

/// One name of a person, account, deal, campaign or list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct IdentityView {
    pub namespace: String,
    pub id: String,
}

/// An identity that records or events carry and that is not assigned to them, because it would
/// violate a guard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct SetAsideView {
    pub namespace: String,
    pub id: String,
    /// The guard that it violated when it was set aside. If several guards keep it aside, the first
    /// one stands here; whether it is set aside does not depend on the order.
    pub reason: String,
}

/// The origin of a merged field's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProvenanceView {
    /// The source key of the record that won.
    pub source_key: String,
    /// When the source modified the winning value.
    pub modified_at: String,
}

/// A related thing, by name only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReferenceView {
    pub id: String,
    /// The account's, deal's, campaign's or list's name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Source keys of its records.
    #[serde(default)]
    pub source_keys: Vec<String>,
}

/// A relation row: a person on an account, a deal, a campaign or a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RelationView {
    /// As rules write it: `accountRelations`, `opportunityRoles`, `campaignMemberships`,
    /// `listMemberships`.
    pub relation: String,
    /// The row's own source key.
    pub key: String,
    /// The target of the row; absent where that has no live record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<ReferenceView>,
    pub fields: Value,
}

/// A subject's membership of one segment, as last written to the membership topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MembershipView {
    pub segment: String,
    /// `realized` or `exited`.
    pub status: String,
    /// When the subject last entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_qualification_time: Option<String>,
    /// When the status was written: the entry, or the exit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluated_at: Option<String>,
    /// The next instant at which time alone would change it; absent: never. Where an account's
    /// membership depends on its persons' events, as of the last change that they reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
}

/// A unified person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersonView {
    /// The canonical id.
    pub id: String,
    pub identities: Vec<IdentityView>,
    /// Identities that it carries and that a guard sets aside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<SetAsideView>,
    /// The merged record.
    pub attributes: Value,
    /// Per leaf of `attributes`, by dotted path.
    pub provenance: BTreeMap<String, ProvenanceView>,
    /// Values of computed attributes, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub computed: BTreeMap<String, Value>,
    /// Every distinct account the person belongs to.
    pub accounts: Vec<ReferenceView>,
    pub relations: Vec<RelationView>,
    /// Segments the person is in or was in, as last written to the membership topic.
    pub segments: Vec<MembershipView>,
    /// How many events are kept.
    pub events: u64,
    /// The person that absorbed this one, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<String>,
}

/// A unified account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountView {
    /// The canonical id.
    pub id: String,
    /// The source keys that are this one company, and its other identities.
    pub identities: Vec<IdentityView>,
    /// Identities that it carries and that a guard sets aside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<SetAsideView>,
    /// The merged record.
    pub attributes: Value,
    /// Per leaf of `attributes`, by dotted path.
    pub provenance: BTreeMap<String, ProvenanceView>,
    /// Values of computed attributes, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub computed: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ReferenceView>,
    pub related: Vec<ReferenceView>,
    /// Segments the account is in or was in, as last written to the membership topic.
    pub segments: Vec<MembershipView>,
}

/// A unified deal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OpportunityView {
    pub id: String,
    pub identities: Vec<IdentityView>,
    pub attributes: Value,
}

/// A kept event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventView {
    /// `_id`
    pub id: String,
    pub timestamp: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    pub fields: Value,
}

/// A person or account found by part of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FoundView {
    /// The canonical id.
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `namespace:id` of each identity that its records carry.
    pub identities: Vec<String>,
}

/// A part of a list, and where the next part begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Pass as `after` for the next part; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A definition in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SegmentView {
    pub name: String,
    /// `Segment`, `ExternalAudience` or `ComputedAttribute`.
    #[serde(default)]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `person` or `account`.
    pub subject: String,
    /// `draft`, `published` or `inactive`.
    pub status: String,
    pub version: u64,
    pub time_zone: String,
    /// The rule; for an external audience the rule that its memberships amount to.
    pub pql: String,
    pub destinations: Vec<String>,
    /// Members now.
    pub members: u64,
    /// How much of the first evaluation is done, 0 to 1; absent once it is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// The first evaluation in numbers.
    #[serde(default)]
    pub evaluation: EvaluationView,
    /// The draft beside the definition in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<DraftView>,
}

/// How many subjects have been evaluated under a definition since it took effect, on the shards of
/// the answering process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvaluationView {
    pub done: u64,
    pub of: u64,
    pub complete: bool,
    /// In ascending order of shards.
    #[serde(default)]
    pub shards: Vec<ShardEvaluationView>,
}

/// One shard's part of `EvaluationView`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShardEvaluationView {
    pub shard: u32,
    pub done: u64,
    pub of: u64,
    pub complete: bool,
}

/// A draft that waits beside a published or inactive definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DraftView {
    pub version: u64,
    pub accepted_at: String,
    pub pql: String,
}

/// One version of a definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionView {
    /// Grows with every version; versions of other definitions lie between.
    pub version: u64,
    pub accepted_at: String,
    /// `draft`, `published` or `inactive`; absent where this release no longer reads the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    pub in_force: bool,
    /// The definition document.
    pub text: String,
}

/// The result of a rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollbackView {
    /// The version whose text is in force again, as a new version.
    pub version: u64,
}

/// A member of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberView {
    pub subject_id: String,
    /// Its display name, if a record has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Why a subject is in a segment, or is not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainView {
    pub segment: String,
    pub segment_version: u64,
    /// `person` or `account`.
    pub subject_type: String,
    pub subject_id: String,
    /// The rule's value as of `evaluatedAt`; absent while a deciding fact has not arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<bool>,
    /// The last status written to the membership topic, if any: `realized` or `exited`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The same with its times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership: Option<MembershipView>,
    pub evaluated_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
    pub condition: ConditionView,
    /// The answer depends on more events and related things than one question examines: conditions
    /// show their values, without evidence.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shortened: bool,
    /// For an instant of the past: the basis of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past: Option<PastView>,
    /// The source records of each related thing, by its id: what a data steward opens next.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub records: BTreeMap<String, Vec<String>>,
}

/// The basis of an answer about an instant of the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastView {
    /// Records, relations and links are as they stood at this instant: their earlier values are not
    /// kept.
    pub records_as_of: String,
    /// Only events after this instant are kept; windows that reach further back see nothing there.
    pub events_from: String,
}

/// What a definition would do if it were published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviewView {
    pub segment: String,
    /// `person` or `account`.
    pub subject_type: String,
    pub evaluated_at: String,
    /// Subjects evaluated: all of them.
    pub population: u64,
    /// How many subjects the definition includes, and some of them.
    pub audience: SampleView,
    /// The version that is published under the same name now; absent: none, and everyone in the
    /// audience enters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_version: Option<u64>,
    /// Members of the published version.
    pub members: u64,
    /// Subjects that are not members, and would be.
    pub entering: SampleView,
    /// Members that would no longer be.
    pub leaving: SampleView,
    /// Rules that are accepted, but probably not meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// An exact number of subjects, and some of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SampleView {
    pub count: u64,
    pub sample: Vec<ReasonedView>,
}

/// A subject and why the definition includes it, or does not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReasonedView {
    pub subject_id: String,
    pub condition: ConditionView,
}

/// One condition of a rule, and its parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConditionView {
    /// The condition as the rule writes it; `and`, `or`, `not` where it has parts.
    pub text: String,
    /// Absent while a deciding fact has not arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
    /// The compared values, where it compares two known values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<ComparedView>,
    /// Its evidence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<EvidenceView>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ConditionView>,
}

/// The sides of a comparison as evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComparedView {
    /// A number (money: in the deployment's currency), a text, a flag or an instant; null where the
    /// record has no value. Null compares as false.
    pub left: Value,
    /// As `left`. For a window of time it is the anchor, for `between` both ends.
    pub right: Value,
}

/// A fact that a condition depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceView {
    /// `event`, `account`, `opportunity`, `relation`, `attribute`, `segment` …
    pub kind: String,
    /// `_id` of the event, id of the thing, path of the field.
    pub id: String,
    /// Its content, in a few words: a name, an amount, an instant.
    pub value: Value,
}

/// The result of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportView {
    pub accepted: u64,
    /// Memberships that were removed because the import replaces all.
    pub removed: u64,
    /// The first of the refused lines.
    pub rejected: Vec<RejectedLine>,
    /// The number of further refused lines.
    #[serde(default, rename = "rejectedMore", skip_serializing_if = "is_zero")]
    pub rejected_more: u64,
}

/// The result of definitions applied together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppliedView {
    /// Their names, in the order given.
    pub segments: Vec<String>,
    /// Rules that are accepted, but probably not meant, each with its line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The result of a batch of lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppendView {
    /// Appended to the source topics, dead letters included.
    pub accepted: u64,
    /// The first lines that are not records; they were not appended.
    pub rejected: Vec<RejectedLine>,
    /// The number of further ones.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rejected_more: u64,
    /// The first unusable records. They were appended, and go to the dead-letter topic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dead_letters: Vec<RejectedLine>,
    /// The number of further ones.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dead_letters_more: u64,
    /// Fields in no schema, such as `person.workEmial`, and the number of records that hold them.
    /// They are kept under `extra`; perhaps they are misspelt.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown_fields: BTreeMap<String, u64>,
    /// Records whose `modifiedAt`, or a consent's time, lay too far ahead of their timestamp and counts as that.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub clock_ahead: u64,
    /// Records of a time before 1990, as seconds are that were taken for milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub clock_behind: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A line that is not a record, or an unusable record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RejectedLine {
    /// Counted from one within the batch.
    pub line: u64,
    pub reason: String,
}

/// An unusable record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetterView {
    /// Where it came from.
    pub topic: String,
    pub partition: u32,
    pub offset: i64,
    /// When it was refused.
    #[serde(rename = "rejectedAt")]
    pub rejected_at: String,
    pub reason: String,
    pub detail: String,
    /// Key and value as text, where they are text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// Whether the process is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadyView {
    pub ready: bool,
    /// What is still missing, or wrong; empty where ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<String>,
}
