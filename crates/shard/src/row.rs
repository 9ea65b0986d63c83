//! Row types: the values in the state store, and in the changelog, under the keys of `key`.
//!
//! Format: one version byte, then the postcard encoding of the struct. A field is never removed or
//! reordered within a version; a change of shape is a new version byte with a reader for the old
//! one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use millrace_identity::Reason;
use millrace_model::{CanonicalId, Identity, Pick, SourceKind, SubjectKind, Text, Timestamp, Value, namespace, source_key};
use millrace_segment::Totals;
use millrace_segment::sequence::{Instant, Progress};
use millrace_segment::view::{FeatureId, Features, KinId, QueryId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::message::Origin;
use crate::record::{Fragment, RecordState};
use crate::state::StateError;

/// The version byte written today.
pub const VERSION: u8 = 5;

/// A row, or an internal message, cannot be read: written by a newer program, or damaged.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("format version {0} is newer than this program's {VERSION}; run the version that wrote it, or a later one")]
    Newer(u8),
    #[error("format version {0} was written before the first release and is not read any more; let the deployment begin anew with empty topics and state")]
    Older(u8),
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
    // Plain data in memory always serialises: every row type is made of maps, sequences and
    // numbers.
    postcard::to_extend(value, bytes).expect("row types serialise")
}

/// # Errors
/// Where the bytes are of a newer version, or damaged.
pub fn decode_bytes<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, FormatError> {
    match bytes.split_first() {
        Some((&VERSION, body)) => postcard::from_bytes(body).map_err(FormatError::Damaged),
        Some((version, _)) if *version < VERSION => Err(FormatError::Older(*version)),
        Some((version, _)) => Err(FormatError::Newer(*version)),
        None => Err(FormatError::Empty),
    }
}

/// As `decode_bytes`, for rows: a row that cannot be read is a failed store.
pub fn decode<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, StateError> {
    decode_bytes(bytes).map_err(StateError::store)
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
        SubjectId {
            kind: SubjectKind::of_namespace(node.namespace()),
            id: CanonicalId(node.clone()),
        }
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

/// `RECORD`: one source record as resolve knows it, and what it sent to others because of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RecordRow {
    /// Grows with every change that is passed on; orders fragments and rows of one record at their
    /// owners.
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

/// `NODE`: the routing of a node's data.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NodeRow {
    /// `None`: itself.
    pub canonical: Option<CanonicalId>,
    /// The identity writer's sequence at the last move; 0 if it never moved.
    pub epoch: u64,
    /// The node carries data of its own, or a link names it: one claim is enough to make it matter.
    pub anchored: bool,
    /// Distinct homes that claim the node now.
    pub homes: u32,
    /// It matters to others than one home: its homes know.
    pub escalated: bool,
    /// Identities that retained events of the node carry: rows `CARRIED` that are present.
    pub carried: u32,
    /// Identities among all that the node carries that matter.
    pub mattering: u32,
    /// With what it carries it breaks a guard alone.
    pub breaks: bool,
    /// The identity writer knows all that it carries.
    pub joined: bool,
    /// Verdicts received about what it carries; orders them at its owners.
    pub verdicts: u64,
    /// Shards that follow the node.
    pub followers: BTreeSet<u32>,
}

/// `CARRIED`: whether retained events of a home carry an identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedRow {
    pub present: bool,
    /// The home's epoch at the last message about it, so that an older message from a former owner
    /// changes nothing.
    pub epoch: u64,
}

/// `ASIDE`: the last message on whether an identity that a node carries is set aside. Without a
/// reason as in `FragmentRow`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsideRow {
    pub sequence: u64,
    pub reason: Option<Reason>,
}

/// `FRAGMENT`: one source record's part of a profile. `None`: the record is gone; kept so that an
/// older value in transit cannot come back.
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

/// `EVENT`: one event id in a subject's ledger, as each home node reported it. Read and written
/// with its key, which holds a part of it: `StoredCopy`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventRow {
    /// Ascending by home.
    pub copies: Vec<EventCopy>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCopy {
    pub home: Identity,
    pub modified_at: Timestamp,
    pub occurred_at: Timestamp,
    /// The identities apart from the home.
    pub others: Vec<Identity>,
    /// `None`: deleted.
    pub body: Option<Value>,
}

