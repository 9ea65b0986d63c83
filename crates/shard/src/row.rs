//! Row types: what lies in the state store, and in the changelog, under the keys of `key`.
//!
//! Format: one version byte, then the postcard encoding of the struct. A field is never removed or reordered within a version; a change of shape is
//! a new version byte with a reader for the old one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use millrace_model::{CanonicalId, Identity, SourceKind, SubjectKind, Text, Timestamp, Value};
use millrace_segment::plan::{FeatureId, Features, QueryId};
use millrace_segment::sequence::Progress;
use millrace_segment::tally::Totals;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::message::Origin;
use crate::record::{Fragment, RecordState};
use crate::state::StateError;

/// The version byte written today.
pub const VERSION: u8 = 1;

/// A row, or an internal message, cannot be read: written by a newer program, or damaged.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("format version {0} is newer than this program's {VERSION}; run the version that wrote it, or a later one")]
    Newer(u8),
    #[error("no bytes at all")]
    Empty,
    #[error("damaged bytes")]
    Damaged(#[source] postcard::Error),
}

/// Version byte and postcard.
pub fn encode<R: Serialize>(value: &R) -> Vec<u8> {
    // Most rows are shorter than this, and fit without growing.
    let mut bytes = Vec::with_capacity(256);
    bytes.push(VERSION);
    // Plain data in memory always serialises: every row type is made of maps, sequences and numbers.
    postcard::to_extend(value, bytes).expect("row types serialise")
}

/// # Errors
/// Where the bytes are of a newer version, or damaged.
pub fn decode_bytes<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, FormatError> {
    match bytes.split_first() {
        Some((&VERSION, body)) => postcard::from_bytes(body).map_err(FormatError::Damaged),
        Some((version, _)) => Err(FormatError::Newer(*version)),
        None => Err(FormatError::Empty),
    }
}

/// As `decode_bytes`, for rows: a row that cannot be read is a failed store.
pub fn decode<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, StateError> {
    decode_bytes(bytes).map_err(|error| StateError(Box::new(error)))
}

/// A unified thing: its kind and canonical id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubjectId {
    pub kind: SubjectKind,
    pub id: CanonicalId,
}

impl SubjectId {
    /// The thing that a node is when nothing links it to others.
    pub fn of_node(node: &Identity) -> SubjectId {
        SubjectId { kind: SubjectKind::of_namespace(node.namespace()), id: CanonicalId(node.clone()) }
    }

    /// The canonical id as users see it: `namespace:id`.
    pub fn text(&self) -> Text {
        Text::from(self.id.0.to_string())
    }
}

impl fmt::Debug for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.id.0)
    }
}

/// `RECORD`: one source record as resolve knows it, and what it told others because of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RecordRow {
    /// Grows with every change that is passed on; orders fragments and rows of one record at their owners.
    pub sequence: u64,
    pub state: RecordState,
    /// Identities the record claims for its home node.
    pub claims: BTreeSet<Identity>,
    /// Nodes the record's relation row is attached to.
    pub attached: BTreeSet<Identity>,
    /// Edges the record's link asserts, while it is valid.
    pub edges: BTreeSet<(Identity, Identity)>,
    /// When the link's validity changes next.
    pub timer: Option<Timestamp>,
}

/// `NODE`: where a node's data goes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NodeRow {
    /// `None`: itself.
    pub canonical: Option<CanonicalId>,
    /// The identity writer's sequence at the last move; 0 where it never moved.
    pub epoch: u64,
    /// The node carries data of its own, or a link names it: one claim is enough to make it matter.
    pub anchored: bool,
    /// Distinct homes that claim the node now.
    pub homes: u32,
    /// The identity writer knows this node's claims.
    pub escalated: bool,
    /// Shards that follow the node.
    pub followers: BTreeSet<u32>,
}

/// `CLAIM`: whether a home claims a node, by record or by events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRow {
    pub by_record: bool,
    pub by_events: bool,
    /// The home's epoch at the last word about events, so that an older word from a former owner changes nothing.
    pub events_epoch: u64,
}

impl ClaimRow {
    pub fn present(self) -> bool {
        self.by_record || self.by_events
    }
}

/// `FRAGMENT`: one source record's part of a profile. `None`: the record is gone; kept so that an older value that travels cannot come back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FragmentRow {
    pub sequence: u64,
    pub fragment: Option<Fragment>,
}

/// `ROW`: a relation row. `None` as in `FragmentRow`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RelationRow {
    pub sequence: u64,
    pub value: Option<Value>,
}

