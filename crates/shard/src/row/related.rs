//! What a shard knows of things elsewhere, and whom it reports its own to.

use std::collections::BTreeSet;

use millrace_identity::Epoch;
use millrace_model::{CanonicalId, Timestamp};
use millrace_segment::view::{FeatureId, Features};
use serde::{Deserialize, Serialize};

/// How much of a thing's features must be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Detail {
    /// Numbers in bands, where rules need no more.
    Banded,
    /// Numbers as they are.
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
    /// The node's last move, as the alias said.
    pub epoch: Epoch,
    /// The node became another thing lately.
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

    /// When dependents may be decided: the settling time after the last change, but never longer
    /// than `UNREST_TIMES_MAX` settling times after the first.
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
    /// Its features; numbers may be bands.
    pub features: Features,
}

/// The existence of a thing, as sent by its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It has a live record.
    Alive,
    /// It has no live record.
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

/// The changed part of a related thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RelatedChange {
    /// Which thing it is, or whether it exists.
    Anything,
    /// Some of its features, a number's band counting as the number.
    Features(BTreeSet<FeatureId>),
}

impl RelatedChange {
    /// This and the other.
    pub fn add(&mut self, other: &RelatedChange) {
        match (&mut *self, other) {
            (RelatedChange::Features(these), RelatedChange::Features(others)) => these.extend(others),
            _ => *self = RelatedChange::Anything,
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
    /// Everyone.
    All,
}

impl Reach {
    /// Both.
    pub fn and(self, other: Reach) -> Reach {
        if self == other { self } else { Reach::All }
    }
}
