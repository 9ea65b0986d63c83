//! The hot row of a subject, and the reported results of its evaluation.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{CanonicalId, ShardId, Text, Timestamp, Value};
use millrace_segment::view::{FeatureId, Features, PartId, QueryId, Truth};
use serde::{Deserialize, Serialize};

use super::{Arrival, Detail, PartialArrival, Revision, Standing};
use crate::origin::Origin;

/// `SUBJECT`: read and written with nearly every touch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SubjectRow {
    /// Live fragments: source records that exist.
    pub records: u32,
    /// Live events in the ledger.
    pub events: u64,
    /// The earliest live event, if there is any: when it appears, and when it is too old to be
    /// kept.
    pub oldest_event_at: Option<Timestamp>,
    /// Rows `EVENT_LINK`: mostly none, and then there is no need to look for them.
    pub event_links: u32,
    /// Rows `ASIDE` with a reason: mostly none, as above.
    pub asides: u32,
    /// Moves sent whose arrival is not acknowledged: until then no exit is reported.
    pub departing: u32,
    /// Where the node that names the subject went, as long as it is there: the subject's heir.
    pub merged_into: Option<CanonicalId>,
    /// Rows `DATED` name the events by time, because there are many.
    pub dated: bool,
    /// A chore works on the ledger: until it is done the subject is not evaluated.
    pub chore: bool,
    /// Queries whose newest rows must be filled from the ledger.
    pub refill: BTreeSet<QueryId>,
    /// Nodes of which some parts have arrived: until all have, the subject is not evaluated.
    pub arriving: Vec<PartialArrival>,
    /// Arrivals to acknowledge once the entries they cause are known.
    pub arrivals: Vec<Arrival>,
    /// The plan revision under which everything below was computed.
    pub revision: Revision,
    /// Membership changes emitted so far.
    pub changes: u64,
    /// `now` of the last emitted membership change.
    pub evaluated_at: Option<Timestamp>,
    /// Ascending by name: segments the subject is in, or whose answer time alone will change.
    pub memberships: Vec<Membership>,
    /// The truths of conditions that read no event, for the segments that events can change; none
    /// is left once a fact changed that is no event.
    pub truths: BTreeMap<PartId, Truth>,
    /// This thing's features, ascending by id.
    pub features: Vec<OwnFeature>,
    /// Shards that receive the features, and how.
    pub subscribers: BTreeMap<ShardId, Detail>,
    /// The standing that was last sent to subscribers.
    pub announced: Standing,
    /// Things this one named as its parents, and the features sent to them.
    pub parents: BTreeSet<CanonicalId>,
    /// The features sent to them.
    pub sent_to_parents: Features,
    /// A fact is missing: some segment's answer is open.
    pub open: bool,
    /// A fact is missing: some feature, or computed attribute, is not known.
    pub lacking: bool,
    /// A change of membership is held back.
    pub held: Option<Held>,
    /// Registered wake-up, `Timestamp::MAX` where none.
    pub timer: Timer,
}

/// A change of membership that waits until the subject's references have come to rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// When the references will have come to rest, as far as was known; then the segment is decided
    /// again.
    pub until: Timestamp,
    /// The cause that the change will carry.
    pub origin: Origin,
}

/// A feature at its owner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OwnFeature {
    /// Which feature of the plan.
    pub id: FeatureId,
    /// As of the last evaluation; null where there is none.
    pub value: Value,
    /// When it must be computed again because of time alone.
    pub due_at: Timestamp,
    /// Until when it holds as far as time goes. Earlier than `due_at` if a feature of another thing
    /// that it depends on ends before: that thing's owner is due then.
    pub valid_until: Timestamp,
}

/// `COMPUTED`: ascending by name, the attributes that are not null or that time alone will change.
pub type ComputedRow = Vec<ComputedValue>;

/// The value of one computed attribute of a subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComputedValue {
    /// The attribute's name.
    pub attribute: Text,
    /// As of the last evaluation.
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

/// The answer of one segment for a subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Membership {
    /// The segment's name.
    pub segment: Text,
    /// Whether the subject is in.
    pub realized: bool,
    /// When the subject last entered; meaningless if it is not in.
    pub qualified_at: Timestamp,
    /// When the subject must be evaluated again because of time alone; until when the membership
    /// holds is `engine::ends`.
    pub valid_until: Timestamp,
}

/// `EXITED`: an exit as last written to the membership topic. Present memberships are in
/// `SubjectRow`; exits are not, because that row is read and written with every touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRow {
    /// When the subject had entered.
    pub qualified_at: Timestamp,
    /// When it left.
    pub exited_at: Timestamp,
}