/// `EVENT`: one event id in a subject's ledger, as each home node reported it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EventRow {
    /// Ascending by home.
    pub copies: Vec<EventCopy>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCopy {
    pub home: Identity,
    pub modified_at: Timestamp,
    pub occurred_at: Timestamp,
    /// The identities beside the home.
    pub others: Vec<Identity>,
    /// `None`: deleted.
    pub body: Option<Value>,
}

impl EventRow {
    /// The copy that counts: the latest version, of equal ones the one with the greatest home. `None` where that one is deleted.
    pub fn effective(&self) -> Option<&EventCopy> {
        self.copies.iter().max_by(|a, b| (a.modified_at, &a.home).cmp(&(b.modified_at, &b.home))).filter(|copy| copy.body.is_some())
    }
}

/// `QUERY`: the newest rows of a query that keeps so many, ascending by `(at, id)`.
pub type QueryRows = Vec<millrace_segment::plan::EventRow>;

/// `TALLY`: an aggregate over an event query's events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TallyRow {
    /// Events with a verdict.
    pub events: u64,
    pub totals: Totals,
    /// The least or greatest value that counts, where that is asked for.
    pub extreme: Option<Value>,
    /// When the first verdict ends.
    pub valid_until: Timestamp,
}

impl Default for TallyRow {
    fn default() -> TallyRow {
        TallyRow { events: 0, totals: Totals::default(), extreme: None, valid_until: Timestamp::MAX }
    }
}

/// `VERDICT`: an event of a query that keeps all of them, and whether it counts for the query's tally.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictRow {
    pub at: Timestamp,
    pub columns: Vec<Value>,
    /// What it contributes; `None` where it does not count.
    pub value: Option<Value>,
    pub valid_until: Timestamp,
}

impl VerdictRow {
    /// Of a query without a tally.
    pub fn plain(event: millrace_segment::plan::EventRow) -> VerdictRow {
        VerdictRow { at: event.at, columns: event.columns, value: None, valid_until: Timestamp::MAX }
    }
}

/// `TALLIED_VALUE`: how often a value counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TalliedValueRow {
    pub value: Value,
    pub times: u64,
}

/// `SEQUENCE`: how far the events of a query lead through its chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SequenceRow {
    /// Events kept.
    pub events: u64,
    /// Behind every event up to and including `folded_to`, but for what changed.
    pub progress: Progress,
    pub folded_to: Timestamp,
    /// Events folded since the last milestone.
    pub since: u32,
    /// The first and the last instant up to `folded_to` at which an event came, went or turned since it was folded.
    pub changed: Option<(Timestamp, Timestamp)>,
    /// The first instant behind `folded_to` with an event; may be earlier where one is gone.
    pub next_at: Timestamp,
    /// When time turns the first verdict on an event; may be earlier where one is gone.
    pub turns_at: Timestamp,
}

impl SequenceRow {
    /// Before the first event.
    pub fn new(start: Progress) -> SequenceRow {
        let (folded_to, next_at, turns_at) = (Timestamp::MIN, Timestamp::MAX, Timestamp::MAX);
        SequenceRow { events: 0, progress: start, folded_to, since: 0, changed: None, next_at, turns_at }
    }
}

/// `SEQUENCED`: an event that steps of a chain can take; its time and id are in the key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SequencedRow {
    pub columns: Vec<Value>,
    /// When time turns the verdict on it, other than by an end that progress knows of.
    pub turns_at: Timestamp,
}

/// `EVENT_LINK`: how many retained events of a home carry another identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLinkRow {
    pub events: u64,
    /// The home's epoch as last heard of: under it this owner speaks about the home's events.
    pub epoch: u64,
}

/// `MOVED`: where a node went from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedRow {
    pub to: CanonicalId,
    pub epoch: u64,
}

/// `SUBJECT`: what is read and written with nearly every touch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SubjectRow {
    /// Live fragments: source records that exist.
    pub records: u32,
    /// Live events in the ledger.
    pub events: u64,
    /// The earliest live event, where there is any: when it appears, and when it is too old to be kept.
    pub oldest_event_at: Option<Timestamp>,
    /// Moves sent whose arrival is not acknowledged: until then no exit is reported.
    pub departing: u32,
    /// Where the last departing node went.
    pub merged_into: Option<CanonicalId>,
    /// Arrivals to be acknowledged once the entries they cause are known.
    pub arrivals: Vec<Arrival>,
    /// The plan revision under which everything below was computed.
    pub revision: u64,
    /// Membership changes emitted so far.
    pub sequence: u64,
    /// `now` of the last emitted membership change.
    pub evaluated_at: Option<Timestamp>,
    /// Ascending by name: segments the subject is in, or whose answer time alone will change.
    pub memberships: Vec<Membership>,
    /// This thing's features, with the instant until which each holds.
    pub features: Vec<(FeatureId, Value, Timestamp)>,
    /// Shards that are told the features.
    pub subscribers: BTreeSet<u32>,
    /// Whether subscribers last heard that the thing exists.
    pub announced: bool,
    /// Things this one named as its parents, and the features they were told.
    pub parents: BTreeSet<CanonicalId>,
    pub told_parents: Features,
    /// A fact is missing: some segment's answer is open.
    pub open: bool,
    /// Registered wake-up, `Timestamp::MAX` where none.
    pub timer: Timer,
    /// Destination identities this subject counts for, by (destination, audience).
    pub activations: BTreeSet<ActivationKey>,
}

