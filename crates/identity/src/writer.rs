//! The changes of one call to the graph's rows, compared with the state before it.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{CanonicalId, Identity, Text};

use crate::evidence::{Edge, Epoch, Move, Outcome, Parked};
use crate::policy::{Place, Policy};
use crate::report::reason;
use crate::rows::{ClusterRow, EdgeRow, GraphResult, NodeRow, Status, TypedRows, damaged_node};
use crate::store::GraphStore;

/// The changes of one call, compared with the state before it.
pub(crate) struct Writer<'a, S> {
    pub store: &'a mut S,
    pub policy: &'a Policy,
    /// The epoch of this call's moves, if there are any.
    epoch: Epoch,
    /// Canonical id and epoch of each node whose canonical id was set, before the first time.
    nodes_before: BTreeMap<Identity, (CanonicalId, Epoch)>,
    /// Whether each edge that began, ended or changed its status was parked before; `None` where
    /// the edge did not exist.
    edges_before: BTreeMap<Edge, Option<bool>>,
    /// Nodes whose homes changed and that are not decided again yet, by their places in the order.
    pub changed: BTreeMap<Place, Changed>,
}

/// How the homes of a node changed.
#[derive(Clone, Copy)]
pub(crate) struct Changed {
    /// Its status before.
    pub before: Option<Status>,
    /// It lost a home.
    pub shrank: bool,
}

impl<'a, S: GraphStore> Writer<'a, S> {
    pub fn new(store: &'a mut S, policy: &'a Policy) -> GraphResult<Self, S> {
        let epoch = store.epoch()?.next();
        Ok(Writer {
            store,
            policy,
            epoch,
            nodes_before: BTreeMap::new(),
            edges_before: BTreeMap::new(),
            changed: BTreeMap::new(),
        })
    }

    /// An edge gains or loses one claim.
    pub fn claimed(&mut self, edge: &Edge, present: bool) -> GraphResult<(), S> {
        match (self.store.edge(edge)?, present) {
            (None, true) => self.begin(edge, 1),
            (Some(row), true) => self.store.set_edge(edge, Some(&EdgeRow { claims: row.claims + 1, ..row })),
            (Some(row), false) if row.claims > 1 => self.store.set_edge(edge, Some(&EdgeRow { claims: row.claims - 1, ..row })),
            (Some(row), false) => self.end(edge, &row),
            (None, false) => Ok(()),
        }
    }

    /// An edge gained its first claim. `claims` is how many it has now.
    pub fn begin(&mut self, edge: &Edge, claims: u64) -> GraphResult<(), S> {
        self.edges_before.entry(edge.clone()).or_insert(None);
        let refused = self.policy.refusal(edge).is_some();
        self.store.set_edge(edge, Some(&EdgeRow { claims, refused }))?;
        if refused {
            return self.store.set_carried(edge, Status::Refused, true);
        }
        let mut row = self.store.node(edge.node())?.unwrap_or_else(|| alone(edge.node()));
        self.note(edge.node(), row.status, false);
        // Until it is decided a new node does not count.
        let status = *row.status.get_or_insert(Status::Waiting);
        row.degree += 1;
        self.put_node(edge.node(), &row)?;
        self.store.set_home(edge, true)?;
        self.store.set_carried(edge, status, true)
    }

    /// An edge lost its last claim.
    fn end(&mut self, edge: &Edge, row: &EdgeRow) -> GraphResult<(), S> {
        self.store.set_edge(edge, None)?;
        if row.refused {
            self.edges_before.entry(edge.clone()).or_insert(Some(true));
            return self.store.set_carried(edge, Status::Refused, false);
        }
        let mut row = self.node_row(edge.node())?;
        let status = row.status.ok_or_else(|| damaged_node(edge.node()))?;
        self.edges_before.entry(edge.clone()).or_insert(Some(status.is_parked()));
        self.note(edge.node(), Some(status), true);
        self.store.set_home(edge, false)?;
        self.store.set_carried(edge, status, false)?;
        row.degree = row.degree.saturating_sub(1);
        self.put_node(edge.node(), &row)
    }

    fn note(&mut self, node: &Identity, before: Option<Status>, shrank: bool) {
        let changed = self.changed.entry(self.policy.place(node)).or_insert(Changed { before, shrank });
        changed.shrank |= shrank;
    }

    pub fn group_of(&self, node: &Identity) -> GraphResult<Cluster, S> {
        let canonical = self.store.canonical_of(node)?;
        let row = self.store.cluster(&canonical)?;
        Ok(Cluster { canonical, row })
    }

