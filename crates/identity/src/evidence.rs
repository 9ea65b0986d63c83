//! The graph's input and its answer.

use std::fmt;

use millrace_model::{CanonicalId, Identity, Text};
use serde::{Deserialize, Serialize};

/// A home and an identity that it carries: the two are one thing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Edge {
    home: Identity,
    /// Invariant: another identity than `home`.
    node: Identity,
}

/// The author of an edge: an opaque name, unique among all claims, the same each time the claim is
/// repeated or withdrawn.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Claim(pub Text);

/// One message to the graph. Repeating one changes nothing. Of several messages about one claim on
/// one edge the last counts; between edges and between claims no order is needed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Evidence {
    /// The claim says that the two identities are one thing.
    Assert {
        /// The two.
        edge: Edge,
        /// The author.
        claim: Claim,
    },
    /// The claim no longer says so. If it never did, nothing happens.
    Withdraw {
        /// The two.
        edge: Edge,
        /// The author.
        claim: Claim,
    },
}

/// The writer's count of the calls that moved nodes: of two moves of a node the one with the greater
/// epoch is the later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The node has never moved.
    pub const NEVER: Epoch = Epoch(0);

    /// The epoch after this one.
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One node changes its canonical id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Move {
    /// The node that moves.
    pub node: Identity,
    /// Its canonical id up to now.
    pub from: CanonicalId,
    /// Its canonical id from now on; never `from`.
    pub to: CanonicalId,
    /// The same for all moves of one outcome; greater than that of every earlier outcome with
    /// moves. Begins at 1.
    pub epoch: Epoch,
}

/// A live edge that does not count, because its node is set aside, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Parked {
    /// The edge.
    pub edge: Edge,
    /// The first reason found.
    pub reason: Reason,
}

/// Why an edge does not count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// A person is not an account; nothing unites them.
    #[error("the identities name different kinds of thing")]
    CrossKind,
    /// The policy blocks an end.
    #[error("{identity} is blocked")]
    Blocked {
        /// The end.
        identity: Identity,
    },
    /// Too many homes carry the identity.
    #[error("more than {max} records carry {identity}")]
    TooManyClaims {
        /// The identity.
        identity: Identity,
        /// The most homes that may carry an identity of its namespace.
        max: u64,
    },
    /// With all its homes the identity would make too big a cluster.
    #[error("all that carry it would together hold more than {max} identities")]
    TooManyIdentities {
        /// The most identities in a cluster of this kind.
        max: u64,
    },
    /// With all its homes the identity would make a cluster with two identities of a namespace of
    /// which one is allowed.
    #[error("all that carry it would together hold more than one identity of {namespace}")]
    NotUnique {
        /// The namespace.
        namespace: Text,
    },
}

/// What the evidence changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// One for each node whose canonical id changed, in order of nodes.
    pub moves: Vec<Move>,
    /// Edges parked from now on, in order of edges. An edge parked before is not repeated, even if
    /// the reason has changed.
    pub parked: Vec<Parked>,
    /// Edges parked before and no longer, in order of edges: they count, or no claim asserts them
    /// any more.
    pub unparked: Vec<Edge>,
    /// Identities in the largest cluster that the evidence names, afterwards. 0 where all of it was
    /// known already.
    pub cluster_size: usize,
}

impl Edge {
    /// `None` where both are the same: that says nothing.
    pub fn new(home: Identity, node: Identity) -> Option<Edge> {
        (home != node).then_some(Edge { home, node })
    }

    /// The home that carries the identity.
    pub fn home(&self) -> &Identity {
        &self.home
    }

    /// The identity that is carried.
    pub fn node(&self) -> &Identity {
        &self.node
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} – {}", self.home, self.node)
    }
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