/// An `EventCopy` without what the row's key, or the copy itself, already holds. `Home` and `Body`
/// are borrowed for writing.
#[derive(Serialize, Deserialize)]
struct StoredCopy<Home, Others, Body> {
    /// `None`: the subject's canonical id.
    home: Option<Home>,
    modified_at: Timestamp,
    occurred_at: Timestamp,
    others: Others,
    body: Body,
    left_out: LeftOut,
}

/// Parts of the body that are not repeated there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct LeftOut {
    /// `_id` and `timestamp`: the id of the key, and `occurred_at`.
    name: bool,
    /// `personKey`: the home's.
    person: bool,
}

impl LeftOut {
    fn names(self, field: &str) -> bool {
        match field {
            "_id" | "timestamp" => self.name,
            "personKey" => self.person,
            _ => false,
        }
    }
}

/// An event's body without what is left out of it: read back as an `Option<Value>`.
struct StoredBody<'c> {
    body: &'c Option<Value>,
    left_out: LeftOut,
}

impl Serialize for StoredBody<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.body {
            Some(Value::Map(map)) if self.left_out != LeftOut::default() => serializer.serialize_some(&Pick {
                map,
                keeps: |field: &str| !self.left_out.names(field),
            }),
            body => body.serialize(serializer),
        }
    }
}

impl EventRow {
    /// The copy that counts: the latest version, of equal ones the one with the greatest home.
    /// `None` if that one is deleted.
    pub fn effective(&self) -> Option<&EventCopy> {
        self.copies
            .iter()
            .max_by(|a, b| (a.modified_at, &a.home).cmp(&(b.modified_at, &b.home)))
            .filter(|copy| copy.body.is_some())
    }

    /// As stored under the key of this subject and event id.
    pub fn encode(&self, subject: &SubjectId, id: &str) -> Vec<u8> {
        let stored: Vec<_> = self.copies.iter().map(|copy| copy.stored(subject, id)).collect();
        encode(&stored)
    }

    /// The row under the key of this subject and event id.
    ///
    /// # Errors
    /// Where the bytes are of a newer version, or damaged.
    pub fn decode(subject: &SubjectId, id: &str, bytes: &[u8]) -> Result<EventRow, StateError> {
        let restored = |stored: StoredCopy<Identity, Vec<Identity>, Option<Value>>| {
            let StoredCopy {
                home,
                modified_at,
                occurred_at,
                others,
                body,
                left_out,
            } = stored;
            let mut copy = EventCopy {
                home: home.unwrap_or_else(|| subject.id.0.clone()),
                modified_at,
                occurred_at,
                others,
                body,
            };
            copy.put_back(id, left_out);
            copy
        };
        let copies: Vec<_> = decode(bytes)?;
        Ok(EventRow {
            copies: copies.into_iter().map(restored).collect(),
        })
    }
}

impl EventCopy {
    fn stored(&self, subject: &SubjectId, id: &str) -> StoredCopy<&Identity, &[Identity], StoredBody<'_>> {
        let left_out = self.left_out(id);
        let EventCopy {
            home,
            modified_at,
            occurred_at,
            others,
            body,
        } = self;
        StoredCopy {
            home: (*home != subject.id.0).then_some(home),
            modified_at: *modified_at,
            occurred_at: *occurred_at,
            others,
            body: StoredBody { body, left_out },
            left_out,
        }
    }

    /// What the row holds anyway.
    fn left_out(&self, id: &str) -> LeftOut {
        let Some(Value::Map(fields)) = &self.body else {
            return LeftOut::default();
        };
        let name = fields.get("_id").and_then(Value::as_str) == Some(id) && fields.get("timestamp").and_then(Value::as_time) == Some(self.occurred_at);
        let key = fields.get("personKey").and_then(Value::as_map);
        let person = self.home.namespace() == namespace::PERSON && key.is_some_and(|key| source_key::is_object_of(key, self.home.id()));
        LeftOut { name, person }
    }

    fn put_back(&mut self, id: &str, left_out: LeftOut) {
        let Some(Value::Map(fields)) = &mut self.body else { return };
        if left_out.name {
            fields.insert("_id", Value::text(id));
            fields.insert("timestamp", Value::Time(self.occurred_at));
        }
        if left_out.person {
            fields.insert("personKey", Value::Map(source_key::object(self.home.id())));
        }
    }
}

