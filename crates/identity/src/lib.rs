//! The identity graph: which identities are one person, one account, one opportunity; a state machine over
//! rows of the caller.
//!
//! What it is *not*: it reads no records (the resolve stage turns them into evidence), keeps no
//! profile, sends no message, and has no clock.
//!
//! # Evidence
//!
//! A *claim* (a record, an MDM link) asserts *edges*: a record whose home identity is h and that
//! carries e1…en asserts (h,e1)…(h,en). An edge lives while at least one claim asserts it.
//! [`apply`] takes a batch of [`Evidence`]; repeating it changes nothing, and no order is needed.
//!
//! # The law
//!
//! Which identities count is a function of the *set* of live edges and the [`Policy`], never of
//! their history:
//!
//! 1. *Refused* are edges between kinds (a person is never an account) and edges at a blocked
//!    identity (`info@…`). They are treated as if not asserted.
//! 2. *Crowded* are identities that more homes carry than their namespace allows. Homes are
//!    counted, not claims: an event repeats the same edge a thousand times and is right each time,
//!    but an e-mail address that thirty persons carry is a mailbox.
//! 3. The identities still left are taken in one order: those of unique namespaces, then by
//!    namespace priority, then by id. Each is *linked* to
//!    all the homes that carry it, unless the cluster that all of them would make breaks a
//!    guardrail of clusters (size, unique namespaces); then it is *waiting*.
//!
//! Clusters are the connected components of linked edges; the least member by [`Priority`] is the
//! canonical id. An identity that is not linked is set aside *whole*: none of its homes has it,
//! because any subset of them would depend on arrival order. Its edges are *parked*: kept,
//! reported, and linked by themselves as soon as rules 1 to 3 allow it. Edges that the identity
//! asserts as a home are not edges *at* it, and count as usual.
//!
//! So statements of two CRM systems about each other's keys count before a shared e-mail address,
//! and that before a shared device; a mailbox shared by thousands unites no one.
//!
//! # How it stays cheap
//!
//! Clusters only grow while identities are taken in order. Four facts follow:
//!
//! * An identity that waits at its place changes nothing else, neither when it comes nor when it
//!   goes. With further homes it keeps waiting.
//! * An identity is linked if and only if it ends up in one cluster with all its homes. So one
//!   within a cluster, or one whose *final* clusters fit together, is linked at once and changes
//!   nothing else: one union.
//! * An identity after all linked ones of its clusters meets them as they are now; if they do not
//!   fit it waits, after a constant number of reads.
//! * An identity that more homes carry than a cluster may have members waits, without a read of any
//!   of them.
//!
//! What remains is a linked identity that loses a home, or an identity that takes its place before
//! others in full clusters. Then the rest of the order is replayed, once for all such changes of a
//! batch, from the first of their places on, and only for the *region*: the clusters of the nodes
//! that lost a home, and each cluster that a waiting identity joins to them during the replay. The
//! waiting identities of a home are read lazily, in order; a cluster at its greatest size reads no
//! more of them. Without waiting identities the region is the one cluster, and the replay is a
//! plain split.
//!
//! Rules 1 and 2 need no order: an identity that exceeds its number of homes drops out, and comes
//! back when it is below again.
//!
//! # Moves
//!
//! Merge and split are one primitive: a [`Move`] of one node from one canonical id to another. All
//! moves of one call share an epoch; epochs grow. Applied to a map in which every node begins as
//! itself, they always give the current canonical ids.
//!
//! ```
//! use millrace_identity::{Claim, Edge, Evidence, MemoryGraph, Policy, apply};
//! use millrace_model::Identity;
//!
//! // A record of the CRM says that its person has this address.
//! let record = Identity::parse("b2b_person:1@crm.Salesforce").expect("an identity");
//! let address = Identity::parse("email:ann@acme.com").expect("an identity");
//! let evidence = Evidence::Assert {
//!     edge: Edge::new(record, address).expect("two identities"),
//!     claim: Claim("person 1@crm.Salesforce".into()),
//! };
//! let outcome = apply(&mut MemoryGraph::default(), &Policy::default(), &[evidence]).expect("memory does not fail");
//! // The two are one cluster: one of them moves to the other's canonical id.
//! assert_eq!((outcome.moves.len(), outcome.cluster_size), (1, 2));
//! ```

#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]

mod apply;
mod evidence;
mod policy;
mod rebuild;
mod replay;
mod report;
mod rows;
mod store;
mod writer;

pub use apply::apply;
pub use evidence::{Claim, Edge, Epoch, Evidence, Move, Outcome, Parked, Reason};
pub use policy::{Policy, Priority};
pub use rebuild::rebuild;
pub use report::{ClusterReport, EdgeReport, canonical, explain, members};
pub use store::{GraphError, GraphStore, MemoryGraph, Row};

#[cfg(test)]
mod tests;
