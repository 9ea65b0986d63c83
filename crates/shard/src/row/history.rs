//! Work on long ledgers, in portions.

use std::collections::BTreeSet;

use crate::origin::Origin;
use millrace_identity::Epoch;
use millrace_model::{CanonicalId, Identity};
use millrace_segment::view::QueryId;
use serde::{Deserialize, Serialize};

/// `CHORE`: work on a subject's long ledger, or an account's many children, in portions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChoreRow {
    /// The key of the last event that the walk over the ledger has reached.
    pub cursor: Option<Vec<u8>>,
    /// Nodes that leave with their events.
    pub departures: Vec<Departure>,
    /// Events are too old to be kept.
    pub expiring: bool,
    /// Queries whose rows must be deleted. Nothing is kept for them meanwhile.
    pub dropping: BTreeSet<QueryId>,
    /// Queries that need more work than one evaluation does to be brought up to now.
    pub advancing: BTreeSet<QueryId>,
    /// Aggregates over children must be filled or deleted.
    pub kin: bool,
    /// The latest fact that asked for the work.
    pub origin: Origin,
}

impl ChoreRow {
    /// Nothing to do yet.
    pub fn new(origin: Origin) -> ChoreRow {
        ChoreRow {
            cursor: None,
            departures: Vec::new(),
            expiring: false,
            dropping: BTreeSet::new(),
            advancing: BTreeSet::new(),
            kin: false,
            origin,
        }
    }
}

/// A node that leaves a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departure {
    /// The node: its copies leave, each event in its turn.
    pub node: Identity,
    /// The cluster that it belongs to now.
    pub to: CanonicalId,
    /// The number of the move.
    pub epoch: Epoch,
    /// Parts sent so far.
    pub sent: u32,
}
