//! Work that is left for later steps.

use serde::{Deserialize, Serialize};

use super::{Reach, RelatedChange, Revision};
use crate::origin::Origin;

/// `FANOUT`: re-evaluation of everyone who refers to a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FanoutRow {
    /// The key of the last dependent done.
    pub cursor: Option<Vec<u8>>,
    /// Which of those who refer to it.
    pub reach: Reach,
    /// The change of the thing since the last job that ended.
    pub moved: RelatedChange,
    /// The latest fact that changed the thing: the cause of what follows.
    pub origin: Origin,
}

/// `REVIEW`: a check of every home under changed guards.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReviewRow {
    /// A key of the last node checked.
    pub cursor: Option<Vec<u8>>,
    /// The change of the configuration.
    pub origin: Origin,
}

/// `BACKFILL`: bringing every subject to the plan's revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackfillRow {
    /// The revision that it brings everyone to.
    pub revision: Revision,
    /// The key of the last subject row done.
    pub cursor: Option<Vec<u8>>,
    /// Every subject is at `revision`.
    pub done: bool,
    /// Subjects brought up in this run.
    pub scanned: u64,
    /// The change of a definition, or of the configuration.
    pub origin: Origin,
}
