//! What the runtime reports about itself.

use millrace_model::Text;
use millrace_shard::machine::{Measure, Measurement};

use crate::state::ShardState;

/// Takes measurements and changes of state, from the threads of the shards. Must not block: the
/// shard waits.
pub trait Observer: Send + Sync {
    /// Measurements of a committed step, or of the runtime itself. `SecondsSince` does not occur
    /// here: it has become a `Sample`.
    fn measured(&self, shard: u32, measurements: &[Measurement]);

    /// A shard's state has changed.
    fn state_changed(&self, shard: u32, state: &ShardState);
}

/// Ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn measured(&self, _: u32, _: &[Measurement]) {}

    fn state_changed(&self, _: u32, _: &ShardState) {}
}

pub(crate) const COMMIT_SECONDS: &str = "millrace_commit_seconds";
pub(crate) const RESTORE_SECONDS: &str = "millrace_restore_seconds";
pub(crate) const CONSUMER_LAG: &str = "millrace_consumer_lag";
pub(crate) const STATE_BYTES: &str = "millrace_state_bytes";
pub(crate) const STATE_DISK_FREE_BYTES: &str = "millrace_state_disk_free_bytes";
pub(crate) const TIMERS_DUE_LAG_SECONDS: &str = "millrace_timers_due_lag_seconds";
pub(crate) const TRANSACTIONS_ABORTED: &str = "millrace_transactions_aborted_total";
pub(crate) const SLOW_STEPS: &str = "millrace_slow_steps_total";
pub(crate) const WORK_IN_HAND: &str = "millrace_work_in_hand";
pub(crate) const INVARIANT_VIOLATIONS: &str = "millrace_invariant_violations_total";

pub(crate) fn measurement<const N: usize>(name: &'static str, labels: [(&'static str, Text); N], value: Measure) -> Measurement {
    Measurement {
        name,
        labels: labels.into(),
        value,
    }
}
