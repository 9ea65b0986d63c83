//! What the graph is told, and what it answers.

use std::fmt;

use millrace_model::{CanonicalId, Identity, Text};
use serde::{Deserialize, Serialize};

/// Two different identities, in no direction.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Edge {
    /// Invariant: less than `b`.
    a: Identity,
    b: Identity,
}

/// Who asserts an edge: an opaque name, unique among all claims, the same each time the claim is repeated or withdrawn.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Claim(pub Text);

/// One message to the graph. Repeating one changes nothing. Of one claim on one edge the last message counts; between edges and between claims no order is
/// needed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Evidence {
    /// The claim says that the two identities are one thing.
    Assert {
        /// The two.
        edge: Edge,
        /// Who says so.
        claim: Claim,
    },
    /// The claim no longer says so. Where it never did, nothing happens.
    Withdraw {
        /// The two.
        edge: Edge,
        /// Who said so.
        claim: Claim,
    },
}

/// One node changes its canonical id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Move {
    /// Who moves.
    pub node: Identity,
    /// Its canonical id up to now.
    pub from: CanonicalId,
    /// Its canonical id from now on; never `from`.
    pub to: CanonicalId,
    /// The same for all moves of one outcome; greater than that of every earlier outcome with moves. Begins at 1.
    pub epoch: u64,
}

/// A live edge that does not count, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Parked {
    /// The edge.
    pub edge: Edge,
    /// The first reason found.
    pub reason: Reason,
}

/// Why an edge does not count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Reason {
    /// A person is no account; nothing unites them.
    #[error("the identities name different kinds of thing")]
    CrossKind,
    /// The policy blocks an end.
    #[error("{identity} is blocked")]
    Blocked {
        /// The end.
        identity: Identity,
    },
    /// An end has too many edges.
    #[error("{identity} is claimed together with more than {max} identities")]
    TooManyClaims {
        /// The end.
        identity: Identity,
        /// The most edges its namespace may have.
        max: u64,
    },
    /// The united cluster would be too big.
    #[error("united they would hold more than {max} identities")]
    TooManyIdentities {
        /// The most identities in a cluster of this kind.
        max: u64,
    },
    /// The united cluster would hold two identities of a namespace of which one is allowed.
    #[error("united they would hold more than one identity of {namespace}")]
    NotUnique {
        /// The namespace.
        namespace: Text,
    },
}

/// What one piece of evidence changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// One for each node whose canonical id changed, in order of nodes.
    pub moves: Vec<Move>,
    /// Edges parked from now on, in order of edges. An edge parked before is not repeated, even if the reason has changed.
    pub parked: Vec<Parked>,
    /// Edges parked up to now and no longer, in order of edges: they count, or nobody asserts them any more.
    pub unparked: Vec<Edge>,
    /// Identities in the greater of the two clusters at the ends of the edge, afterwards. 0 where the evidence was known already.
    pub cluster_size: usize,
}

impl Edge {
    /// `None` where both are the same: that says nothing.
    pub fn new(x: Identity, y: Identity) -> Option<Edge> {
        match x.cmp(&y) {
            std::cmp::Ordering::Less => Some(Edge { a: x, b: y }),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(Edge { a: y, b: x }),
        }
    }

    /// The lesser end, by the order of identities.
    pub fn a(&self) -> &Identity {
        &self.a
    }

    /// The greater end.
    pub fn b(&self) -> &Identity {
        &self.b
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} – {}", self.a, self.b)
    }
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
