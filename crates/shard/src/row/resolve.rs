//! What resolve knows of records, and of the nodes they belong to.

use std::collections::BTreeSet;
use std::fmt;

use millrace_model::{CanonicalId, Identity, ShardId, SubjectId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::record::RecordState;
use millrace_identity::Epoch;

/// The number of a message among those that resolve sends about one record, or about what one home
/// carries. Its owners keep the value of the greatest: messages may overtake each other while a
/// node moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The sequence of the next message.
    #[must_use]
    pub fn next(self) -> Sequence {
        Sequence(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `RECORD`: one source record as resolve knows it, and what it sent to others because of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RecordRow {
    /// Grows with every change that is passed on; orders fragments and rows of one record at their
    /// owners.
    pub sequence: Sequence,
    /// The record as its changes so far left it.
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
    /// The identity writer's epoch at the last move; 0 if it never moved.
    pub epoch: Epoch,
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
    pub verdicts: Sequence,
    /// Shards that follow the node.
    pub followers: BTreeSet<ShardId>,
}

impl NodeRow {
    /// What the node belongs to.
    pub fn subject(&self, node: &Identity) -> SubjectId {
        match &self.canonical {
            Some(canonical) => SubjectId::of(node, canonical.clone()),
            None => SubjectId::of_node(node),
        }
    }
}

/// `CARRIED`: whether retained events of a home carry an identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedRow {
    /// Whether any of them does.
    pub present: bool,
    /// The home's epoch at the last message about it, so that an older message from a former owner
    /// changes nothing.
    pub epoch: Epoch,
}
