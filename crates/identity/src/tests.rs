//! Scenarios and properties of the graph.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{CanonicalId, Identity, SubjectKind};

use crate::rows::{Status, TypedRows};
use crate::{Claim, Edge, Evidence, MemoryGraph, Outcome, Policy, Priority, apply, canonical, members};

mod properties;
mod scenarios;

/// A short name: `p1` is a person's source key, `e1` an e-mail address, `d1` a device, `c1` a CRM number, `a1` an account's source key.
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
        let mut degree = BTreeMap::<&Identity, u64>::new();
        for edge in edges.iter().filter(|edge| policy.refusal(edge).is_none()) {
            *degree.entry(edge.a()).or_default() += 1;
            *degree.entry(edge.b()).or_default() += 1;
        }
        let mut statuses = BTreeMap::new();
        let mut open = Vec::new();
        let mut clusters: BTreeMap<&Identity, BTreeSet<&Identity>> = BTreeMap::new();
        for edge in edges {
            for end in [edge.a(), edge.b()] {
                clusters.insert(end, BTreeSet::from([end]));
            }
            if policy.refusal(edge).is_some() {
                statuses.insert(edge.clone(), Status::Refused);
            } else if [edge.a(), edge.b()].into_iter().any(|end| degree[end] > policy.claims_max(end)) {
                statuses.insert(edge.clone(), Status::Crowded);
            } else {
                open.push(edge);
            }
        }
        open.sort_by_key(|edge| policy.place(edge));
        for edge in open {
            let (a, b) = (clusters[edge.a()].clone(), clusters[edge.b()].clone());
            let both: BTreeSet<&Identity> = a.union(&b).copied().collect();
            let repeats = |namespace: &str| both.iter().filter(|member| member.namespace() == namespace).count() > 1;
            let fits = both.len() as u64 <= policy.identities_max(edge.a()) && !policy.unique().iter().any(|namespace| repeats(namespace));
            if a == b || fits {
                statuses.insert(edge.clone(), Status::Linked);
                both.iter().for_each(|member| *clusters.get_mut(member).unwrap() = both.clone());
            } else {
                statuses.insert(edge.clone(), Status::Waiting);
            }
        }
        let least = |members: &BTreeSet<&Identity>| CanonicalId((*members.iter().min_by(|a, b| policy.priority().compare(a, b)).unwrap()).clone());
        let canonical = clusters.iter().map(|(node, members)| ((*node).clone(), least(members))).collect();
        Verdict { statuses, canonical }
    }
}

/// A graph beside the law and beside a follower who only hears of moves.
struct World {
    policy: Policy,
    graph: MemoryGraph,
    law: Law,
    follower: BTreeMap<Identity, CanonicalId>,
    epoch: u64,
    parked: BTreeSet<Edge>,
}

impl World {
    fn new(policy: Policy) -> World {
        World {
            policy,
            graph: MemoryGraph::default(),
            law: Law::default(),
            follower: BTreeMap::new(),
            epoch: 0,
            parked: BTreeSet::new(),
        }
    }

    fn take(&mut self, evidence: &Evidence) -> Outcome {
        let outcome = apply(&mut self.graph, &self.policy, evidence).unwrap();
        self.law.take(evidence);
        self.follow(&outcome);
        outcome
    }

    /// Applies what the outcome says, checking that it says it well.
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
        let Verdict { statuses, canonical: expected } = self.law.verdict(&self.policy);
        let edges = self.graph.edges_after(None, usize::MAX).unwrap();
        let stored: BTreeMap<Edge, Status> = edges.iter().map(|(edge, row)| (edge.clone(), row.status)).collect();
        assert_eq!(stored, statuses, "verdicts on edges");
        for (edge, row) in &edges {
            let claims: Vec<_> = self.law.claims.iter().filter(|(of, _)| of == edge).map(|(_, claim)| claim.clone()).collect();
            assert_eq!(row.claims, claims.len() as u64);
            assert_eq!(self.graph.claims(edge, usize::MAX).unwrap(), claims);
        }
        let parked: BTreeSet<Edge> = statuses.iter().filter(|(_, status)| status.is_parked()).map(|(edge, _)| edge.clone()).collect();
        assert_eq!(self.parked, parked, "parked less unparked");
        let mut clusters = BTreeMap::<&CanonicalId, Vec<Identity>>::new();
        for (node, to) in &expected {
            assert_eq!(canonical(&self.graph, node).unwrap(), *to, "canonical id of {node}");
            clusters.entry(to).or_default().push(node.clone());
        }
        for (node, to) in &self.follower {
            assert_eq!(
                expected.get(node).unwrap_or(&CanonicalId(node.clone())),
                to,
                "the follower's canonical id of {node}"
            );
        }
        let mut rows = 1.min(self.epoch) as usize + self.law.claims.len() + 3 * edges.len();
        for (canonical, nodes) in &clusters {
            assert_eq!(members(&self.graph, canonical).unwrap(), *nodes, "members of {}", canonical.0);
            let last = edges
                .iter()
                .filter(|(edge, row)| row.status == Status::Linked && nodes.contains(edge.a()))
                .map(|(edge, _)| self.policy.place(edge))
                .max();
            match self.graph.cluster(canonical).unwrap() {
                Some(row) => {
                    assert_eq!(row.size, nodes.len() as u64);
                    assert_eq!(Some(self.policy.place(&row.last)), last, "last linked edge of {}", canonical.0);
                    rows += 1 + nodes.len();
                }
                None => assert_eq!(nodes.len(), 1),
            }
        }
        for node in expected.keys() {
            let degree = statuses
                .iter()
                .filter(|(edge, status)| **status != Status::Refused && (edge.a() == node || edge.b() == node))
                .count();
            assert_eq!(self.graph.degree(node).unwrap(), degree as u64, "degree of {node}");
            rows += usize::from(degree > 0);
        }
        assert_eq!(self.graph.rows().len(), rows, "no row is left behind");
    }
}
