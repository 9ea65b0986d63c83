//! The stages of a shard composed: `(state view, messages, now) -> effects`.
//!
//! Pure: no clock, no thread, no file, no socket. What it is *not*: it does not know Kafka, RocksDB
//! or how commits are made; `millrace-runtime` drives it through `machine`.

#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]

pub mod state;

pub mod machine;

pub mod engine;
pub mod key;
pub mod lifecycle;
pub mod merge;
pub mod message;
pub mod murmur;
pub mod program;
pub mod query;
pub mod record;
pub mod row;
pub mod tx;