/// `COMPUTED`: ascending by name, the attributes that are not null or that time alone will change.
pub type ComputedRow = Vec<ComputedValue>;

/// The value of one computed attribute of a subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComputedValue {
    pub attribute: Text,
    pub value: Value,
    /// The instant at which time alone could change it.
    pub valid_until: Timestamp,
}

/// A wake-up instant; never by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer(pub Timestamp);

impl Default for Timer {
    fn default() -> Timer {
        Timer(Timestamp::MAX)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    pub from: CanonicalId,
    pub node: Identity,
    pub epoch: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Membership {
    pub segment: Text,
    pub realized: bool,
    /// When the subject last entered; of no meaning where it is not in.
    pub qualified_at: Timestamp,
    pub valid_until: Timestamp,
}

/// `ACTIVATION`: a destination identity of an audience at a destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ActivationKey {
    pub destination: Text,
    pub audience: Text,
    pub identity: Identity,
}

/// The subjects behind a destination identity, with the attributes each would send.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ActivationRow {
    pub members: BTreeMap<SubjectId, Value>,
}

/// `PROFILE`: what changes with records, not with events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProfileRow {
    /// Merged fields.
    pub attributes: Value,
    /// Every identity of the cluster that a live record names.
    pub identities: BTreeSet<Identity>,
    /// Relation rows, ascending by kind and key.
    pub rows: Vec<ProfileRelation>,
    /// Nodes the records themselves refer to, by relation.
    pub references: Vec<(Reference, Identity)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfileRelation {
    pub kind: SourceKind,
    pub key: Text,
    pub value: Value,
    /// The node on the row's other side, where it names one.
    pub target: Option<Identity>,
}

/// What a reference of a profile means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reference {
    /// A person's, or an opportunity's, account.
    Account,
    /// An account's parent.
    Parent,
    /// An account's related account.
    Related,
    /// An opportunity's campaign.
    Campaign,
}

/// `ALIAS`: a node that subjects of this shard refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasRow {
    /// Subjects that refer to it.
    pub dependents: u64,
    /// The thing it is; `None` until told.
    pub canonical: Option<CanonicalId>,
    pub epoch: u64,
}

/// `REPLICA`: a thing's features as told; a missing row is a thing not heard of yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReplicaRow {
    /// Nodes that are this thing, referred to from here.
    pub nodes: u32,
    /// Whether its owner has spoken.
    pub known: bool,
    /// Whether it has a live record.
    pub exists: bool,
    pub features: Features,
}

/// `FANOUT`: re-evaluation of everyone who refers to a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FanoutRow {
    /// The last subject done.
    pub cursor: Option<SubjectId>,
    pub origin: Origin,
}

/// `BACKFILL`: bringing every subject to the plan's revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackfillRow {
    pub revision: u64,
    /// The key of the last subject row done.
    pub cursor: Option<Vec<u8>>,
    pub done: bool,
    /// Subjects brought up in this run.
    pub scanned: u64,
    pub origin: Origin,
}

/// `DEFINITION` and `DRAFT`: a definition as accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionRow {
    /// The definition document, YAML or JSON.
    pub text: String,
    /// Grows with every accepted change of the name.
    pub version: u64,
    /// When it was accepted.
    pub accepted_at: Timestamp,
}

/// `CONFIGURATION`: under which the rows were written, as hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationRow {
    /// What rules and destinations rest on.
    pub rules: u64,
    /// What verdicts on identities rest on.
    pub identity: u64,
}

/// `VERSION`: a text that a name had, or has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRow {
    /// The definition document, YAML or JSON.
    pub text: String,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// The plan's revision from then on.
    pub revision: u64,
}

/// `REVISION`: the plan's life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionRow {
    /// Grows with every change of the set of definitions.
    pub revision: u64,
    /// The revision at which each query of the plan came in.
    pub queries: BTreeMap<QueryId, u64>,
}
