//! Which shard keeps what.

use millrace_model::{Identity, ShardId};

use crate::murmur::partition_of;

/// The shard that hosts the identity writer.
pub const IDENTITY_SHARD: ShardId = ShardId::FIRST;

/// The shard of a key's text: where a Kafka client places a record with this key among as many
/// partitions, or a multiple. Part of the stored format: it must never change.
pub fn shard_of(text: &str, shards: u32) -> ShardId {
    ShardId(partition_of(text.as_bytes(), shards.max(1)))
}

/// The shard of an identity node, and of the thing whose canonical id it is. Its namespace does not
/// count, so that records keyed by source key, and events keyed by the id of their person, arrive
/// at the shard that owns them.
pub fn shard_of_node(node: &Identity, shards: u32) -> ShardId {
    shard_of(node.id(), shards)
}
