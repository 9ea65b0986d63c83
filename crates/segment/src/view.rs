//! The port: what an incrementally kept expression reads of its subject, and the names for it.
//!
//! The engine implements [`View`] over stored rows, tests over trees. Everything here is data; the
//! evaluator is above.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use millrace_model::{Relation, Text, Timestamp, Value};
use serde::{Deserialize, Serialize};

use crate::totals::Totals;

/// Names a feature by a hash of its kind and normalised expression: the same on every shard, in
/// every build.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FeatureId(pub u64);

/// Names an event query in the same way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueryId(pub u64);

/// Names an aggregate over an account's children in the same way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KinId(pub u64);

/// Names a condition that reads no event in the same way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartId(pub u64);

impl fmt::Debug for FeatureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "feature {:016x}", self.0)
    }
}

impl fmt::Debug for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query {:016x}", self.0)
    }
}

impl fmt::Debug for PartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "part {:016x}", self.0)
    }
}

impl fmt::Debug for KinId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kin {:016x}", self.0)
    }
}

/// A value, and the earliest later instant at which time alone could change it (`Timestamp::MAX`:
/// never).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timed<T> {
    /// What holds now.
    pub value: T,
    /// `Timestamp::MAX`: for ever.
    pub valid_until: Timestamp,
}

impl<T> Timed<T> {
    /// A value that no passage of time changes.
    pub fn lasting(value: T) -> Timed<T> {
        Timed {
            value,
            valid_until: Timestamp::MAX,
        }
    }
}

/// Values of one thing's features, each with the instant until which it holds as far as time goes.
/// A missing feature is not known yet.
pub type Features = BTreeMap<FeatureId, Timed<Value>>;

/// A deciding fact has not arrived yet (a related thing's feature). The shard writes no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown;

/// The subject as a residual sees it. The engine implements it over stored rows; tests over trees.
pub trait View {
    /// The canonical id, as text.
    fn id(&self) -> &str;
    /// The merged record: a map of typed fields, without relations and events.
    fn attributes(&self) -> &Value;
    /// The items of a relation of this subject, each once, in ascending order of `Item::id`.
    /// Unified things without a live record are left out.
    ///
    /// # Errors
    /// Where the items are not known yet.
    fn related(&self, relation: Relation) -> Result<&[Item], Unknown>;
    /// The kept rows of an event query, in ascending order of `(at, id)`, including events ahead of
    /// now.
    fn events(&self, query: QueryId) -> &[EventRow];
    /// The kept aggregate of a query with `Keep::Tally`, as at `now`; `None`: compute it from
    /// `events`.
    fn tally(&self, query: QueryId, now: Timestamp) -> Option<Tallied>;
    /// The kept aggregate over children, as at now; `None`: compute it from `related`.
    fn kin(&self, kin: KinId) -> Option<Kept>;
    /// Whether the chain of a query with `Keep::Progress` holds at `now`, as kept; `None`: compute
    /// it from `events`.
    fn progress(&self, query: QueryId, now: Timestamp) -> Option<Timed<bool>>;
    /// The truth of a condition that reads no event, if it is kept and no fact that it reads changed
    /// since; it may have ended by time alone.
    fn truth(&self, _part: PartId) -> Option<Truth> {
        None
    }
    /// The condition was computed: its truth may be kept.
    fn keep_truth(&self, _part: PartId, _truth: Truth) {}
    /// Whether the subject is in another segment, and until when as far as time goes; `Some` of
    /// never for a segment that does not exist.
    fn in_segment(&self, name: &str) -> Option<Timed<bool>>;
    /// A rule needed to go through more items than one may (`eval::ITEMS_MAX`), and counts as false or null for this subject.
    fn exhausted(&self) {}
}

/// One item of a relation: a related thing, or a relation row with the thing it leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Canonical id of the thing, or the row's own source key.
    pub id: Text,
    /// The row's fields (`Relation::row` relations only), otherwise `Null`.
    pub row: Value,
    /// The thing: the item itself, or the row's target.
    pub target: Target,
}

/// The thing that an item of a relation leads to, as far as it is known.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The thing has no live record: a path through it is null.
    Missing,
    /// Which thing it is, or its features, are not known yet.
    Unknown,
    /// The thing has a live record, and its features have arrived.
    Known {
        /// Its canonical id.
        id: Text,
        /// The values that rules ask of it; one that is missing is unknown.
        features: Arc<Features>,
    },
}

/// The truth of a condition that reads no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// Whether it holds.
    pub holds: bool,
    /// The earliest later instant at which time alone could change it; `None`: never.
    until: Option<Timestamp>,
    /// The items that were gone through for it: they count towards the rule's bound.
    pub items: u32,
}

impl Truth {
    /// As computed.
    pub fn new(holds: bool, valid_until: Timestamp, items: u32) -> Truth {
        let until = (valid_until < Timestamp::MAX).then_some(valid_until);
        Truth { holds, until, items }
    }

    /// `Timestamp::MAX`: for ever.
    pub fn valid_until(&self) -> Timestamp {
        self.until.unwrap_or(Timestamp::MAX)
    }
}

/// A kept event of a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// When it occurred.
    pub at: Timestamp,
    /// Unique among the events of its person.
    pub id: Text,
    /// The values of the query's columns, in their order.
    pub columns: Vec<Value>,
}

/// The kept form of a query with `Keep::Tally`.
#[derive(Clone, Debug)]
pub struct Tallied {
    /// The values that count, added up.
    pub totals: Totals,
    /// The least or greatest value that counts, if the rule asks for it.
    pub extreme: Option<Value>,
    /// The earliest later instant at which time alone could change the result.
    pub valid_until: Timestamp,
}

/// An aggregate over children as kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// All children.
    pub children: u64,
    /// Children of which it is unknown whether they count, or for what.
    pub unknown: u64,
    /// The values that count, added up; those of `unknown` children are missing.
    pub totals: Totals,
    /// The least or greatest value that counts, if the rule asks for it.
    pub extreme: Option<Value>,
}
