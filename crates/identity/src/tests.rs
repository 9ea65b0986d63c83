//! Scenarios and properties of the graph.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{CanonicalId, Identity, SubjectKind};

use crate::evidence::Epoch;
use crate::rows::{Status, TypedRows};
use crate::{Claim, Edge, Evidence, MemoryGraph, Outcome, Policy, Priority, apply, canonical, members};

mod properties;
mod scenarios;

/// A short name: `p1` is a person's source key, `e1` an e-mail address, `d1` a device, `c1` a CRM
/// number, `a1` an account's source key.
fn node(short: &str) -> Identity {
    let (kind, id) = short.split_at(1);
    let namespace = match kind {
        "p" => "b2b_person",
        "e" => "email",
        "d" => "ecid",
        "c" => "crm",
        "a" => "b2b_account",
        _ => panic!("no short name: {short}"),
    };
    Identity::new(namespace, id).unwrap()
}

fn short(identity: &Identity) -> String {
    let kind = match identity.namespace() {
        "b2b_person" => "p",
        "email" => "e",
        "ecid" => "d",
        "crm" => "c",
        "b2b_account" => "a",
        other => panic!("no short name: {other}"),
    };
    format!("{kind}{}", identity.id())
}

fn edge(a: &str, b: &str) -> Edge {
    Edge::new(node(a), node(b)).unwrap()
}

fn assert_of(edge: Edge, claim: &str) -> Evidence {
    Evidence::Assert {
        edge,
        claim: Claim(claim.into()),
    }
}

fn withdraw_of(edge: Edge, claim: &str) -> Evidence {
    Evidence::Withdraw {
        edge,
        claim: Claim(claim.into()),
    }
}

/// Person keys, CRM numbers, e-mail addresses, then devices.
fn policy() -> Policy {
    Policy::default().with_priority(Priority::new(["crm", "email", "ecid"]))
}

/// The law, written for clarity: everything from the set of claims.
#[derive(Default)]
struct Law {
    claims: BTreeSet<(Edge, Claim)>,
}

struct Verdict {
    statuses: BTreeMap<Edge, Status>,
    /// Of linked nodes, to find the last of a cluster.
    linked: BTreeSet<Identity>,
    canonical: BTreeMap<Identity, CanonicalId>,
}

impl Law {
    fn take(&mut self, evidence: &Evidence) {
        match evidence.clone() {
            Evidence::Assert { edge, claim } => self.claims.insert((edge, claim)),
            Evidence::Withdraw { edge, claim } => self.claims.remove(&(edge, claim)),
        };
    }

    fn verdict(&self, policy: &Policy) -> Verdict {
        let edges: BTreeSet<&Edge> = self.claims.iter().map(|(edge, _)| edge).collect();
        let mut clusters: BTreeMap<&Identity, BTreeSet<&Identity>> = BTreeMap::new();
        let mut homes: BTreeMap<&Identity, BTreeSet<&Identity>> = BTreeMap::new();
        let mut statuses = BTreeMap::new();
        for edge in edges {
            for end in [edge.home(), edge.node()] {
                clusters.insert(end, BTreeSet::from([end]));
            }
            if policy.refusal(edge).is_some() {
                statuses.insert(edge.clone(), Status::Refused);
            } else {
                homes.entry(edge.node()).or_default().insert(edge.home());
            }
        }
        let mut order: Vec<&Identity> = homes.keys().copied().collect();
        order.sort_by_key(|node| policy.place(node));
        let mut linked = BTreeSet::new();
        for node in order {
            let of = &homes[node];
            let all: BTreeSet<&Identity> = of.iter().chain([&node]).flat_map(|member| clusters[member].clone()).collect();
            let repeats = |namespace: &str| all.iter().filter(|member| member.namespace() == namespace).count() > 1;
            let fits = all.len() as u64 <= policy.identities_max(node) && !policy.unique().iter().any(|namespace| repeats(namespace));
            let status = match (of.len() as u64 > policy.claims_max(node), fits) {
                (true, _) => Status::Crowded,
                (false, true) => Status::Linked,
                (false, false) => Status::Waiting,
            };
            if status == Status::Linked {
                linked.insert(node.clone());
                for member in &all {
                    clusters.insert(member, all.clone());
                }
            }
            for home in of {
                statuses.insert(Edge::new((*home).clone(), node.clone()).unwrap(), status);
            }
        }
        let least = |members: &BTreeSet<&Identity>| CanonicalId((*members.iter().min_by(|a, b| policy.priority().compare(a, b)).unwrap()).clone());
        let canonical = clusters.iter().map(|(node, members)| ((*node).clone(), least(members))).collect();
        Verdict { statuses, linked, canonical }
    }
}

/// A graph, checked against the law and against a follower who only hears of moves.
struct World {
    policy: Policy,
    graph: MemoryGraph,
    law: Law,
    follower: BTreeMap<Identity, CanonicalId>,
    epoch: Epoch,
    parked: BTreeSet<Edge>,
}

impl World {
    fn new(policy: Policy) -> World {
        World {
            policy,
            graph: MemoryGraph::default(),
            law: Law::default(),
            follower: BTreeMap::new(),
            epoch: Epoch::NEVER,
            parked: BTreeSet::new(),
        }
    }

