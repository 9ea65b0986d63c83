//! millrace-shard