/// The newest rows of a query that keeps a limited number, ascending by `(at, id)`.
pub type QueryRows = Vec<millrace_segment::view::EventRow>;

/// `QUERY`: the newest rows of all queries that ask for the same event types, so that an event
/// reads and writes them together. No query is without rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeptRow(pub BTreeMap<QueryId, QueryRows>);

/// `KeptRow` as stored: an event that several queries keep is named once.
#[derive(Serialize, Deserialize)]
struct StoredKeptRow {
    /// Ascending.
    events: Vec<(Timestamp, Text)>,
    queries: Vec<(QueryId, Vec<StoredEventRow>)>,
}

/// A place in `events`, and the columns.
type StoredEventRow = (usize, Vec<Value>);

impl Serialize for KeptRow {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut events: Vec<(Timestamp, Text)> = self.0.values().flatten().map(|row| (row.at, row.id.clone())).collect();
        events.sort();
        events.dedup();
        let place = |row: &millrace_segment::view::EventRow| events.partition_point(|(at, id)| (at, id) < (&row.at, &row.id));
        let stored = |rows: &QueryRows| rows.iter().map(|row| (place(row), row.columns.clone())).collect();
        let queries = self.0.iter().map(|(id, rows)| (*id, stored(rows))).collect();
        StoredKeptRow { events, queries }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for KeptRow {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<KeptRow, D::Error> {
        let StoredKeptRow { events, queries } = StoredKeptRow::deserialize(deserializer)?;
        let row = |(place, columns): (usize, Vec<Value>)| {
            let (at, id) = events.get(place).cloned().ok_or_else(|| serde::de::Error::custom("a row names no event"))?;
            Ok(millrace_segment::view::EventRow { at, id, columns })
        };
        let rows = |(id, rows): (QueryId, Vec<_>)| Ok((id, rows.into_iter().map(row).collect::<Result<_, D::Error>>()?));
        queries.into_iter().map(rows).collect::<Result<_, D::Error>>().map(KeptRow)
    }
}

/// `TALLY`: an aggregate over an event query's events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TallyRow {
    /// Events with a verdict.
    pub events: u64,
    pub totals: Totals,
    /// The least or greatest value that counts, if a rule asks for it.
    pub extreme: Option<Value>,
    /// When the first verdict ends.
    pub valid_until: Timestamp,
}

/// `KIN`: aggregates over the children of one kind.
pub type KinRow = BTreeMap<KinId, KinTally>;

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KinTally {
    pub state: KinState,
    /// Children counted.
    pub children: u64,
    /// Children of which it is unknown whether they count, or for what.
    pub unknown: u64,
    pub totals: Totals,
    /// The least or greatest value that counts, if a rule asks for it.
    pub extreme: Option<Value>,
}

/// The progress of an aggregate over children.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum KinState {
    /// It is over all children.
    #[default]
    Full,
    /// It covers the children up to this row; the others are still to be counted.
    Filling(Option<Vec<u8>>),
    /// No rule asks any more: the rows of its values are being deleted, and are gone up to this
    /// one.
    Dropping(Option<Vec<u8>>),
}

impl Default for TallyRow {
    fn default() -> TallyRow {
        TallyRow {
            events: 0,
            totals: Totals::default(),
            extreme: None,
            valid_until: Timestamp::MAX,
        }
    }
}

/// `VERDICT`: an event of a query that keeps all of them, and whether it counts for the query's
/// tally.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictRow {
    pub at: Timestamp,
    pub columns: Vec<Value>,
    /// Its contribution; `None` if it does not count.
    pub value: Option<Value>,
    pub valid_until: Timestamp,
}