    fn take(&mut self, evidence: &Evidence) -> Outcome {
        self.take_all(std::slice::from_ref(evidence))
    }

    fn take_all(&mut self, evidence: &[Evidence]) -> Outcome {
        let outcome = apply(&mut self.graph, &self.policy, evidence).unwrap();
        evidence.iter().for_each(|one| self.law.take(one));
        self.follow(&outcome);
        outcome
    }

    /// Applies the outcome, and checks that it is consistent.
    fn follow(&mut self, outcome: &Outcome) {
        assert!(outcome.moves.is_sorted_by(|a, b| a.node < b.node), "moves in order, one a node");
        for step in &outcome.moves {
            assert!(step.epoch > self.epoch, "epochs grow");
            assert_eq!(step.epoch, outcome.moves[0].epoch, "one epoch for all");
            let known = self
                .follower
                .insert(step.node.clone(), step.to.clone())
                .unwrap_or_else(|| CanonicalId(step.node.clone()));
            assert_eq!(known, step.from, "moves begin where the node is");
            assert_ne!(step.from, step.to, "a move moves");
        }
        self.epoch = outcome.moves.first().map_or(self.epoch, |step| step.epoch);
        for parked in &outcome.parked {
            assert!(self.parked.insert(parked.edge.clone()), "parked twice: {}", parked.edge);
        }
        for edge in &outcome.unparked {
            assert!(self.parked.remove(edge), "unparked, but was not parked: {edge}");
        }
    }

    /// Compares everything stored with the law.
    fn check(&self) {
        let Verdict {
            statuses,
            linked,
            canonical: expected,
        } = self.law.verdict(&self.policy);
        let edges = self.graph.edges_after(None, usize::MAX).unwrap();
        let mut stored = BTreeMap::new();
        for (edge, row) in &edges {
            let claims: Vec<_> = self.law.claims.iter().filter(|(of, _)| of == edge).map(|(_, claim)| claim.clone()).collect();
            assert_eq!(row.claims, claims.len() as u64);
            assert_eq!(self.graph.claims(edge, usize::MAX).unwrap(), claims);
            let of_node = self.graph.node(edge.node()).unwrap().and_then(|row| row.status);
            stored.insert(edge.clone(), if row.refused { Status::Refused } else { of_node.unwrap() });
        }
        assert_eq!(stored, statuses, "verdicts on edges");
        let parked: BTreeSet<Edge> = statuses.iter().filter(|(_, status)| status.is_parked()).map(|(edge, _)| edge.clone()).collect();
        assert_eq!(self.parked, parked, "parked less unparked");
        for (node, to) in &self.follower {
            let expected = expected.get(node).cloned().unwrap_or_else(|| CanonicalId(node.clone()));
            assert_eq!(expected, *to, "the follower's canonical id of {node}");
        }
        // The epoch; one row per edge, one at its home, one per claim.
        let mut rows = 1.min(self.epoch.0) as usize + self.law.claims.len() + 2 * edges.len();
        let mut clusters = BTreeMap::<&CanonicalId, Vec<Identity>>::new();
        for (node, to) in &expected {
            assert_eq!(canonical(&self.graph, node).unwrap(), *to, "canonical id of {node}");
            clusters.entry(to).or_default().push(node.clone());
            rows += self.check_node(node, &statuses, to);
        }
        for (canonical, nodes) in &clusters {
            assert_eq!(members(&self.graph, canonical).unwrap(), *nodes, "members of {}", canonical.0);
            let last = nodes.iter().filter(|node| linked.contains(node)).map(|node| self.policy.place(node)).max();
            match self.graph.cluster(canonical).unwrap() {
                Some(row) => {
                    assert_eq!(row.size, nodes.len() as u64);
                    assert_eq!(Some(self.policy.place(&row.last)), last, "last linked node of {}", canonical.0);
                    rows += 1 + nodes.len();
                }
                None => assert_eq!(nodes.len(), 1),
            }
        }
        assert_eq!(self.graph.rows().len(), rows, "no row is left");
    }

    /// The rows of a node, counted: its own, and one for each home that is not refused.
    fn check_node(&self, node: &Identity, statuses: &BTreeMap<Edge, Status>, to: &CanonicalId) -> usize {
        let at_node = |(edge, status): &(&Edge, &Status)| edge.node() == node && **status != Status::Refused;
        let homes: Vec<Identity> = statuses.iter().filter(at_node).map(|(edge, _)| edge.home().clone()).collect();
        assert_eq!(self.graph.homes(node, usize::MAX).unwrap(), homes, "homes of {node}");
        for status in Status::ALL {
            let at_home = |(edge, known): &(&Edge, &Status)| edge.home() == node && **known == status;
            let carried: Vec<Identity> = statuses.iter().filter(at_home).map(|(edge, _)| edge.node().clone()).collect();
            assert_eq!(
                self.graph.carried(node, status, usize::MAX).unwrap(),
                carried,
                "what {node} carries as {status:?}"
            );
        }
        let row = self.graph.node(node).unwrap();
        assert_eq!(row.as_ref().map_or(0, |row| row.degree), homes.len() as u64, "degree of {node}");
        assert_eq!(row.is_some(), !homes.is_empty() || to.0 != *node, "row of {node}");
        usize::from(row.is_some()) + homes.len()
    }
}
