//! What the engine needs of a set of rules: sub-expressions pushed to where they can be computed, and rests evaluated over their results.
//!
//! A rule about a person speaks of the person's own fields, of events, and of things reached through relations. Each maximal sub-expression that
//! depends on one related thing alone becomes a *feature* of that thing (computed where the thing lives, sent when its value changes); each that
//! depends on one event alone, and not on time, becomes a column or the predicate of an *event query* (computed once when the event arrives, its
//! matching rows kept with the person). What is left is the *residual*: small, and evaluated over features, rows and the subject's own fields.
//! Features may themselves rest on features of further things.

use std::collections::BTreeMap;
use std::fmt;

use millrace_model::{Relation, SubjectKind, Text, Timestamp, Value};
use serde::{Deserialize, Serialize};

/// Names a feature by a hash of its kind and normalised expression: the same on every shard, in every build.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FeatureId(pub u64);

/// Names an event query in the same way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueryId(pub u64);

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

/// Values of one thing's features. A feature that is absent is not known yet.
pub type Features = BTreeMap<FeatureId, Value>;

/// A fact that decides the answer has not arrived yet (a related thing's feature). Nothing is written on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown;

/// The subject as a residual sees it. The engine implements it over stored rows; tests over trees.
pub trait View {
    /// The canonical id, as text.
    fn id(&self) -> &str;
    /// The merged record: a map of typed fields, without relations and events.
    fn attributes(&self) -> &Value;
    /// The items of a relation of this subject, each once, in ascending order of `Item::id`. Unified things without a live record are left out.
    ///
    /// # Errors
    /// Where it is not yet known which items there are.
    fn related(&self, relation: Relation) -> Result<&[Item], Unknown>;
    /// The kept rows of an event query, in ascending order of `(at, id)`; events ahead of now among them.
    fn events(&self, query: QueryId) -> &[EventRow];
    /// Whether the subject is in another segment; `Some(false)` for a segment that does not exist.
    fn in_segment(&self, name: &str) -> Option<bool>;
}

/// One item of a relation: a related thing, or a relation row with the thing it leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Canonical id of the thing, or the row's own source key.
    pub id: Text,
    /// The row's fields (`Relation::row` relations only), else `Null`.
    pub row: Value,
    /// The thing: the item itself, or what the row leads to.
    pub target: Target,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The thing has no live record: a path through it is null.
    Missing,
    /// Which thing it is, or its features, is not known yet.
    Unknown,
    Known { id: Text, features: std::sync::Arc<Features> },
}

/// A kept event of a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    pub at: Timestamp,
    pub id: Text,
    /// The values of the query's columns, in their order.
    pub columns: Vec<Value>,
}

/// How many rows of a query have to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Every matching event within the retained history.
    All,
    /// The newest so many, beside those ahead of now.
    Newest(usize),
}

/// What a compiled expression reads: the inverted index of the engine is made of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Reads the subject's own attributes at all.
    pub attributes: bool,
    pub relations: Vec<Relation>,
    pub features: Vec<FeatureId>,
    pub queries: Vec<QueryId>,
    pub segments: Vec<Text>,
}

/// A value, and the earliest later instant at which time alone could change it (`Timestamp::MAX`: never).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timed<T> {
    pub value: T,
    pub valid_until: Timestamp,
}

/// Which kind a feature belongs to is part of its identity; re-exported for readers of plans.
pub type FeatureKind = SubjectKind;
