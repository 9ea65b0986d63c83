//! The frame of sinks: it makes a foreign system equal to the desired state on `destination.<name>`.
//!
//! ```text
//! destination.<name> ─▶ pending: the newest desire per key ─▶ batch ─▶ Destination::deliver ─▶ ledger, dead letters, position: one transaction
//!                            ▲                                              │
//!                            └────────── back-off of the lane ◀─── not now ─┘
//! ```
//!
//! * **A key's order.** One desire per key is pending, the newest; what is on its way ends before the next of the key begins.
//! * **Lanes.** A destination sorts changes into lanes, such as one list each. Only changes of one lane share a batch, and only a lane waits after a failure:
//!   a broken list holds no other up. A record that may be at fault for a refused batch is found by halving.
//! * **Position.** A partition's committed position is that of its oldest change not acknowledged. What is read again after a crash and is acknowledged
//!   in the ledger is not sent again, unless an earlier owner may have sent something else in between.
//! * **Ledger.** One row per key in a store with a changelog: what was acknowledged last, what was refused, the last error. A row goes with the
//!   acknowledged absence of its key.
//! * **Absence of the unknown.** A key without a row may still stand at the destination: an earlier owner may have sent it and died before its commit. So its absence
//!   is sent, except by the owner that made the ledger: nobody sent anything before it.
//! * **Delivery** is at least once, and destinations make the second time harmless.
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
#[cfg(test)]
mod tests;

pub use brake::Brake;
pub use change::Change;
pub use destination::{Actual, Answer, BatchLimits, Delivery, Destination, DestinationError, Refusal};
pub use ledger::{Acknowledged, LedgerRow};
pub use order::{Order, OrderKind};
pub use status::{AudienceStatus, Drift, SinkStatus};
pub use task::{FaultPlan, NoFaults, OpenLedger, Point, SinkContext, SinkError, SinkTask, Stepped};
