//! What the owner of a subject holds of each node's data, and of nodes on their way.

use millrace_identity::{Epoch, Reason};
use millrace_model::{CanonicalId, Identity, Value};
use serde::{Deserialize, Serialize};

use super::Sequence;
use crate::record::Fragment;

/// `ASIDE`: the last message on whether an identity that a node carries is set aside. Without a
/// reason as in `FragmentRow`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsideRow {
    /// The order of the message that brought it.
    pub sequence: Sequence,
    /// Why it is set aside.
    pub reason: Option<Reason>,
}

/// `FRAGMENT`: one source record's part of a profile. `None`: the record is gone; kept so that an
/// older value in transit cannot come back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FragmentRow {
    /// The order of the message that brought it.
    pub sequence: Sequence,
    /// The record as resolve last passed it on.
    pub fragment: Option<Fragment>,
}

/// `ROW`: a relation row. `None` as in `FragmentRow`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RelationRow {
    /// The order of the message that brought it.
    pub sequence: Sequence,
    /// The row's fields.
    pub value: Option<Value>,
}

/// `MOVED`: where a node went from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedRow {
    /// The cluster it went to.
    pub to: CanonicalId,
    /// The number of the move.
    pub epoch: Epoch,
}

/// A node on its way to a subject, or just arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// What it belonged to.
    pub from: CanonicalId,
    /// The node: until all of its parts are here, nothing of the subject is decided.
    pub node: Identity,
    /// The number of the move.
    pub epoch: Epoch,
}

/// How much of an arrival has come. Parts are counted, because a node that moves on in the middle
/// of one has its parts forwarded by two ways, and then the one sent last need not come last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialArrival {
    /// The node on its way.
    pub arrival: Arrival,
    /// Parts that have come.
    pub received: u32,
    /// Parts that were sent; known once the one sent last has come.
    pub of: Option<u32>,
}

impl PartialArrival {
    /// Nothing of it has come yet.
    pub fn none_of(arrival: Arrival) -> PartialArrival {
        PartialArrival {
            arrival,
            received: 0,
            of: None,
        }
    }

    /// Nothing of it is missing.
    pub fn is_whole(&self) -> bool {
        self.of == Some(self.received)
    }
}
