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
    pub sequence: Sequence,
    pub reason: Option<Reason>,
}

/// `FRAGMENT`: one source record's part of a profile. `None`: the record is gone; kept so that an
/// older value in transit cannot come back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FragmentRow {
    pub sequence: Sequence,
    pub fragment: Option<Fragment>,
}

/// `ROW`: a relation row. `None` as in `FragmentRow`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RelationRow {
    pub sequence: Sequence,
    pub value: Option<Value>,
}

/// `MOVED`: where a node went from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedRow {
    pub to: CanonicalId,
    pub epoch: Epoch,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    pub from: CanonicalId,
    pub node: Identity,
    pub epoch: Epoch,
}
