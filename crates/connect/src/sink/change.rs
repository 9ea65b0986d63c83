//! One change for a destination.

use std::collections::BTreeMap;

use millrace_model::{Identity, Timestamp};
use millrace_wire::{DestinationState, Presence};
use xxhash_rust::xxh3::xxh3_64;

/// The newest desired state for one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// `<audience>|<namespace>:<id>`, the Kafka key.
    pub key: String,
    /// The name of the segment.
    pub audience: String,
    /// Whom it concerns, as the destination knows them.
    pub identity: Identity,
    /// Whether the identity should be in the audience.
    pub present: bool,
    /// Mapped attributes by the destination's own names; empty where absent.
    pub attributes: BTreeMap<String, serde_json::Value>,
    /// When the evaluation made this the desired state.
    pub changed_at: Timestamp,
    /// The same for each attempt to send the same desired state, different for every other: a
    /// destination can recognise repeats by it.
    pub id: u64,
}

impl Change {
    /// The change that makes the destination equal to `state`.
    pub fn new(state: DestinationState) -> Change {
        let key = state.key();
        let present = state.state == Presence::Present;
        let attributes = if present { state.attributes } else { BTreeMap::new() };
        let id = xxh3_64(format!("{}|{key}|{present}|{}", state.destination, state.changed_at.0).as_bytes());
        Change {
            key,
            audience: state.audience,
            identity: state.identity,
            present,
            attributes,
            changed_at: state.changed_at,
            id,
        }
    }

    /// The destination may have received an older state after this one: it must not take this for a
    /// repeat of what came before. `at`: of the doubt.
    pub(super) fn sent_over(&mut self, at: i64) {
        self.id = xxh3_64(format!("{}|{at}", self.id).as_bytes());
    }

    /// The desired state as one number: equal states of a key have equal fingerprints.
    pub fn fingerprint(&self) -> u64 {
        if !self.present {
            return 0;
        }
        let text = serde_json::to_vec(&self.attributes).unwrap_or_default();
        xxh3_64(&text).max(1)
    }
}
