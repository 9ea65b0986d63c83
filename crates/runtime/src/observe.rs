//! What the runtime reports about itself.

use millrace_model::ShardId;
use millrace_shard::machine::Measurement;

use crate::state::ShardState;

/// Takes measurements and changes of state, from the threads of the shards. Must not block: the
/// shard waits.
pub trait Observer: Send + Sync {
    /// Measurements of a committed step, or of the runtime itself. `SecondsSince` does not occur
    /// here: it has become a `Sample`.
    fn measured(&self, shard: ShardId, measurements: &[Measurement]);

    /// A shard's state has changed.
    fn state_changed(&self, shard: ShardId, state: &ShardState);
}

/// Ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn measured(&self, _: ShardId, _: &[Measurement]) {}

    fn state_changed(&self, _: ShardId, _: &ShardState) {}
}
