//! Applying evidence: notes edges, settles identities whose status needs no order, takes short ways
//! where the order decides nothing, and replays the rest once for the whole batch.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{CanonicalId, Identity};

use crate::evidence::{Claim, Edge, Evidence, Outcome};
use crate::policy::{Place, Policy};
use crate::replay;
use crate::rows::{ClusterRow, GraphResult, Status, TypedRows};
use crate::store::GraphStore;
use crate::writer::{Cluster, Writer};

/// Takes evidence into the graph and returns the changes. One batch costs less than its parts: a
/// cluster that loses a hundred edges is taken apart once.
///
/// # Errors
/// Where the store failed or a row is damaged. Some rows may be written then: abort the
/// transaction.
pub fn apply<S: GraphStore>(store: &mut S, policy: &Policy, evidence: &[Evidence]) -> GraphResult<Outcome, S> {
    let mut last: BTreeMap<(&Edge, &Claim), bool> = BTreeMap::new();
    for one in evidence {
        match one {
            Evidence::Assert { edge, claim } => last.insert((edge, claim), true),
            Evidence::Withdraw { edge, claim } => last.insert((edge, claim), false),
        };
    }
    let mut writer = Writer::new(store, policy)?;
    let mut spoken_of = BTreeSet::new();
    // Additions first, so that an edge whose claims change hands never disappears.
    let (come, gone): (Vec<_>, Vec<_>) = last.into_iter().partition(|(_, present)| *present);
    for ((edge, claim), present) in come.into_iter().chain(gone) {
        if writer.store.has_claim(edge, claim)? == present {
            continue;
        }
        writer.store.set_claim(edge, claim, present)?;
        writer.claimed(edge, present)?;
        spoken_of.extend([edge.home(), edge.node()]);
    }
    writer.decide()?;
    let mut cluster_size = 0;
    for node in spoken_of {
        cluster_size = cluster_size.max(writer.group_of(node)?.size());
    }
    Ok(Outcome {
        cluster_size: usize::try_from(cluster_size).unwrap_or(usize::MAX),
        ..writer.outcome()?
    })
}

impl<S: GraphStore> Writer<'_, S> {
    /// Decides every node whose homes changed, in their order: alone where its homes alone decide,
    /// or where whole clusters unite; the others together, by a replay.
    ///
    /// Until that replay the clusters are right for the homes that the others had before, and any
    /// union made meanwhile stays valid: so the order of the two steps does not matter.
    pub fn decide(&mut self) -> GraphResult<(), S> {
        let mut replay = replay::Task::default();
        while let Some((place, changed)) = self.changed.pop_first() {
            let row = self.node_row(&place.node)?;
            let was_linked = changed.before == Some(Status::Linked);
            let settled = if row.degree == 0 {
                Some(None)
            } else if row.degree > self.policy.claims_max(&place.node) {
                Some(Some(Status::Crowded))
            } else if row.degree >= self.policy.identities_max(&place.node) {
                Some(Some(Status::Waiting))
            } else {
                None
            };
            match settled {
                Some(status) => {
                    self.set_status(&place.node, status)?;
                    if was_linked {
                        replay.shrink(place);
                    }
                }
                // A node that did not fit fits even less with a further home.
                None if changed.before == Some(Status::Waiting) && !changed.shrank => {}
                None if was_linked && changed.shrank => {
                    replay.shrink(place.clone());
                    replay.decide(place);
                }
                None if self.unite_whole(&place, was_linked)? => {}
                None => {
                    if was_linked {
                        replay.shrink(place.clone());
                    }
                    replay.decide(place);
                }
            }
        }
        replay.run(self)
    }

    /// A node that did not count before, or has further homes, where no order is needed: its
    /// clusters fit together as they are, or all of them were complete before its turn came.
    /// Returns whether it is decided.
    fn unite_whole(&mut self, place: &Place, was_linked: bool) -> GraphResult<bool, S> {
        let node = &place.node;
        let mut clusters: BTreeMap<CanonicalId, Cluster> = BTreeMap::new();
        let homes = self.store.homes(node, usize::MAX)?;
        for member in homes.iter().chain([node]) {
            let cluster = self.group_of(member)?;
            clusters.insert(cluster.canonical.clone(), cluster);
        }
        if self.fit(clusters.values(), node)? {
            self.set_status(node, Some(Status::Linked))?;
            self.unite(clusters.into_values().collect(), place)?;
            return Ok(true);
        }
        let complete = |cluster: &Cluster| cluster.row.as_ref().is_none_or(|row| self.policy.place(&row.last) < *place);
        if !was_linked && clusters.values().all(complete) {
            self.set_status(node, Some(Status::Waiting))?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Whether different clusters may be one.
    fn fit<'c>(&self, clusters: impl Iterator<Item = &'c Cluster> + Clone, any: &Identity) -> GraphResult<bool, S> {
        if clusters.clone().map(Cluster::size).sum::<u64>() > self.policy.identities_max(any) {
            return Ok(false);
        }
        if clusters.clone().nth(1).is_none() {
            return Ok(true);
        }
        for namespace in self.policy.unique() {
            let mut held = false;
            for cluster in clusters.clone() {
                let holds = self.store.cluster_holds(&cluster.canonical, namespace)?;
                if held && holds {
                    return Ok(false);
                }
                held |= holds;
            }
        }
        Ok(true)
    }

    /// Makes clusters one, under the least of their canonical ids, because the node at `place` is
    /// linked.
    fn unite(&mut self, clusters: Vec<Cluster>, place: &Place) -> GraphResult<(), S> {
        let priority = self.policy.priority();
        let Some(winner) = clusters.iter().min_by(|a, b| priority.compare(&a.canonical.0, &b.canonical.0)) else {
            return Ok(());
        };
        let to = winner.canonical.clone();
        let alone = winner.row.is_none() && clusters.len() > 1;
        if alone {
            self.store.set_member(&to, &to.0, true)?;
        }
        let mut row = ClusterRow {
            size: 0,
            last: place.node.clone(),
        };
        let mut last = place.clone();
        for cluster in &clusters {
            row.size += cluster.size();
            if let Some(of) = &cluster.row {
                last = last.max(self.policy.place(&of.last));
            }
            if cluster.canonical == to {
                continue;
            }
            for member in self.store.cluster_members(&cluster.canonical)? {
                if cluster.row.is_some() {
                    self.store.set_member(&cluster.canonical, &member, false)?;
                }
                self.store.set_member(&to, &member, true)?;
                self.set_canonical(&member, &to)?;
            }
            if cluster.row.is_some() {
                self.store.set_cluster(&cluster.canonical, None)?;
            }
        }
        row.last = last.node;
        self.store.set_cluster(&to, Some(&row))
    }
}
