//! One piece of evidence: edges come and go by the rules that need no order, and by the short ways where the order decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{CanonicalId, Identity, Text};

use crate::evidence::{Edge, Evidence, Move, Outcome, Parked};
use crate::policy::{Place, Policy};
use crate::replay;
use crate::report::reason;
use crate::rows::{ClusterRow, EdgeRow, NodeRow, Rows, Status, TypedRows};
use crate::store::GraphStore;

/// Takes one piece of evidence into the graph and says what it changed.
///
/// # Errors
/// Where the store failed or a row is damaged. Some rows may be written then: give up the transaction.
pub fn apply<S: GraphStore>(store: &mut S, policy: &Policy, evidence: &Evidence) -> Rows<Outcome, S> {
    let mut writer = Writer::new(store, policy)?;
    let edge = match evidence {
        Evidence::Assert { edge, claim } => {
            if writer.store.has_claim(edge, claim)? {
                return Ok(Outcome::default());
            }
            writer.store.set_claim(edge, claim, true)?;
            match writer.store.edge(edge)? {
                Some(row) => writer
                    .store
                    .set_edge(edge, Some(row.status), Some(&EdgeRow { claims: row.claims + 1, ..row }))?,
                None => writer.begin(edge, 1)?,
            }
            edge
        }
        Evidence::Withdraw { edge, claim } => {
            if !writer.store.has_claim(edge, claim)? {
                return Ok(Outcome::default());
            }
            writer.store.set_claim(edge, claim, false)?;
            match writer.store.edge(edge)? {
                Some(row) if row.claims > 1 => writer
                    .store
                    .set_edge(edge, Some(row.status), Some(&EdgeRow { claims: row.claims - 1, ..row }))?,
                Some(row) => writer.end(edge, row.status)?,
                None => {}
            }
            edge
        }
    };
    writer.finish(edge)
}

/// The changes of one call, against what was there before.
pub(crate) struct Writer<'a, S> {
    pub store: &'a mut S,
    pub policy: &'a Policy,
    /// The epoch of this call's moves, if there are any.
    epoch: u64,
    /// Canonical id and epoch of each node whose canonical id was set, before the first time.
    nodes_before: BTreeMap<Identity, (CanonicalId, u64)>,
    /// Status of each edge whose status was set, before the first time; `None` where the edge was not there.
    edges_before: BTreeMap<Edge, Option<Status>>,
}

impl<'a, S: GraphStore> Writer<'a, S> {
    pub fn new(store: &'a mut S, policy: &'a Policy) -> Rows<Self, S> {
        let epoch = store.epoch()? + 1;
        Ok(Writer {
            store,
            policy,
            epoch,
            nodes_before: BTreeMap::new(),
            edges_before: BTreeMap::new(),
        })
    }

    /// The first claim on an edge came. `claims` is how many it has now.
    pub fn begin(&mut self, edge: &Edge, claims: u64) -> Rows<(), S> {
        if self.policy.refusal(edge).is_some() {
            return self.put_edge(
                edge,
                None,
                Some(EdgeRow {
                    claims,
                    status: Status::Refused,
                }),
            );
        }
        let mut crowded = false;
        for end in [edge.a(), edge.b()] {
            let degree = self.add_degree(end, 1)?;
            let max = self.policy.claims_max(end);
            crowded |= degree > max;
            if degree == max.saturating_add(1) {
                self.crowd(end)?;
            }
        }
        if crowded {
            return self.put_edge(
                edge,
                None,
                Some(EdgeRow {
                    claims,
                    status: Status::Crowded,
                }),
            );
        }
        self.link_or_wait(edge, None, claims)
    }

    /// The last claim on an edge went.
    fn end(&mut self, edge: &Edge, status: Status) -> Rows<(), S> {
        self.put_edge(edge, Some(status), None)?;
        if status == Status::Refused {
            return Ok(());
        }
        let mut roomy = Vec::new();
        for end in [edge.a(), edge.b()] {
            if self.add_degree(end, -1)? == self.policy.claims_max(end) {
                roomy.push(end);
            }
        }
        match status {
            Status::Linked => replay::without(self, edge),
            Status::Crowded => roomy.into_iter().try_for_each(|end| self.uncrowd(end)),
            Status::Waiting | Status::Refused => Ok(()),
        }
    }

    /// The node has one edge too many: all it has no longer count. Waiting ones go first, so that none is linked for a moment.
    fn crowd(&mut self, node: &Identity) -> Rows<(), S> {
        for status in [Status::Waiting, Status::Linked] {
            for other in self.store.others(node, status)? {
                let edge = between(node, &other);
                // Taking out one may have parked or linked another, so the list says less than the row.
                let row = self.edge_row(&edge)?;
                self.put_edge(
                    &edge,
                    Some(row.status),
                    Some(EdgeRow {
                        status: Status::Crowded,
                        ..row
                    }),
                )?;
                if row.status == Status::Linked {
                    replay::without(self, &edge)?;
                }
            }
        }
        Ok(())
    }

