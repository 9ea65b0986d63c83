//! What the graph says about a node: for the API, and why an edge is parked.

use millrace_model::{CanonicalId, Identity};
use serde::{Deserialize, Serialize};

use crate::apply::between;
use crate::evidence::{Claim, Edge, Reason};
use crate::policy::Policy;
use crate::rows::{Rows, Status, TypedRows};
use crate::store::GraphStore;

/// A cluster and the edges at its members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterReport {
    /// The node asked for.
    pub node: Identity,
    /// Its canonical id.
    pub canonical: CanonicalId,
    /// The epoch of its last move; 0 where it has had none since it was last without edges.
    pub epoch: u64,
    /// All members, in order of identities; the node alone if nothing is linked to it.
    pub members: Vec<Identity>,
    /// The edges at the members: linked ones first, then parked ones, each in order of edges.
    pub edges: Vec<EdgeReport>,
    /// There are more edges than the limit.
    pub truncated: bool,
}

/// One edge of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdgeReport {
    /// The edge.
    pub edge: Edge,
    /// Who asserts it, as many as the limit allows, in order of their texts.
    pub claims: Vec<Claim>,
    /// How many assert it.
    pub claim_count: u64,
    /// Why it does not count; `None` where it does.
    pub parked: Option<Reason>,
}

/// The canonical id of a node; itself where it was never mentioned.
///
/// # Errors
/// Where the store failed or a row is damaged.
pub fn canonical<S: GraphStore>(store: &S, node: &Identity) -> Rows<CanonicalId, S> {
    store.canonical_of(node)
}

/// The members of a cluster, in order of identities. An identity that is no cluster's canonical id has itself as its only member.
///
/// # Errors
/// Where the store failed or a row is damaged.
pub fn members<S: GraphStore>(store: &S, canonical: &CanonicalId) -> Rows<Vec<Identity>, S> {
    store.cluster_members(canonical)
}

/// The cluster of a node with at most `limit` edges at its members, and at most `limit` claims of each: an address shared by thousands has thousands.
///
/// # Errors
/// Where the store failed or a row is damaged.
pub fn explain<S: GraphStore>(store: &S, policy: &Policy, node: &Identity, limit: usize) -> Rows<ClusterReport, S> {
    let row = store.node(node)?;
    let epoch = row.as_ref().map_or(0, |row| row.epoch);
    let canonical = row.map_or_else(|| CanonicalId(node.clone()), |row| row.canonical);
    let members = store.cluster_members(&canonical)?;
    let mut edges = Vec::new();
    let mut truncated = false;
    'all: for parked in [false, true] {
        for status in Status::ALL.into_iter().filter(|status| status.is_parked() == parked) {
            let mut found = std::collections::BTreeSet::new();
            for member in &members {
                // One more than can be shown, to know whether there is one; an edge within the cluster is met at both its ends.
                let others = store.others_up_to(member, status, limit.saturating_add(1))?;
                found.extend(others.iter().map(|other| between(member, other)));
            }
            for edge in found {
                if edges.len() >= limit {
                    truncated = true;
                    break 'all;
                }
                let claim_count = store.edge(&edge)?.map_or(0, |row| row.claims);
                let claims = store.claims(&edge, limit)?;
                let parked = reason(store, policy, &edge, status)?;
                edges.push(EdgeReport {
                    edge,
                    claims,
                    claim_count,
                    parked,
                });
            }
        }
    }
    Ok(ClusterReport {
        node: node.clone(),
        canonical,
        epoch,
        members,
        edges,
        truncated,
    })
}

/// Why an edge of this status does not count; `None` where it does. Read from what the graph is now, so it depends on no history either.
pub(crate) fn reason<S: GraphStore>(store: &S, policy: &Policy, edge: &Edge, status: Status) -> Rows<Option<Reason>, S> {
    Ok(match status {
        Status::Linked => None,
        Status::Refused => policy.refusal(edge),
        Status::Crowded => {
            let mut found = None;
            for end in [edge.a(), edge.b()] {
                let max = policy.claims_max(end);
                if found.is_none() && store.degree(end)? > max {
                    found = Some(Reason::TooManyClaims { identity: end.clone(), max });
                }
            }
            found
        }
        Status::Waiting => {
            // Clusters only grow along the order: what did not fit at the edge's place does not fit at the end.
            let (a, b) = (store.canonical_of(edge.a())?, store.canonical_of(edge.b())?);
            for namespace in policy.unique() {
                if store.cluster_holds(&a, namespace)? && store.cluster_holds(&b, namespace)? {
                    return Ok(Some(Reason::NotUnique { namespace: namespace.clone() }));
                }
            }
            Some(Reason::TooManyIdentities {
                max: policy.identities_max(edge.a()),
            })
        }
    })
}
