//! The frame of sinks: it makes a foreign system equal to the desired state on
//! `destination.<name>`.
//!
//! ```text
//! destination.<name> ─▶ pending: the newest desire per key ─▶ batch ─▶ Destination::deliver ─▶ ledger, dead letters, position: one transaction
//!                            ▲                                              │
//!                            └────────── back-off of the lane ◀─── not now ─┘
//! ```
//!
//! * **A key's order.** One desired state per key is pending, the newest. A delivery in flight ends
//!   before the next of the same key begins.
//! * **Lanes.** A destination sorts changes into lanes, such as one list each. A batch holds
//!   changes of one lane only, and after a failure only its lane waits: a broken list holds up no
//!   other. A record that may be at fault for a refused batch is found by halving.
//! * **Position.** A partition's committed position is that of its oldest unacknowledged change. A
//!   change that is read again after a crash and is acknowledged in the ledger is not sent again,
//!   unless an earlier owner may have sent something else in between.
//! * **Ledger.** One row per key in a store with a changelog: the last acknowledgement, the last
//!   refusal, the last error. The acknowledged absence of a key deletes its row.
//! * **Absence of unknown keys.** A key without a row may still be present at the destination: an
//!   earlier owner may have sent it and died before its commit. So the sink sends the absence,
//!   except on the owner that made the ledger: no owner sent anything before it.
//! * **Places.** The ledger keeps what names the far side of each audience. Where a list was deleted
//!   and made anew, what was acknowledged is not there: it is sent again.
//! * **Replaced owners.** A partition goes to another process when its owner is silent. What an
//!   owner sends after that is found out by its next commit, and sent again in its newest state
//!   (`task/owned.rs`).
//! * **Fences.** A destination that can distinguish owners refuses a replaced one by itself
//!   (`task/tenure.rs`).
//! * **Topics.** A destination that is a topic of the same log is written by the commit itself, and so
//!   exactly once (`decisions/0036`).
//! * **Delivery** to any other is at least once. Destinations must make a repeat harmless.
//!
//! What it is *not*: it knows no foreign system, and opens no thread.

mod brake;
mod change;
mod destination;
mod ledger;
mod order;
mod partition;
mod pending;
mod status;
mod task;

pub use brake::Brake;
pub use change::Change;
pub use destination::{Actual, Answer, BatchLimits, Claim, Delivery, Destination, DestinationError, Refusal, Tenure, Upkeep};
pub use ledger::{Acknowledged, LedgerRow};
pub use order::{Order, OrderKind, Pointless};
pub use status::{Answers, AudienceStatus, Drift, SinkStatus};
pub use task::{
    Doubts, FaultPlan, NoFaults, OpenLedger, Point, Preview, PreviewAudience, PreviewChange, PreviewContext, SinkContext, SinkError, SinkTask, Stepped, preview,
};