    /// The node has no edge too many any more: those count again whose other ends have none either.
    fn uncrowd(&mut self, node: &Identity) -> Rows<(), S> {
        for other in self.store.others(node, Status::Crowded)? {
            if self.store.degree(&other)? <= self.policy.claims_max(&other) {
                let edge = between(node, &other);
                let claims = self.edge_row(&edge)?.claims;
                self.link_or_wait(&edge, Some(Status::Crowded), claims)?;
            }
        }
        Ok(())
    }

    /// An edge that only the guardrails of clusters may park takes its place in the order.
    fn link_or_wait(&mut self, edge: &Edge, before: Option<Status>, claims: u64) -> Rows<(), S> {
        let linked = Some(EdgeRow {
            claims,
            status: Status::Linked,
        });
        let (a, b) = (self.group_of(edge.a())?, self.group_of(edge.b())?);
        let place = self.policy.place(edge);
        if a.canonical == b.canonical {
            self.put_edge(edge, before, linked)?;
            return self.extend(&a, edge, &place);
        }
        if self.fits(&a, &b, edge.a())? {
            self.put_edge(edge, before, linked)?;
            return self.unite(a, b, edge, &place);
        }
        if (self.is_behind(&place, &a) && self.is_behind(&place, &b)) || !replay::fits_at(self, edge, &place)? {
            return self.put_edge(
                edge,
                before,
                Some(EdgeRow {
                    claims,
                    status: Status::Waiting,
                }),
            );
        }
        replay::with(self, edge, before, claims)
    }

    fn group_of(&self, node: &Identity) -> Rows<Cluster, S> {
        let canonical = self.store.canonical_of(node)?;
        let row = self.store.cluster(&canonical)?;
        Ok(Cluster { canonical, row })
    }

