//! Aggregates over an account's children.

use std::collections::BTreeMap;

use millrace_model::Value;
use millrace_segment::Totals;
use millrace_segment::view::KinId;
use serde::{Deserialize, Serialize};

/// `KIN`: aggregates over the children of one kind.
pub type KinRow = BTreeMap<KinId, KinTally>;

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KinTally {
    /// Which children it covers.
    pub state: KinState,
    /// Children counted.
    pub children: u64,
    /// Children of which it is unknown whether they count, or for what.
    pub unknown: u64,
    /// Count and sum over the children that count.
    pub totals: Totals,
    /// The least or greatest value that counts, if a rule asks for it.
    pub extreme: Option<Value>,
}

/// The progress of an aggregate over children.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum KinState {
    /// It is over all children.
    #[default]
    Full,
    /// It covers the children up to this row; the others are still to be counted.
    Filling(Option<Vec<u8>>),
    /// No rule asks any more: the rows of its values are being deleted, and are gone up to this
    /// one.
    Dropping(Option<Vec<u8>>),
}
