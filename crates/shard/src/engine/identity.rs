//! The identity writer's adapter: its graph is in this shard's rows, its moves go to the nodes'
//! resolve stages.

use std::collections::BTreeMap;

use millrace_identity::{Evidence, GraphStore, Outcome, Parked, Policy, Reason};
use millrace_model::metric::{Counter, Histogram};
use millrace_model::{Identity, Text};

use super::outbox::Outbox;
use super::transaction::Transaction;
use crate::key::table;
use crate::machine::Measure;
use crate::message::Message;
use crate::origin::Origin;
use crate::state::{StateError, StateView};
use crate::tx::Tx;

/// The graph's rows within a step's overlay.
struct Graph<'t, 'a>(&'t mut Tx<'a>);

impl GraphStore for Graph<'_, '_> {
    type Error = StateError;

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.0.get_bytes(&within(key))
    }

    fn scan(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError> {
        let rows = self.0.scan(&within(lower), &within(upper), limit)?;
        Ok(rows.into_iter().map(|(key, value)| (key[1..].to_vec(), value)).collect())
    }

    fn put(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), StateError> {
        match value {
            Some(value) => self.0.put_bytes(within(&key), value),
            None => self.0.delete(within(&key)),
        }
        Ok(())
    }
}

/// The committed graph, for readers.
pub struct CommittedGraph<'a>(pub &'a dyn StateView);

impl GraphStore for CommittedGraph<'_> {
    type Error = StateError;

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.0.get(&within(key))
    }

    fn scan(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError> {
        let rows = self.0.scan(&within(lower), &within(upper), limit)?;
        Ok(rows.into_iter().map(|(key, value)| (key[1..].to_vec(), value)).collect())
    }

    fn put(&mut self, _key: Vec<u8>, _value: Option<Vec<u8>>) -> Result<(), StateError> {
        Err(StateError::store("committed state is read-only"))
    }
}

fn within(key: &[u8]) -> Vec<u8> {
    let mut own = Vec::with_capacity(key.len() + 1);
    own.push(table::GRAPH);
    own.extend(key);
    own
}

/// The label of a reason for parking.
fn label(reason: &Reason) -> Text {
    Text::const_new(match reason {
        Reason::CrossKind => "cross-kind",
        Reason::Blocked { .. } => "blocked",
        Reason::TooManyClaims { .. } => "too-many-claims",
        Reason::TooManyIdentities { .. } => "too-many-identities",
        Reason::NotUnique { .. } => "not-unique",
    })
}

/// The stage with the parts of a step that it needs.
pub(super) struct Writer<'s, 'a> {
    pub policy: &'s Policy,
    pub tx: &'s mut Transaction<'a>,
    pub out: &'s mut Outbox,
}

impl Writer<'_, '_> {
    /// Weighs evidence, all of it together, and sends the consequences.
    pub fn weigh(&mut self, evidence: Vec<(Evidence, Origin)>) -> Result<(), StateError> {
        let (evidence, causes): (Vec<Evidence>, Vec<Origin>) = evidence.into_iter().unzip();
        let outcome = millrace_identity::apply(&mut Graph(self.tx), self.policy, &evidence).map_err(StateError::store)?;
        self.out
            .measure(Measure::Sample(Histogram::IdentityClusterSize, outcome.cluster_size as f64), []);
        let Some(last) = causes.last() else { return Ok(()) };
        let mut around: BTreeMap<&Identity, &Origin> = BTreeMap::new();
        for (one, cause) in evidence.iter().zip(&causes) {
            let (Evidence::Assert { edge, .. } | Evidence::Withdraw { edge, .. }) = one;
            around.extend([(edge.home(), cause), (edge.node(), cause)]);
        }
        self.follow_verdicts(outcome, |nodes| nodes.into_iter().find_map(|node| around.get(node).copied()).unwrap_or(last));
        Ok(())
    }

    /// Computes every verdict again, under the present policy.
    pub fn weigh_all(&mut self) -> Result<(), StateError> {
        let outcome = millrace_identity::rebuild(&mut Graph(self.tx), self.policy).map_err(StateError::store)?;
        let cause = self.out.cause.clone();
        self.follow_verdicts(outcome, |_| &cause);
        Ok(())
    }

    /// Sends moves to the nodes, and identities set aside to the homes that carry them. `cause`:
    /// the origin of a change around these nodes.
    fn follow_verdicts<'o>(&mut self, outcome: Outcome, cause: impl Fn([&Identity; 3]) -> &'o Origin) {
        for moved in outcome.moves {
            self.out.cause = cause([&moved.node, &moved.from.0, &moved.to.0]).clone();
            self.out.send(Message::Canonical {
                node: moved.node,
                from: moved.from,
                to: moved.to,
                epoch: moved.epoch,
            });
        }
        let parked = outcome.parked.into_iter().map(|Parked { edge, reason }| (edge, Some(reason)));
        for (edge, reason) in parked.chain(outcome.unparked.into_iter().map(|edge| (edge, None))) {
            if let Some(reason) = &reason {
                self.out.count(Counter::IdentityParked, [label(reason)]);
            }
            self.out.cause = cause([edge.node(), edge.home(), edge.node()]).clone();
            self.out.send(Message::Aside {
                home: edge.home().clone(),
                node: edge.node().clone(),
                reason,
            });
        }
    }
}
