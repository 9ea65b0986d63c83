//! Where a process may die, for tests that let it.

use super::{SinkContext, SinkError};

/// The places where a process may die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// A partition was taken over.
    Opened,
    /// Records were read, and nothing was sent for them.
    Read,
    /// A batch is chosen and not sent.
    BeforeDelivery,
    /// The destination answered, and nothing of it is recorded.
    AfterDelivery,
    /// Ledger rows and position wait for their transaction.
    BeforeCommit,
    /// The log has the transaction, the store has nothing of it.
    AfterCommit,
    /// Log and store agree.
    AfterApply,
}

/// Decides in tests where the task dies.
pub trait FaultPlan: Send + Sync {
    /// Whether the task dies here; asked each time it passes.
    fn dies(&self, point: Point) -> bool;
}

/// Never.
pub struct NoFaults;

impl FaultPlan for NoFaults {
    fn dies(&self, _: Point) -> bool {
        false
    }
}

impl SinkContext {
    pub(in crate::sink) fn point(&self, point: Point) -> Result<(), SinkError> {
        if self.faults.dies(point) { Err(SinkError::Killed(point)) } else { Ok(()) }
    }
}