    /// Sets the status of a carried node and of its edges; `None` where no home carries it any
    /// more.
    pub fn set_status(&mut self, node: &Identity, status: Option<Status>) -> GraphResult<(), S> {
        let mut row = self.node_row(node)?;
        let before = row.status;
        if before == status {
            return Ok(());
        }
        for home in self.store.homes(node, usize::MAX)? {
            if let Some(edge) = Edge::new(home, node.clone()) {
                self.edges_before.entry(edge.clone()).or_insert(before.map(Status::is_parked));
                for (status, present) in [(before, false), (status, true)] {
                    if let Some(status) = status {
                        self.store.set_carried(&edge, status, present)?;
                    }
                }
            }
        }
        row.status = status;
        self.put_node(node, &row)
    }

    /// The row of a node that is listed somewhere.
    pub fn node_row(&self, node: &Identity) -> GraphResult<NodeRow, S> {
        self.store.node(node)?.ok_or_else(|| damaged_node(node))
    }

    /// Removes an edge and both its ends from the rows, and keeps their values from before this
    /// call.
    pub fn forget(&mut self, edge: &Edge, row: &EdgeRow) -> GraphResult<(), S> {
        let status = self.store.node(edge.node())?.and_then(|row| row.status);
        let status = if row.refused { Some(Status::Refused) } else { status };
        self.edges_before.insert(edge.clone(), status.map(Status::is_parked));
        if let Some(status) = status {
            self.store.set_carried(edge, status, false)?;
        }
        self.store.set_home(edge, false)
    }

    /// Removes a node from its cluster and from the rows, and keeps its value from before this
    /// call. The caller handles its edges.
    pub fn forget_node(&mut self, node: &Identity) -> GraphResult<(), S> {
        let row = self.store.node(node)?.unwrap_or_else(|| alone(node));
        self.store.set_cluster(&row.canonical, None)?;
        self.store.set_member(&row.canonical, node, false)?;
        self.store.set_node(node, None)?;
        self.nodes_before.insert(node.clone(), (row.canonical, row.epoch));
        Ok(())
    }

    /// Moves a node, and keeps its value from before this call.
    pub fn set_canonical(&mut self, node: &Identity, canonical: &CanonicalId) -> GraphResult<(), S> {
        let mut row = self.store.node(node)?.unwrap_or_else(|| alone(node));
        self.nodes_before.entry(node.clone()).or_insert_with(|| (row.canonical.clone(), row.epoch));
        row.canonical = canonical.clone();
        row.epoch = self.epoch;
        self.put_node(node, &row)
    }

    /// A node that no home carries and that is its own canonical id needs no row.
    fn put_node(&mut self, node: &Identity, row: &NodeRow) -> GraphResult<(), S> {
        let needed = row.degree > 0 || row.status.is_some() || row.canonical.0 != *node;
        self.store.set_node(node, needed.then_some(row))
    }

    /// The net effect of all changes.
    pub fn outcome(mut self) -> GraphResult<Outcome, S> {
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
                // It went and came back within the call: no move is reported.
                self.put_node(&node, &NodeRow { epoch: epoch_before, ..row })?;
            }
        }
        if !outcome.moves.is_empty() {
            self.store.set_epoch(self.epoch)?;
        }
        for (edge, before) in std::mem::take(&mut self.edges_before) {
            let was_parked = before == Some(true);
            match self.store.edge(&edge)? {
                Some(row) if row.refused || self.node_row(edge.node())?.status.is_some_and(Status::is_parked) => {
                    if !was_parked && let Some(reason) = reason(self.store, self.policy, &edge, &row)? {
                        outcome.parked.push(Parked { edge, reason });
                    }
                }
                _ if was_parked => outcome.unparked.push(edge),
                _ => {}
            }
        }
        Ok(outcome)
    }
}

/// A cluster as stored; no row for a cluster of one.
pub(crate) struct Cluster {
    pub canonical: CanonicalId,
    pub row: Option<ClusterRow>,
}

impl Cluster {
    pub fn size(&self) -> u64 {
        self.row.as_ref().map_or(1, |row| row.size)
    }
}

/// The values that the guardrails of clusters check.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pub size: u64,
    /// Namespaces of which a cluster holds at most one, and this one holds one.
    pub unique: BTreeSet<Text>,
}

impl Content {
    pub fn of(node: &Identity, policy: &Policy) -> Content {
        Content {
            size: 1,
            unique: policy.unique().get(node.namespace()).cloned().into_iter().collect(),
        }
    }

    /// Whether two disjoint groups may be one.
    pub fn fits(&self, other: &Content, identities_max: u64) -> bool {
        self.size + other.size <= identities_max && self.unique.is_disjoint(&other.unique)
    }

    /// Both together.
    pub fn add(&mut self, other: Content) {
        self.size += other.size;
        self.unique.extend(other.unique);
    }
}

fn alone(node: &Identity) -> NodeRow {
    NodeRow {
        canonical: CanonicalId(node.clone()),
        epoch: Epoch::NEVER,
        degree: 0,
        status: None,
    }
}
