//! What a person orders a sink to do, while it runs.

use serde::{Deserialize, Serialize};

/// An order to the sink of one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Order {
    pub order: OrderKind,
    /// One audience; `None`: all of the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OrderKind {
    /// Lets pass what the brake holds, until nothing waits.
    Confirm,
    /// Sends again what the destination refused.
    Retry,
    /// Compares the destination with the ledger and repairs what differs.
    Reconcile,
}
