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
//!
//! ```
//! use millrace_runtime::topology::Topology;
//! use millrace_shard::machine::OutputTopic;
//!
//! // The topics of a deployment with four shards.
//! let topology = Topology::new("millrace.", 4);
//! assert_eq!(topology.output(&OutputTopic::Membership), "millrace.audience.membership");
//! assert!(topology.specs(8).iter().any(|topic| topic.name == "millrace.source.person" && topic.partitions == 8));
//! ```

#![warn(missing_docs)]

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
