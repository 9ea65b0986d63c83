//! Work that is left for later steps.

use serde::{Deserialize, Serialize};

use super::{Reach, RelatedChange, Revision};
use crate::origin::Origin;

/// `FANOUT`: re-evaluation of everyone who refers to a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FanoutRow {
    /// The key of the last dependent done.
    pub cursor: Option<Vec<u8>>,
    pub reach: Reach,
    pub moved: RelatedChange,
    pub origin: Origin,
}

/// `REVIEW`: a check of every home under changed guards.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReviewRow {
    /// A key of the last node checked.
    pub cursor: Option<Vec<u8>>,
    pub origin: Origin,
}

/// `BACKFILL`: bringing every subject to the plan's revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackfillRow {
    pub revision: Revision,
    /// The key of the last subject row done.
    pub cursor: Option<Vec<u8>>,
    pub done: bool,
    /// Subjects brought up in this run.
    pub scanned: u64,
    pub origin: Origin,
}