    /// Whether two different clusters may be one.
    fn fits(&self, a: &Cluster, b: &Cluster, any: &Identity) -> Rows<bool, S> {
        if a.size() + b.size() > self.policy.identities_max(any) {
            return Ok(false);
        }
        for namespace in self.policy.unique() {
            if self.store.cluster_holds(&a.canonical, namespace)? && self.store.cluster_holds(&b.canonical, namespace)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_behind(&self, place: &Place, cluster: &Cluster) -> bool {
        cluster.row.as_ref().is_none_or(|row| self.policy.place(&row.last) < *place)
    }

    /// An edge within a cluster.
    fn extend(&mut self, cluster: &Cluster, edge: &Edge, place: &Place) -> Rows<(), S> {
        match &cluster.row {
            Some(row) if self.is_behind(place, cluster) => self.store.set_cluster(
                &cluster.canonical,
                Some(&ClusterRow {
                    size: row.size,
                    last: edge.clone(),
                }),
            ),
            _ => Ok(()),
        }
    }

    /// Makes two clusters one, under the lesser of their canonical ids.
    fn unite(&mut self, a: Cluster, b: Cluster, edge: &Edge, place: &Place) -> Rows<(), S> {
        let (winner, loser) = if self.policy.priority().compare(&a.canonical.0, &b.canonical.0).is_lt() {
            (a, b)
        } else {
            (b, a)
        };
        if winner.row.is_none() {
            self.store.set_member(&winner.canonical, &winner.canonical.0, true)?;
        }
        for member in self.store.cluster_members(&loser.canonical)? {
            if loser.row.is_some() {
                self.store.set_member(&loser.canonical, &member, false)?;
            }
            self.store.set_member(&winner.canonical, &member, true)?;
            self.set_canonical(&member, &winner.canonical)?;
        }
        if loser.row.is_some() {
            self.store.set_cluster(&loser.canonical, None)?;
        }
        let size = winner.size() + loser.size();
        let lasts = [&winner, &loser]
            .into_iter()
            .filter_map(|cluster| cluster.row.as_ref())
            .map(|row| self.policy.place(&row.last));
        let last = lasts.fold(place.clone(), Ord::max);
        let last = if last == *place { edge.clone() } else { between(&last.strong, &last.weak) };
        self.store.set_cluster(&winner.canonical, Some(&ClusterRow { size, last }))
    }

    /// Sets an edge's row, or removes it; `before` is the status in the store.
    pub fn put_edge(&mut self, edge: &Edge, before: Option<Status>, row: Option<EdgeRow>) -> Rows<(), S> {
        self.edges_before.entry(edge.clone()).or_insert(before);
        self.store.set_edge(edge, before, row.as_ref())
    }

    /// The row of an edge that is listed at one of its ends.
    pub fn edge_row(&self, edge: &Edge) -> Rows<EdgeRow, S> {
        self.store.edge(edge)?.ok_or_else(|| crate::rows::damaged_edge(edge))
    }

    fn add_degree(&mut self, node: &Identity, by: i64) -> Rows<u64, S> {
        let mut row = self.store.node(node)?.unwrap_or_else(|| alone(node));
        row.degree = row.degree.saturating_add_signed(by);
        self.put_node(node, &row)?;
        Ok(row.degree)
    }

    /// Takes a node out of its cluster and out of the rows, keeping what it was before this call. Its edges are the caller's.
    pub fn forget(&mut self, node: &Identity) -> Rows<(), S> {
        let Some(row) = self.store.node(node)? else { return Ok(()) };
        self.store.set_cluster(&row.canonical, None)?;
        self.store.set_member(&row.canonical, node, false)?;
        self.store.set_node(node, None)?;
        self.nodes_before.insert(node.clone(), (row.canonical, row.epoch));
        Ok(())
    }

    /// Moves a node, keeping what it was before this call.
    pub fn set_canonical(&mut self, node: &Identity, canonical: &CanonicalId) -> Rows<(), S> {
        let mut row = self.store.node(node)?.unwrap_or_else(|| alone(node));
        self.nodes_before.entry(node.clone()).or_insert_with(|| (row.canonical.clone(), row.epoch));
        row.canonical = canonical.clone();
        row.epoch = self.epoch;
        self.put_node(node, &row)
    }

    /// A node without edges is its own and needs no row.
    fn put_node(&mut self, node: &Identity, row: &NodeRow) -> Rows<(), S> {
        let needed = row.degree > 0 || row.canonical.0 != *node;
        self.store.set_node(node, needed.then_some(row))
    }

    /// The net of all that was changed.
    pub fn outcome(mut self) -> Rows<Outcome, S> {
        let mut outcome = Outcome::default();
        for (node, (from, epoch_before)) in std::mem::take(&mut self.nodes_before) {
            let to = self.store.canonical_of(&node)?;
            if from != to {
                outcome.moves.push(Move {
                    node,
                    from,
                    to,
                    epoch: self.epoch,
                });
            } else if let Some(row) = self.store.node(&node)? {
                // It went and came back within the call: nobody hears of it.
                self.put_node(&node, &NodeRow { epoch: epoch_before, ..row })?;
            }
        }
        if !outcome.moves.is_empty() {
            self.store.set_epoch(self.epoch)?;
        }
        for (edge, before) in std::mem::take(&mut self.edges_before) {
            let after = self.store.edge(&edge)?.map(|row| row.status);
            let was_parked = before.is_some_and(Status::is_parked);
            match after {
                Some(status) if status.is_parked() => {
                    if !was_parked && let Some(reason) = reason(self.store, self.policy, &edge, status)? {
                        outcome.parked.push(Parked { edge, reason });
                    }
                }
                _ if was_parked => outcome.unparked.push(edge),
                _ => {}
            }
        }
        Ok(outcome)
    }

    fn finish(self, edge: &Edge) -> Rows<Outcome, S> {
        let size = self.group_of(edge.a())?.size().max(self.group_of(edge.b())?.size());
        let cluster_size = usize::try_from(size).unwrap_or(usize::MAX);
        Ok(Outcome {
            cluster_size,
            ..self.outcome()?
        })
    }
}

/// A cluster as stored; no row for a cluster of one.
struct Cluster {
    canonical: CanonicalId,
    row: Option<ClusterRow>,
}

impl Cluster {
    fn size(&self) -> u64 {
        self.row.as_ref().map_or(1, |row| row.size)
    }
}

/// What the guardrails of clusters look at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pub size: u64,
    /// Namespaces of which a cluster holds at most one, and this one holds one.
    pub unique: BTreeSet<Text>,
}

impl Content {
    pub fn add(&mut self, node: &Identity, policy: &Policy) {
        self.size += 1;
        if let Some(namespace) = policy.unique().get(node.namespace()) {
            self.unique.insert(namespace.clone());
        }
    }

    /// Whether two disjoint groups may be one.
    pub fn fits(&self, other: &Content, identities_max: u64) -> bool {
        self.size + other.size <= identities_max && self.unique.is_disjoint(&other.unique)
    }
}

/// The edge between two nodes of which one is listed at the other.
pub(crate) fn between(node: &Identity, other: &Identity) -> Edge {
    Edge::new(node.clone(), other.clone()).expect("no node is listed as its own neighbour, since edges have two ends")
}

fn alone(node: &Identity) -> NodeRow {
    NodeRow {
        canonical: CanonicalId(node.clone()),
        epoch: 0,
        degree: 0,
    }
}
