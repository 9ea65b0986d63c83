//! Aggregates over a person's events.

use millrace_model::{Timestamp, Value};
use millrace_segment::Totals;
use serde::{Deserialize, Serialize};

/// `TALLY`: an aggregate over an event query's events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TallyRow {
    /// Events with a verdict.
    pub events: u64,
    /// Count and sum over the events that count.
    pub totals: Totals,
    /// The least or greatest value that counts, if a rule asks for it.
    pub extreme: Option<Value>,
    /// When the first verdict ends.
    pub valid_until: Timestamp,
}

impl Default for TallyRow {
    fn default() -> TallyRow {
        TallyRow {
            events: 0,
            totals: Totals::default(),
            extreme: None,
            valid_until: Timestamp::MAX,
        }
    }
}

/// `VERDICT`: an event of a query that keeps all of them, and whether it counts for the query's
/// tally.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictRow {
    /// When the event occurred.
    pub at: Timestamp,
    /// The columns that the query keeps, in its order.
    pub columns: Vec<Value>,
    /// Its contribution; `None` if it does not count.
    pub value: Option<Value>,
    /// Until when the verdict holds as far as time goes.
    pub valid_until: Timestamp,
}

impl VerdictRow {
    /// For a query without a tally.
    pub fn plain(event: millrace_segment::view::EventRow) -> VerdictRow {
        VerdictRow {
            at: event.at,
            columns: event.columns,
            value: None,
            valid_until: Timestamp::MAX,
        }
    }
}

/// `TALLIED_VALUE`: how often a value counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TalliedValueRow {
    /// The value itself: the key orders it, and cannot be read back.
    pub value: Value,
    /// How many events have it.
    pub times: u64,
}