impl VerdictRow {
    /// For a query without a tally.
    pub fn plain(event: millrace_segment::view::EventRow) -> VerdictRow {
        VerdictRow {
            at: event.at,
            columns: event.columns,
            value: None,
            valid_until: Timestamp::MAX,
        }
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
    /// After every event up to and including `folded_to`, except for changes.
    pub progress: Progress,
    pub folded_to: Timestamp,
    /// Events folded since the last milestone.
    pub since: u32,
    /// The first and the last instant up to `folded_to` at which an event was added, deleted or
    /// changed its verdict since it was folded.
    pub changed: Option<(Timestamp, Timestamp)>,
    /// The first instant after `folded_to` with an event; may be earlier if one is gone.
    pub next_at: Timestamp,
    /// When time changes the first verdict on an event; may be earlier if one is gone.
    pub turns_at: Timestamp,
    /// The instant `folded_to`, if it has many events. Invariant: nothing before it, and nothing of
    /// it, is among the changes.
    pub instant: Option<Instant>,
    /// An unfinished walk. Invariant: `changed` or `next_at` says what it is for.
    pub walk: Option<WalkRow>,
}

/// A walk over the events of a chain, to continue in a later step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WalkRow {
    /// It has reached the event `id` of this instant, or is after all of them.
    pub at: Timestamp,
    pub id: Option<Text>,
    /// The instant so far.
    pub instant: Instant,
    /// Events of the instant so far.
    pub taken: u32,
    /// Events since the last milestone.
    pub since: u32,
}

impl SequenceRow {
    /// Before the first event.
    pub fn new(start: Progress) -> SequenceRow {
        let (folded_to, next_at, turns_at) = (Timestamp::MIN, Timestamp::MAX, Timestamp::MAX);
        SequenceRow {
            events: 0,
            progress: start,
            folded_to,
            since: 0,
            changed: None,
            next_at,
            turns_at,
            instant: None,
            walk: None,
        }
    }
}

/// `SEQUENCED`: an event that steps of a chain can take; its time and id are in the key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SequencedRow {
    pub columns: Vec<Value>,
    /// When time changes the verdict on it, apart from an end that progress knows of.
    pub turns_at: Timestamp,
}

/// `EVENT_LINK`: how many retained events of a home carry another identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLinkRow {
    pub events: u64,
    /// The last known epoch of the home: under it this owner speaks about the home's events.
    pub epoch: u64,
}

/// `MOVED`: where a node went from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedRow {
    pub to: CanonicalId,
    pub epoch: u64,
}

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
    /// Nodes of which a part has arrived: until the last one has, the subject is not evaluated.
    pub arriving: Vec<Arrival>,
    /// Arrivals to acknowledge once the entries they cause are known.
    pub arrivals: Vec<Arrival>,
    /// The plan revision under which everything below was computed.
    pub revision: u64,
    /// Membership changes emitted so far.
    pub sequence: u64,
    /// `now` of the last emitted membership change.
    pub evaluated_at: Option<Timestamp>,
    /// Ascending by name: segments the subject is in, or whose answer time alone will change.
    pub memberships: Vec<Membership>,
    /// This thing's features, ascending by id.
    pub features: Vec<OwnFeature>,
    /// Shards that receive the features, and how.
    pub subscribers: BTreeMap<u32, Detail>,
    /// The standing that was last sent to subscribers.
    pub announced: Standing,
    /// Things this one named as its parents, and the features sent to them.
    pub parents: BTreeSet<CanonicalId>,
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
    pub until: Timestamp,
    /// The cause that the change will carry.
    pub origin: Origin,
}

/// A feature at its owner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OwnFeature {
    pub id: FeatureId,
    pub value: Value,
    /// When it must be computed again because of time alone.
    pub due_at: Timestamp,
    /// Until when it holds as far as time goes. Earlier than `due_at` if a feature of another thing
    /// that it depends on ends before: that thing's owner is due then.
    pub valid_until: Timestamp,
}

