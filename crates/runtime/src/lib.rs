//! The loop that drives a shard's machine over a log and a store: recovery, commits, ownership,
//! health.
//!
//! * `topology`: the topics, and the partitions that a shard reads.
//! * `task`: one shard; opens, restores, steps, commits, recovers.
//! * `host`: the shards of one process, one thread each.
//! * `simulation`: the same tasks on a simulated log under virtual time, with crashes and zombies.
//!
//! What it is *not*: it knows no stage, no record format and no broker. It sees the log, the store
//! and the machine through their ports.

pub mod clock;
pub mod host;
pub mod memory_store;
pub mod meta;
pub mod observe;
pub mod simulation;
pub mod state;
pub mod task;
pub mod topology;
#[cfg(test)]
mod toy;
