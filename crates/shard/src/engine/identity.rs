//! The identity writer's adapter: its graph is in this shard's rows, its moves go to the nodes'
//! resolve stages.

use std::collections::BTreeMap;

use millrace_identity::{Edge, Evidence, GraphStore, Outcome, Parked, Reason};
use millrace_model::metric::{Counter, Histogram};
use millrace_model::{Identity, Text};

use super::Step;
use crate::origin::Origin;
use crate::key::table;
use crate::machine::{Measure, Measurement};
use crate::message::Message;
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

impl Step<'_> {
    /// Weighs the evidence of the step, all of it together, and sends the consequences.
    pub(super) fn weigh(&mut self) -> Result<(), StateError> {
        let config = std::sync::Arc::clone(&self.config);
        let (evidence, origins): (Vec<Evidence>, Vec<Origin>) = std::mem::take(&mut self.evidence).into_iter().unzip();
        let outcome = millrace_identity::apply(&mut Graph(&mut self.tx), &config.policy, &evidence).map_err(StateError::store)?;
        let size = Measure::Sample(Histogram::IdentityClusterSize, outcome.cluster_size as f64);
        self.measurements.push(Measurement::new(size, []));
        let Some(last) = origins.last() else { return Ok(()) };
        let mut causes: BTreeMap<&Identity, &Origin> = BTreeMap::new();
        for (one, origin) in evidence.iter().zip(&origins) {
            let (Evidence::Assert { edge, .. } | Evidence::Withdraw { edge, .. }) = one;
            causes.extend([(edge.home(), origin), (edge.node(), origin)]);
        }
        self.follow_verdicts(outcome, |nodes| nodes.into_iter().find_map(|node| causes.get(node).copied()).unwrap_or(last));
        Ok(())
    }

    /// Computes every verdict again, under the present policy.
    pub(super) fn weigh_all(&mut self, origin: &Origin) -> Result<(), StateError> {
        let config = std::sync::Arc::clone(&self.config);
        let outcome = millrace_identity::rebuild(&mut Graph(&mut self.tx), &config.policy).map_err(StateError::store)?;
        self.follow_verdicts(outcome, |_| origin);
        Ok(())
    }

    /// Sends moves to the nodes, and identities set aside to the homes that carry them. `cause`:
    /// the origin of a change around these nodes.
    fn follow_verdicts<'o>(&mut self, outcome: Outcome, cause: impl Fn([&Identity; 3]) -> &'o Origin) {
        for moved in outcome.moves {
            let origin = cause([&moved.node, &moved.from.0, &moved.to.0]);
            let message = Message::Canonical {
                node: moved.node.clone(),
                from: moved.from,
                to: moved.to,
                epoch: moved.epoch,
            };
            self.send_to_node(&moved.node, message, origin);
        }
        for Parked { edge, reason } in outcome.parked {
            self.count(Counter::IdentityParked, [label(&reason)]);
            self.send_aside(&edge, Some(reason), cause([edge.node(), edge.home(), edge.node()]));
        }
        for edge in outcome.unparked {
            self.send_aside(&edge, None, cause([edge.node(), edge.home(), edge.node()]));
        }
    }

    fn send_aside(&mut self, edge: &Edge, reason: Option<Reason>, origin: &Origin) {
        let message = Message::Aside {
            home: edge.home().clone(),
            node: edge.node().clone(),
            reason,
        };
        self.send_to_node(edge.home(), message, origin);
    }
}