/// `ACTIVATED`: the destination identities that a subject counts for.
pub type ActivatedRow = BTreeSet<ActivationKey>;

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
    pub exited_at: Timestamp,
}

/// `ACTIVATION`: a destination identity of an audience at a destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ActivationKey {
    pub destination: Text,
    pub audience: Text,
    pub identity: Identity,
}

/// The subjects that hold a destination identity, with the attributes each would send.
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

/// How much of a thing's features must be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Detail {
    /// Numbers in bands, where rules need no more.
    Banded,
    Exact,
}

/// `ALIAS`: a node that subjects of this shard refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasRow {
    /// Subjects that refer to it.
    pub dependents: u64,
    /// Dependents that need exact features.
    pub exact: u64,
    /// The thing it is; `None` until its alias arrives.
    pub canonical: Option<CanonicalId>,
    pub epoch: u64,
    pub unrest: Option<Unrest>,
}

/// A node became another thing. Consequences arrive in parts, from several shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unrest {
    /// When that began.
    pub since: Timestamp,
    /// When it last became another thing.
    pub last: Timestamp,
}

/// The longest unrest, in settling times: things that never come to rest must not hold changes back
/// for ever.
const UNREST_TIMES_MAX: i64 = 10;

impl Unrest {
    /// It became another thing once more.
    pub fn again(before: Option<Unrest>, now: Timestamp, settle_ms: i64) -> Unrest {
        let since = before.filter(|before| before.until(settle_ms) > now).map_or(now, |before| before.since);
        Unrest { since, last: now }
    }

    pub fn until(self, settle_ms: i64) -> Timestamp {
        self.last.plus_ms(settle_ms).min(self.since.plus_ms(settle_ms.saturating_mul(UNREST_TIMES_MAX)))
    }
}

impl AliasRow {
    /// The detail needed of the thing, as far as this node goes.
    pub fn detail(&self) -> Option<Detail> {
        detail(self.dependents, self.exact)
    }
}

/// `REPLICA`: a thing's features as received; a missing row is an unknown thing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReplicaRow {
    /// Nodes that are this thing, referred to from here.
    pub nodes: u64,
    /// Nodes of which exact features are needed.
    pub exact: u64,
    /// Whether its owner has sent its features.
    pub known: bool,
    /// Whether it has a live record.
    pub exists: bool,
    pub features: Features,
}

/// The existence of a thing, as sent by its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It has a live record.
    Alive,
    #[default]
    Gone,
    /// It became a part of another thing; its dependents will soon learn of which.
    Absorbed,
}

impl ReplicaRow {
    /// The detail that this shard requests from the thing's owner.
    pub fn detail(&self) -> Option<Detail> {
        detail(self.nodes, self.exact)
    }
}

fn detail(all: u64, exact: u64) -> Option<Detail> {
    (all > 0).then_some(if exact > 0 { Detail::Exact } else { Detail::Banded })
}

/// `FANOUT`: re-evaluation of everyone who refers to a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FanoutRow {
    /// The key of the last dependent done.
    pub cursor: Option<Vec<u8>>,
    pub reach: Reach,
    pub moved: Moved,
    pub origin: Origin,
}

/// `CHORE`: work on a subject's long ledger, or an account's many children, in portions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChoreRow {
    /// The key of the last event that the walk over the ledger has reached.
    pub cursor: Option<Vec<u8>>,
    /// Nodes that leave with their events.
    pub departures: Vec<Departure>,
    /// Events are too old to be kept.
    pub expiring: bool,
    /// Queries whose rows must be deleted. Nothing is kept for them meanwhile.
    pub dropping: BTreeSet<QueryId>,
    /// Queries that need more work than one evaluation does to be brought up to now.
    pub advancing: BTreeSet<QueryId>,
    /// Aggregates over children must be filled or deleted.
    pub kin: bool,
    pub origin: Origin,
}

impl ChoreRow {
    /// Nothing to do yet.
    pub fn new(origin: Origin) -> ChoreRow {
        ChoreRow {
            cursor: None,
            departures: Vec::new(),
            expiring: false,
            dropping: BTreeSet::new(),
            advancing: BTreeSet::new(),
            kin: false,
            origin,
        }
    }
}

