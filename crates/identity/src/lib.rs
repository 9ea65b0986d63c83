//! The identity graph: which identities are one person, one account, one deal; a state machine over rows of the caller.
//!
//! What it is *not*: it reads no records (the resolve stage turns them into evidence), keeps no profile, sends no message, knows no clock.
//!
//! # Evidence
//!
//! A *claim* (a record, an MDM link) asserts *edges*: a record whose home identity is h and that carries e1…en asserts (h,e1)…(h,en). An edge lives
//! while at least one claim asserts it. [`apply`] takes one [`Evidence`] at a time; repeating one changes nothing, and no order is needed.
//!
//! # The law
//!
//! Which edges count is a function of the *set* of live edges and the [`Policy`], never of their history:
//!
//! 1. *Refused* are edges between kinds (a person is never an account) and edges at a blocked identity (`info@…`). They are as if not asserted.
//! 2. *Crowded* are edges at an identity with more edges left than its namespace may have. Edges are counted, not claims: an event asserts the same
//!    edge a thousand times and is right each time, but an e-mail address beside thirty persons is a mailbox.
//! 3. The edges still left are taken in one fixed order, and each is *linked* unless the cluster it would make breaks a guardrail of clusters (size,
//!    unique namespaces); then it is *waiting*.
//!
//! Clusters are the connected components of linked edges; the least member by [`Priority`] is the canonical id. All that is not linked is *parked*:
//! kept, reported, and linked by itself as soon as rule 1 to 3 say so.
//!
//! The order of rule 3: an edge is as strong as its weaker end. So edges sort by the priority of the weaker end's namespace, then of the stronger
//! end's, then by the stronger id, then by the weaker. What two CRM systems say about each other's keys counts before a shared e-mail address, that
//! before a shared device; and a mailbox shared by thousands keeps the persons that come first by id, whoever came first in time.
//!
//! # How it stays cheap
//!
//! Clusters only grow while edges are taken in order. Three facts follow:
//!
//! * An edge that waits at its place changes nothing else, neither when it comes nor when it goes.
//! * An edge is linked if and only if its ends end up in one cluster. So an edge within a cluster, or one whose two *final* clusters fit together, is
//!   linked at once and changes nothing else: one union.
//! * An edge behind all linked edges of two clusters meets them as they are now; if they do not fit it waits, after a constant number of reads.
//!   An edge before some of them meets clusters that are parts of those: they are walked, at most two times the greatest cluster.
//!
//! What remains is a linked edge that goes, or one that takes its place before others in full clusters. Then the rest of the order is replayed, but only
//! from that place on and only for the *region*: the clusters of its ends, and each cluster that a waiting edge joins to them during the replay.
//! Waiting edges of a node are read lazily, in order; a cluster that has reached its greatest size reads no more of them. So a mailbox with 10,000
//! waiting edges costs as much as one with ten. Without waiting edges the region is the one cluster, and the replay is a plain split.
//!
//! Rules 1 and 2 need no order: an identity that passes its number of edges takes them out one by one, and puts them back when it is below again.
//!
//! # Moves
//!
//! Merge and split are one primitive: a [`Move`] of one node from one canonical id to another. All moves of one call share an epoch; epochs grow.
//! Applied to a map in which every node begins as itself, they always give the current canonical ids.

mod apply;
mod evidence;
mod policy;
mod rebuild;
mod replay;
mod report;
mod rows;
mod store;

pub use apply::apply;
pub use evidence::{Claim, Edge, Evidence, Move, Outcome, Parked, Reason};
pub use policy::{Policy, Priority};
pub use rebuild::rebuild;
pub use report::{ClusterReport, EdgeReport, canonical, explain, members};
pub use store::{GraphError, GraphStore, MemoryGraph, Row};

#[cfg(test)]
mod tests;
