//! Reports about a node: for the API, and why an edge is parked.

use std::collections::BTreeSet;

use millrace_model::{CanonicalId, Identity};
use serde::{Deserialize, Serialize};

use crate::evidence::{Claim, Edge, Epoch, Reason};
use crate::policy::Policy;
use crate::rows::{EdgeRow, GraphResult, Status, TypedRows};
use crate::store::GraphStore;

/// A cluster and the edges at its members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterReport {
    /// The node asked for.
    pub node: Identity,
    /// Its canonical id.
    pub canonical: CanonicalId,
    /// The epoch of its last move; 0 if it has not moved since it was last without edges.
    pub epoch: Epoch,
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
    /// Its claims, up to the limit, in order of their texts.
    pub claims: Vec<Claim>,
    /// The number of claims.
    pub claim_count: u64,
    /// Why it does not count; `None` where it does.
    pub parked: Option<Reason>,
}

/// The canonical id of a node; itself if it was never mentioned.
///
/// # Errors
/// Where the store failed or a row is damaged.
pub fn canonical<S: GraphStore>(store: &S, node: &Identity) -> GraphResult<CanonicalId, S> {
    store.canonical_of(node)
}

/// The members of a cluster, in order of identities. An identity that is no cluster's canonical id
/// has itself as its only member.
///
/// # Errors
/// Where the store failed or a row is damaged.
pub fn members<S: GraphStore>(store: &S, canonical: &CanonicalId) -> GraphResult<Vec<Identity>, S> {
    store.cluster_members(canonical)
}

/// The cluster of a node with at most `limit` edges at its members, and at most `limit` claims of
/// each: an address shared by thousands has thousands.
///
/// # Errors
/// Where the store failed or a row is damaged.
pub fn explain<S: GraphStore>(store: &S, policy: &Policy, node: &Identity, limit: usize) -> GraphResult<ClusterReport, S> {
    let row = store.node(node)?;
    let epoch = row.as_ref().map_or(Epoch::NEVER, |row| row.epoch);
    let canonical = row.map_or_else(|| CanonicalId(node.clone()), |row| row.canonical);
    let members = store.cluster_members(&canonical)?;
    let (mut edges, mut truncated) = (Vec::new(), false);
    for parked in [false, true] {
        for edge in edges_at(store, &members, parked, limit.saturating_add(1))? {
            let Some(row) = store.edge(&edge)? else { continue };
            if edges.len() >= limit {
                truncated = true;
                break;
            }
            edges.push(EdgeReport {
                claims: store.claims(&edge, limit)?,
                claim_count: row.claims,
                parked: reason(store, policy, &edge, &row)?,
                edge,
            });
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

/// The edges at the members that are parked, or those that are not: all of them, or at least
/// `limit`.
fn edges_at<S: GraphStore>(store: &S, members: &[Identity], parked: bool, limit: usize) -> GraphResult<BTreeSet<Edge>, S> {
    let mut found = BTreeSet::new();
    for member in members {
        for status in Status::ALL.into_iter().filter(|status| status.is_parked() == parked) {
            let carried = store.carried(member, status, limit)?;
            found.extend(carried.into_iter().filter_map(|node| Edge::new(member.clone(), node)));
        }
        let status = store.node(member)?.and_then(|row| row.status);
        if status.is_some_and(|status| status.is_parked() == parked) {
            let homes = store.homes(member, limit)?;
            found.extend(homes.into_iter().filter_map(|home| Edge::new(home, member.clone())));
        }
    }
    Ok(found)
}

/// Why an edge does not count; `None` where it does. Read from the graph as it is now, so it
/// depends on no history either.
pub(crate) fn reason<S: GraphStore>(store: &S, policy: &Policy, edge: &Edge, row: &EdgeRow) -> GraphResult<Option<Reason>, S> {
    if row.refused {
        return Ok(policy.refusal(edge));
    }
    let node = edge.node();
    let Some(of_node) = store.node(node)? else { return Ok(None) };
    let too_big = Reason::TooManyIdentities {
        max: policy.identities_max(node),
    };
    match of_node.status {
        Some(Status::Crowded) => Ok(Some(Reason::TooManyClaims {
            identity: node.clone(),
            max: policy.claims_max(node),
        })),
        Some(Status::Waiting) if of_node.degree >= policy.identities_max(node) => Ok(Some(too_big)),
        Some(Status::Waiting) => {
            // Clusters only grow along the order: a node that did not fit at its place does not fit
            // at the end.
            let mut clusters = BTreeSet::new();
            for member in store.homes(node, usize::MAX)?.iter().chain([node]) {
                clusters.insert(store.canonical_of(member)?);
            }
            for namespace in policy.unique() {
                let mut held = 0;
                for canonical in &clusters {
                    held += u32::from(store.cluster_holds(canonical, namespace)?);
                }
                if held > 1 {
                    return Ok(Some(Reason::NotUnique { namespace: namespace.clone() }));
                }
            }
            Ok(Some(too_big))
        }
        _ => Ok(None),
    }
}
