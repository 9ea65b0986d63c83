//! The shards of a deployment by number.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One shard of a deployment: from 0 up to their number, which is fixed when the deployment is
/// created. Stored and sent as a bare number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(pub u32);

impl ShardId {
    /// The first shard: every deployment has it.
    pub const FIRST: ShardId = ShardId(0);

    /// The shards of a deployment of this many, ascending.
    pub fn all(shards: u32) -> impl DoubleEndedIterator<Item = ShardId> + Clone {
        (0..shards).map(ShardId)
    }

    /// Its place in a list of all shards, ascending.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