/// A node that leaves a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departure {
    pub node: Identity,
    pub to: CanonicalId,
    pub epoch: u64,
}

/// `REVIEW`: a check of every home under changed guards.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReviewRow {
    /// A key of the last node checked.
    pub cursor: Option<Vec<u8>>,
    pub origin: Origin,
}

/// The changed part of a related thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moved {
    /// Which thing it is, or whether it exists.
    Anything,
    /// Some of its features, a number's band counting as the number.
    Features(BTreeSet<FeatureId>),
}

impl Moved {
    /// This and the other.
    pub fn add(&mut self, other: &Moved) {
        match (&mut *self, other) {
            (Moved::Features(these), Moved::Features(others)) => these.extend(others),
            _ => *self = Moved::Anything,
        }
    }
}

/// Which dependents an update must wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// Things alone: a value holds for a longer or shorter time than was known, and they pass that
    /// on.
    Things,
    /// Only those who need exact features: a number moved within its band.
    Exact,
    All,
}

impl Reach {
    /// Both.
    pub fn and(self, other: Reach) -> Reach {
        if self == other { self } else { Reach::All }
    }
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

/// `CONFIGURATION`: hashes of the one that the rows were written under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationRow {
    /// The settings that rules and destinations depend on.
    pub rules: u64,
    /// The settings that verdicts on identities depend on.
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
    /// The revision at which each query of the plan was added.
    pub queries: BTreeMap<QueryId, u64>,
    /// The last revision at which a query left the plan.
    pub queries_left: u64,
    /// The fingerprint of each segment of the plan, and the revision at which it was added.
    pub segments: BTreeMap<Text, (u64, u64)>,
    /// The revision at which everything computed before became void.
    pub all_anew: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_as_it_was_written() {
        let node = |text: &str| Identity::parse(text).expect("an identity");
        let subject = SubjectId::of_node(&node("b2b_person:1@m1.Marketo"));
        let key = |text: &str| Value::Map(source_key::object(text));
        let body = |fields: &[(&str, Value)]| Some(Value::Map(fields.iter().map(|(name, value)| (Text::new(name), value.clone())).collect()));
        let (id, at) = (("_id", Value::text("e")), ("timestamp", Value::Time(Timestamp(7))));
        let person = ("personKey", key("1@m1.Marketo"));
        let bodies = [
            body(&[id.clone(), at.clone(), person.clone(), ("eventType", Value::text("x"))]),
            body(&[id.clone(), at, ("personKey", key("2@m1.Marketo"))]),
            body(&[id, ("timestamp", Value::Time(Timestamp(8))), person]),
            body(&[]),
            None,
        ];
        let mut lengths = Vec::new();
        for (body, home) in bodies.iter().flat_map(|body| [(body, "b2b_person:1@m1.Marketo"), (body, "ecid:1@m1.Marketo")]) {
            let copy = EventCopy {
                home: node(home),
                modified_at: Timestamp(9),
                occurred_at: Timestamp(7),
                others: vec![node("email:a@b.c")],
                body: body.clone(),
            };
            let row = EventRow { copies: vec![copy] };
            let bytes = row.encode(&subject, "e");
            assert_eq!(EventRow::decode(&subject, "e", &bytes).expect("our own bytes"), row);
            lengths.push(bytes.len());
        }
        assert!(lengths[0] + 60 < lengths[1], "what the key says is not repeated: {lengths:?}");
    }

    #[test]
    fn kept_rows_are_read_as_they_were_written() {
        let row = |at: i64, id: &str, columns: &[i64]| millrace_segment::view::EventRow {
            at: Timestamp(at),
            id: id.into(),
            columns: columns.iter().map(|column| Value::Int(*column)).collect(),
        };
        let kept = KeptRow([(QueryId(1), vec![row(1, "b", &[]), row(2, "a", &[])]), (QueryId(7), vec![row(2, "a", &[5, 6])])].into());
        assert_eq!(decode::<KeptRow>(&encode(&kept)).expect("our own bytes"), kept);
    }
}
