//! Commands from a person to a running sink.

use serde::{Deserialize, Serialize};

/// A command to the sink of one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Order {
    /// What to do.
    pub order: OrderKind,
    /// One audience; `None`: all of the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// What a sink can be ordered to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OrderKind {
    /// Releases what the brake holds, until no change waits.
    Confirm,
    /// Sends again the changes that the destination refused.
    Retry,
    /// Compares the destination with the ledger and repairs what differs.
    Reconcile,
}
